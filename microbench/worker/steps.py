"""The state of a round while it is measured, and the steps that produce it."""

from __future__ import annotations

import math
import os
import time
from array import array
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from microbench import devices, engines, workloads
from microbench.config import Config
from microbench.devices import Device, MemoryMeter
from microbench.engines import Job, Program
from microbench.engines.capture.rehearsal import same_random_numbers
from microbench.measure import sampler
from microbench.measure.energy import energy_per_call
from microbench.measure.experiment import Experiment
from microbench.measure.limits import Limits
from microbench.measure.sampler import Sampled
from microbench.measure.timer import Timer
from microbench.measure.warmup import Warmup
from microbench.modes import Trial
from microbench.records import clocks
from microbench.records.progress import OPENED, SAMPLED, SAMPLING, Progress, Watch
from microbench.records.record import Energy, Outcome, Plan, Process, Role, Series
from microbench.records.summary import summarize
from microbench.system.sensors import Sensors
from microbench.workloads import Workload


class Steps:
    """The steps of a round, the current one, and what is known so far.

    Attributes:
        config: the case.
        watch: called with the progress.
        limits: how long warm-up and sampling may take.
        doing: the current step, for the explanation of a failure.
        workload: the workload, once it is built.
        process: the actual settings of this process.
        opening: the series of making a device's context; empty if it has none.
    """

    def __init__(self, config: Config, watch: Watch, plan: Plan | None) -> None:
        self.config, self.watch = config, watch
        self.limits = Limits(config.measure, plan)
        self._began = time.monotonic()
        self.doing = ""
        self.workload: Workload | None = None
        self.process = Process()
        self.opening: tuple[Series, ...] = ()
        self._is_watched = False

    def opened(self, name: str) -> Device:
        """Open the device; if it takes a process long to make a context, that is a phase of its own."""
        self.doing = "opening the device for"
        start = time.perf_counter_ns()
        device = devices.open_device(name)
        device.begin()
        if device.has_context:
            seconds = (time.perf_counter_ns() - start) * 1e-9
            self.opening = (self._once("context", "perf_counter_ns", seconds, "context"),)
        self._is_watched = device.is_watched
        self._pause(OPENED)
        return device

    def begin(self, doing: str, stage: str) -> None:
        """Begin a step; report its stage, and the workload once it is built."""
        self.doing = doing
        self.watch(Progress(stage, built=None if self.workload is None else self.outcome()))

    def _pause(self, stage: str, n: int = 0) -> None:
        """Wait, on a device that is watched, while the parent reads what may be read between stages alone.

        Args:
            stage: the stage that begins.
            n: the number of samples so far.
        """
        if self._is_watched:
            self.watch(Progress(stage, n=n, pid=os.getpid()))

    def build(self, device: Device, training: bool) -> Workload:
        """Build the workload."""
        self.begin("building", "build")
        config, where = self.config, device.torch_device()
        self.workload = workloads.build(config.model, config.batch_size, where, training, config.seed)
        input_grad = any(each.requires_grad for each in self.workload.inputs)
        self.process = replace(self.process, input_grad=input_grad)
        return self.workload

    def outcome(self, **found: Any) -> Outcome:
        """Return an outcome that tells of the process, and of the workload's inputs once it is built."""
        if (built := self.workload) is None:
            return Outcome(process=self.process, **found)
        return Outcome(
            inputs=built.shape(), item=built.item, items=built.items, process=self.process, **found
        )

    def inputs_again(self, device: Device, training: bool, memory: MemoryMeter) -> tuple[Tensor, ...]:
        """Build the inputs again, with their first values; memory and random state are unaffected."""
        config, where = self.config, device.torch_device()
        assert self.workload is not None
        with memory.paused(), same_random_numbers(self.workload):
            return workloads.build(config.model, config.batch_size, where, training, config.seed).inputs

    def prepare(self, workload: Workload, training: bool) -> tuple[Program, float]:
        """Let the engine prepare the workload; return how many seconds that took."""
        self.begin("preparing", "prepare")
        start = time.perf_counter_ns()
        program = engines.prepare(Job(workload, self.config, training))
        seconds = (time.perf_counter_ns() - start) * 1e-9
        self.process = replace(self.process, **asdict(program.info))
        self.look_at_threads(program)
        return program, seconds

    def prepared(self, seconds: float) -> Series:
        """Report how long the engine and the mode took to prepare the case."""
        return self._once("prepare", "perf_counter_ns", seconds)

    def first_call(self, experiment: Experiment, timer: Timer) -> Series:
        """Run the experiment for the first time."""
        self.begin("the first call of", "warmup")
        seconds = timer.observe(experiment)[experiment.whole]
        self.doing = "running"
        return self._once("first_call", timer.observer(experiment), seconds)

    def _once(self, phase: str, clock: str, seconds: float, stage: str = "warmup") -> Series:
        """Make the series of a phase that happens once; report it at once, so that a crash cannot lose it."""
        self.watch(Progress(stage, samples={phase: array("d", [seconds])}, clock=clock))
        return Series(phase, clock, [seconds], summary=summarize([seconds]), role=Role.ONCE)

    def sample(
        self, experiment: Experiment, timer: Timer, first_call: Series, pid: int | None
    ) -> tuple[Warmup, Sampled, Timer, Sensors]:
        """Warm up, then sample until the stopping rule ends it; read the sensors before and after.

        The timer that is returned is the one that took the samples.
        """
        limits = self.limits
        with Sensors(pid) as sensors:
            begun = timer.observe(experiment)
            self.watch(_first(begun, experiment.whole))
            warmup = sampler.run_warmup(
                experiment, timer, limits.warmup(self.taken()), first_call.samples[0], begun
            )
            found, calls = sampler.calibrated(experiment, timer, warmup.typical, limits.least_sample)
            is_begun = not warmup.times and found is timer and timer.name == timer.clock.name
            if is_begun:
                self._pause(SAMPLING, 1)
                rule = limits.sampling(self.taken())
                sampled = sampler.sample(experiment, timer, rule, 1, self.watch, begun)
        if not is_begun:
            self._pause(SAMPLING)
            with Sensors(pid) as sensors:
                rule = limits.sampling(self.taken())
                sampled = sampler.sample(experiment, found, rule, calls, self.watch)
        self._pause(SAMPLED, len(sampled.samples[experiment.whole]))
        return warmup, sampled, found, sensors

    def energy(
        self, device: Device, trial: Trial, experiment: Experiment, program: Program, typical: float
    ) -> Energy | None:
        """Measure the energy of a call or step, if the device has a counter and the budget allows it.

        A search, which compares many configurations in little time, has none, nor where it is not wanted.

        Args:
            device: the device.
            trial: the mode's trial.
            experiment: its experiment as it was sampled.
            program: the program.
            typical: seconds that a call takes.
        """
        if self.config.experiment.search or not self.config.measure.energy:
            return None
        with device.counter() as counter:
            if counter is None:
                return None
            if program.pid is not None:
                return Energy(missing="its engine runs it in a process of its own")
            if experiment.before is not None:
                return Energy(missing="something is done before each sample")
            self.begin("measuring the energy of", "energy")
            step, spare = trial.plain or trial.experiment.step, self.limits.spare(self.taken())
            return energy_per_call(step, device.clock, counter, typical, spare)

    def taken(self) -> float:
        """Return the seconds that the round has taken."""
        return time.monotonic() - self._began

    def look_at_threads(self, program: Program) -> None:
        """Record the current number of threads: torch's, or those of the engine's own library."""
        info = program.info
        self.process = replace(
            self.process,
            threads=torch.get_num_threads() if info.threads is None else info.threads,
            interop_threads=torch.get_num_interop_threads()
            if info.interop_threads is None
            else info.interop_threads,
        )


