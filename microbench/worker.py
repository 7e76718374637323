"""The worker: one case in, its outcome out. Read `measure_case` as the table of contents."""

from __future__ import annotations

import time
import traceback
from array import array
from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from microbench import devices, engines, modes, workloads
from microbench.config import Config
from microbench.devices import Device
from microbench.errors import SkippedError, UserError, first_line
from microbench.host import state
from microbench.measure import sampler
from microbench.measure.cautions import Wanted, cautions
from microbench.measure.disturbances import disturbances
from microbench.measure.sampler import Sampled
from microbench.measure.stopping import StoppingRule
from microbench.measure.summary import summarize
from microbench.measure.warmup import Warmup
from microbench.metrics import cpus, machine
from microbench.metrics.sensors import Sensors
from microbench.modes import Trial
from microbench.results.record import Outcome, Place, Progress, Series, Status, Watch
from microbench.stats.median import LEAST_FOR_INTERVAL
from microbench.workloads import Workload

LEAST_OF_A_ROUND = 3  # samples of a round that is one of several: the interval is over these


def describe(device_name: str) -> Place:
    """Resolve a device and describe the machine.

    Raises:
        UserError: the device cannot be used here.
    """
    device = devices.open_device(device_name)
    environment = machine.environment() | device.describe()
    return Place(device.name, cpus.physical_cores(), environment)


def measure_case(config: Config, watch: Watch) -> Outcome:
    """Measure one case. Every failure becomes an outcome with its status and reason; none is raised."""
    steps = _Steps(config, watch)
    try:
        return steps.run()
    except Exception as error:
        status, message = explain(error, config, steps.doing, steps.workload)
        told = traceback.format_exc()
        return Outcome(status, message, told, environment=steps.environment)


class _Steps:
    """The steps of measuring a case, and which of them is being done."""

    def __init__(self, config: Config, watch: Watch) -> None:
        self._config, self._watch = config, watch
        self._threads = config.threads or cpus.physical_cores()
        self.doing = ""
        self.workload: Workload | None = None
        self.environment: state.Environment = {}

    def run(self) -> Outcome:
        """Do all steps."""
        with state.prepared(self._config, self._threads) as self.environment:
            device = devices.open_device(self._config.device.name)
            with device.prepared():
                return replace(self._measure(device), environment=self.environment)

    def _begin(self, doing: str, stage: str) -> None:
        self.doing = doing
        self._watch(Progress(stage))

    def _measure(self, device: Device) -> Outcome:
        config, clock = self._config, device.clock
        mode = modes.find(config.mode.name)
        evict = device.evictor() if config.measure.cold_cache else None
        memory = device.memory()

        self._begin("building", "build")
        self.workload = workload = workloads.build(
            config.model, config.batch_size, device.torch_device(), mode.TRAINING, config.seed
        )
        self._begin("preparing", "prepare")
        program, prepare_seconds = _timed(
            lambda: engines.prepare(config.engine.name, workload, mode.TRAINING)
        )
        with mode.experiment(workload, program, config.optimizer) as trial:
            if evict is not None:
                cold = replace(trial.experiment, before=evict, mergeable=False)
                trial = replace(trial, experiment=cold)
            self._begin("the first call of", "warmup")
            first_call = sampler.observe(trial.experiment, clock)[trial.experiment.whole]
            self.doing = "running"
            with sampler.quiet_gc():
                warmup = sampler.heat(trial.experiment, clock, config.measure.max_warmup)
                sampled, sensors = self._sample(trial, device, warmup)
            peak_memory = memory.peak()
            finite = trial.finite()

        one_off = (
            _one_sample("prepare", "perf_counter_ns", prepare_seconds),
            _one_sample("first_call", clock.name, first_call),
        )
        series = _series(sampled, warmup, trial.experiment.whole, clock.name)
        main = [each for each in series if each.phase in trial.experiment.main]
        calls = len(next(iter(sampled.samples.values()))) * sampled.calls_per_sample
        readings = sensors.readings(calls)
        return Outcome(
            series=series + one_off,
            stop_reason=sampled.stop_reason,
            cautions=(
                *cautions(warmup, main, self._wanted, finite),
                *disturbances(
                    readings, sensors.surroundings(self._threads, str(self.environment["allocator"]))
                ),
            ),
            cost={"params": sum(parameter.numel() for parameter in workload.module.parameters())},
            state={"peak_memory": peak_memory, **asdict(readings)},
        )

    def _sample(self, trial: Trial, device: Device, warmup: Warmup) -> tuple[Sampled, Sensors]:
        settings = self._config.measure
        rule = StoppingRule(
            settings.rel_ci,
            settings.min_time,
            settings.max_time,
            settings.min_samples,
            settings.max_samples,
            LEAST_FOR_INTERVAL if settings.rounds == 1 else LEAST_OF_A_ROUND,
        )
        calls = sampler.calibrate(trial.experiment, warmup.typical, settings.min_sample)
        with Sensors() as sensors:
            sampled = sampler.sample(trial.experiment, device.clock, rule, calls, self._watch)
        return sampled, sensors

    @property
    def _wanted(self) -> Wanted:
        settings = self._config.measure
        return Wanted(settings.rel_ci, settings.max_warmup, settings.rounds)


def _timed(work: Callable[[], engines.Program]) -> tuple[engines.Program, float]:
    start = time.perf_counter_ns()
    done = work()
    return done, (time.perf_counter_ns() - start) * 1e-9


def _one_sample(phase: str, clock: str, seconds: float) -> Series:
    return Series(phase, clock, array("d", [seconds]), summary=summarize([seconds]), sampled=False)


def _series(sampled: Sampled, warmup: Warmup, whole: str, clock: str) -> tuple[Series, ...]:
    return tuple(
        Series(
            phase,
            clock,
            samples,
            warmup.times if phase == whole else array("d"),
            sampled.calls_per_sample,
            summarize(samples),
        )
        for phase, samples in sampled.samples.items()
    )


HINTS: dict[type[Exception], str] = {
    RuntimeError: ": check model.input_shape",
    ValueError: ": check model.input_shape",
    AssertionError: ": check model.input_shape",
    IndexError: ": check model.input_shape and model.input_high",
}
"""What to look at when the first call fails with such an error."""


def explain(error: Exception, config: Config, doing: str, workload: Workload | None) -> tuple[Status, str]:
    """A failure's status, and one line that says what went wrong and what to do about it."""
    name, message = config.model.name, first_line(error) if str(error) else type(error).__name__
    if isinstance(error, UserError):
        return Status.ERROR, str(error)
    if isinstance(error, SkippedError):
        return Status.SKIPPED, str(error)
    if is_out_of_memory(error):
        return Status.OOM, _sentence(f"{doing} {name} ran out of memory: {message}; lower batch_size")
    if "more than 1 value per channel when training" in message:
        return Status.ERROR, (
            f"{name} cannot train at batch_size={config.batch_size}: batch normalization needs more than one "
            "value per channel; use batch_size=2 or more"
        )
    text = f"{doing} {name} failed: {type(error).__name__}: {message}"
    if doing.startswith("the first call") and workload is not None:
        text += f" (input {workload.shape()}{HINTS.get(type(error), '')})"
    return Status.ERROR, _sentence(text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out, on the host or on a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    texts = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
