"""The state of a round while it is measured, and the steps that produce it."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Mapping
from dataclasses import asdict

import torch
from msgspec.structs import replace
from torch import Tensor

from microbench import engines, workloads
from microbench.config import Config
from microbench.devices import Device, MemoryMeter
from microbench.engines import Job, Program
from microbench.engines.capture.rehearsal import same_random_numbers
from microbench.measure import sampler
from microbench.measure.experiment import Clock, Experiment
from microbench.measure.limits import Limits
from microbench.measure.sampler import Sampled
from microbench.measure.warmup import Warmup
from microbench.records.progress import Progress, Watch
from microbench.records.record import Plan, Process, Role, Series
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
    """

    def __init__(self, config: Config, watch: Watch, plan: Plan | None) -> None:
        self.config, self.watch = config, watch
        self.limits = Limits(config.measure, plan)
        self._began = time.monotonic()
        self.doing = ""
        self.workload: Workload | None = None
        self.process = Process()

    def begin(self, doing: str, stage: str) -> None:
        """Begin a step, and report its stage."""
        self.doing = doing
        self.watch(Progress(stage))

    def build(self, device: Device, training: bool) -> Workload:
        """Build the workload."""
        self.begin("building", "build")
        config, where = self.config, device.torch_device()
        self.workload = workloads.build(config.model, config.batch_size, where, training, config.seed)
        input_grad = any(each.requires_grad for each in self.workload.inputs)
        self.process = replace(self.process, input_grad=input_grad)
        return self.workload

    def inputs_again(self, device: Device, training: bool, memory: MemoryMeter) -> tuple[Tensor, ...]:
        """Build the inputs again, with their first values; memory and random state are unaffected."""
        config, where = self.config, device.torch_device()
        assert self.workload is not None
        with memory.paused(), same_random_numbers(self.workload):
            return workloads.build(config.model, config.batch_size, where, training, config.seed).inputs

    def prepare(self, workload: Workload, training: bool) -> tuple[Program, Series]:
        """Let the engine prepare the workload."""
        self.begin("preparing", "prepare")
        start = time.perf_counter_ns()
        program = engines.prepare(Job(workload, self.config, training))
        seconds = (time.perf_counter_ns() - start) * 1e-9
        self.process = replace(self.process, **asdict(program.info))
        self.look_at_threads(program)
        return program, self._once("prepare", "perf_counter_ns", seconds)

    def first_call(self, experiment: Experiment, clock: Clock) -> Series:
        """Run the experiment for the first time."""
        self.begin("the first call of", "warmup")
        seconds = sampler.observe(experiment, clock)[experiment.whole]
        self.doing = "running"
        return self._once("first_call", clock.name, seconds)

    def _once(self, phase: str, clock: str, seconds: float) -> Series:
        """Make the series of a phase that happens once; report it at once, so that a crash cannot lose it."""
        self.watch(Progress("warmup", samples={phase: array("d", [seconds])}, clock=clock))
        return Series(phase, clock, [seconds], summary=summarize([seconds]), role=Role.ONCE)

    def sample(
        self, experiment: Experiment, clock: Clock, first_call: Series, pid: int | None
    ) -> tuple[Warmup, Sampled, Sensors]:
        """Warm up, then sample until the stopping rule ends it; read the sensors before and after."""
        limits = self.limits
        with Sensors(pid) as sensors:
            begun = sampler.observe(experiment, clock)
            self.watch(_first(begun, experiment.whole))
            warmup = sampler.run_warmup(
                experiment, clock, limits.warmup(self.taken()), first_call.samples[0], begun
            )
            if not warmup.times:
                rule = limits.sampling(self.taken())
                return warmup, sampler.sample(experiment, clock, rule, 1, self.watch, begun), sensors
        calls = sampler.calibrate(experiment, warmup.typical, limits.least_sample)
        with Sensors(pid) as sensors:
            rule = limits.sampling(self.taken())
            return warmup, sampler.sample(experiment, clock, rule, calls, self.watch), sensors

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


def series_of(sampled: Sampled, warmup: Warmup, experiment: Experiment, clock: str) -> tuple[Series, ...]:
    """Return one series per sampled phase."""
    whole = experiment.whole
    return tuple(
        Series(
            phase,
            clock,
            samples.tolist(),
            warmup.times.tolist() if phase == whole else [],
            sampled.calls_per_sample,
            summarize(samples),
            Role.WHOLE if phase == whole else Role.PART,
            phase in experiment.of_layers,
        )
        for phase, samples in sampled.samples.items()
    )