def _first(times: Mapping[str, float], whole: str) -> Progress:
    """Return the progress of a case's first number: the times of the call after the first one."""
    return Progress(
        "sample", whole=whole, phase=whole, n=1, median=times[whole], half_width=math.inf, medians=dict(times)
    )


def series_of(sampled: Sampled, warmup: Warmup, experiment: Experiment, timer: Timer) -> tuple[Series, ...]:
    """Return one series per sampled phase, and those that the timer adds."""
    whole, calls = experiment.whole, sampled.calls_per_sample
    resolution = timer.tick / calls
    phases = [
        Series(
            phase,
            timer.name,
            samples.tolist(),
            warmup.times.tolist() if phase == whole else [],
            calls,
            summarize(samples, resolution=resolution),
            Role.WHOLE if phase == whole else Role.PART,
            phase in experiment.of_layers,
            resolution,
            timer.sm_clocks.tolist() if phase == whole else [],
        )
        for phase, samples in sampled.samples.items()
    ]
    beside = [
        Series(name, timer.beside[name], samples.tolist(), [], calls, summarize(samples))
        for name, samples in sampled.beside.items()
    ]
    return (*phases, *beside)


def device_series(experiment: Experiment, timer: Timer) -> tuple[Series, ...]:
    """Return the series of a whole step's device time beside the sampled figure; none if that is unknown."""
    samples, tick = timer.device_times(experiment), timer.tick
    if not samples:
        return ()
    summary = summarize(samples, resolution=tick)
    return (Series(clocks.DEVICE, clocks.BACKLOG, samples.tolist(), summary=summary, resolution=tick),)
