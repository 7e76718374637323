"""The worker: one case in, its outcome out. Read `measure_case` as the table of contents."""

from __future__ import annotations

import dataclasses
import time
import traceback
from array import array
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch
from msgspec.structs import replace
from torch import Tensor

from microbench import devices, engines, formats, modes, verify, workloads
from microbench.config import Config, PrecisionConfig
from microbench.devices import Device, MemoryMeter
from microbench.engines import Job, Program
from microbench.engines.capture.failures import reason
from microbench.engines.capture.rehearsal import same_random_numbers
from microbench.errors import FailedAt, SkippedError, UserError, first_line
from microbench.formats import arithmetic
from microbench.host import state
from microbench.measure import sampler
from microbench.measure.cautions import Changes, Wanted, cautions, not_repeatable, other_threads
from microbench.measure.disturbances import disturbances
from microbench.measure.experiment import Clock, Experiment
from microbench.measure.sampler import Sampled
from microbench.measure.stopping import StoppingRule
from microbench.measure.warmup import Warmup
from microbench.modes import Findings
from microbench.records.peaks import Peaks
from microbench.records.progress import Described, Progress, Watch
from microbench.records.record import (
    BenchmarkWarning,
    Measured,
    Outcome,
    Process,
    Role,
    Series,
    Status,
    WarningCode,
    unverified,
)
from microbench.records.summary import summarize
from microbench.stats.median import LEAST_FOR_INTERVAL
from microbench.system import cpus
from microbench.system.sensors import Sensors
from microbench.verify.constancy import Inputs, changed, state_of
from microbench.workloads import Workload

LEAST_OF_A_ROUND = 3  # samples of a round that is one of several, or fewer where fewer are asked for


def describe(device_name: str) -> Described:
    """Resolve a device and describe it.

    Raises:
        UserError: the device cannot be used here.
    """
    device = devices.open_device(device_name)
    return Described(device.name, device.describe(), arithmetic.emulated(device.torch_device().type))


def find_peaks(config: Config, refresh: bool) -> Peaks:
    """What the device of a case reaches at best, with the case's threads, CPUs and allocator.

    Args:
        config: the case.
        refresh: measure again what was measured before.

    Raises:
        UserError: this process or the device cannot be brought into the case's state.
    """
    from microbench.profile.peaks import peaks

    try:
        with state.prepared(config, config.threads or cpus.physical_cores()):
            device = devices.open_device(config.device.name)
            with device.prepared(config):
                return peaks(device, refresh)
    except SkippedError as error:
        raise UserError(str(error)) from error


def measure_case(config: Config, watch: Watch, is_first: bool = True, trace: Path | None = None) -> Measured:
    """Measure one round of a case, and write a `trace` if one is wanted.

    In its first round, what is the same in all is found out too: whether its answer is right, what its calls
    cost on paper. Every failure becomes an outcome with its status and reason; none is raised.
    """
    steps = _Steps(config, watch, is_first, trace)
    try:
        return steps.run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module may end the program, as a script does when imported
        status, message = explain(error, config, steps.doing, steps.workload)
        told = traceback.format_exc()
        return Measured(Outcome(status=status, error=message, traceback=told, process=steps.process))


class _Steps:
    """The steps of measuring a case, and which of them is being done."""

    def __init__(self, config: Config, watch: Watch, is_first: bool, trace: Path | None) -> None:
        self._threads = config.threads or cpus.physical_cores()
        self._config, self._watch = dataclasses.replace(config, threads=self._threads), watch
        self._is_first, self._trace = is_first, trace
        self.doing = ""
        self.workload: Workload | None = None
        self.process = Process()

    def run(self) -> Measured:
        """Do all steps."""
        with state.prepared(self._config, self._threads) as self.process:
            device = devices.open_device(self._config.device.name)
            with device.prepared(self._config), ExitStack() as stack:
                try:
                    return self._measure(device, stack)
                except Exception as error:
                    self._check_precision(error, device)
                    raise

    def _begin(self, doing: str, stage: str) -> None:
        self.doing = doing
        self._watch(Progress(stage))

    def _measure(self, device: Device, stack: ExitStack) -> Measured:
        config, clock = self._config, device.clock
        mode = modes.find(config.mode.name)
        modes.check(config)
        training = mode.TRAINING or config.mode.training
        self.doing = "preparing"
        engines.check(config, training)
        if config.on_paper:
            return self._on_paper(device)
        evict = device.evictor() if config.measure.cold_cache else None
        memory: MemoryMeter = device.memory()
        workload = self._build(device, training)
        inputs = Inputs(workload.inputs, lambda: self._inputs_again(device, training, memory))
        program, prepare = self._prepare(workload, training)
        stack.callback(program.close)
        inputs.follow(program.workload.inputs)
        with mode.experiment(program, config) as trial:
            experiment = program.timed(trial.experiment if evict is None else _cold(trial.experiment, evict))
            first_call = self._first_call(experiment, clock)
            is_given_back = _changes(inputs, program, training)
            before = {} if training else state_of(program.workload.module)
            if is_given_back:
                experiment = _before_each(experiment, inputs.give_back)
            with sampler.quiet_gc():
                warmup = sampler.heat(experiment, clock, config.measure.max_warmup)
                sampled, sensors = self._sample(experiment, device, warmup, program)
            changes = Changes(
                inputs=program.overwrites or (not is_given_back and inputs.have_changed()),
                given_back_over=experiment.runs if is_given_back else 1,
                state=() if training else changed(before, state_of(program.workload.module)),
            )
            peak_memory = program.peak_memory(memory)
            finite = trial.finite()
            findings = (
                Findings() if trial.findings is None else trial.findings(sampled, device, self._is_first)
            )
            traced = self._traced(program, device)

        self.process = replace(self.process, **self._threads_used(program))
        series = _series(sampled, warmup, experiment, clock.name)
        main = [each for each in series if each.phase in experiment.main]
        readings = sensors.readings(sampled.calls * experiment.runs)
        surroundings = sensors.surroundings(
            self.process.threads or self._threads, str(self.process.allocator)
        )
        outcome = Outcome(
            stop_reason=sampled.stop_reason,
            warnings=(
                *cautions(warmup, main, self._wanted, finite),
                *not_repeatable(changes),
                *other_threads(self._threads_asked, self.process),
                *disturbances(readings, surroundings),
                *traced,
            ),
            params=_params(workload),
            peak_memory=peak_memory,
            joules=findings.joules,
            readings=readings,
            process=self.process,
            peaks=findings.peaks,
            trace=None if self._trace is None or traced else str(self._trace),
        )
        measured = Measured(outcome, (*series, prepare, first_call), findings.calls)
        verified = self._is_first and training == mode.TRAINING
        return self._checked(measured, device, mode, program) if verified else measured

    def _traced(self, program: Program, device: Device) -> list[BenchmarkWarning]:
        """Write the trace that is wanted; a warning where that fails, for what was measured stands."""
        if self._trace is None:
            return []
        from microbench.modes.profile import unwrapped
        from microbench.profile.chrome import write_trace

        try:
            write_trace(unwrapped(program.workload.module), program.call, device, self._trace)
        except OSError as error:
            return [BenchmarkWarning(WarningCode.NO_TRACE, f"no trace could be written: {error.strerror}")]
        return []

    def _on_paper(self, device: Device) -> Measured:
        """A profile of a workload whose weights are drawn, and computed with, only where they have to be."""
        from microbench.modes import profile
        from microbench.workloads.parts.deferred import Deferred

        config = self._config
        with Deferred() as weights:
            workload = self._build(device, config.mode.training)
        if formats.needs_values(config):
            weights.fill(workload.module)
        self._begin("the first call of", "prepare")
        form, _ = engines.in_format(Job(workload, config, config.mode.training))
        calls = profile.on_paper(form, config, lambda: weights.fill(workload.module))
        return Measured(Outcome(params=_params(workload), process=self.process), calls=calls)

    def _checked(self, measured: Measured, device: Device, mode: modes.Mode, program: Program) -> Measured:
        """What was measured, and whether the answer is eager fp32's; a failed check costs nothing of it."""
        self.doing = "checking the answer of"
        self._watch(Progress("verify", measured=measured))
        whole = _seconds(each for each in measured.series if each.role is Role.WHOLE)
        first = _seconds(each for each in measured.series if each.phase == "first_call")
        try:
            checked = verify.verify(self._config, device, mode, program, whole, first)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = explain(error, self._config, self.doing, self.workload)[1]
            return replace(measured, outcome=unverified(measured.outcome, reason))
        return replace(measured, outcome=checked.applied(measured.outcome))

    def _check_precision(self, error: Exception, device: Device) -> None:
        """Raise a SkippedError where a case failed in its precision that works in fp32 with the same engine.

        What fails in fp32 too is the model's own error, or the engine's. Which formats a library computes an
        operator in differs by the CPU and by the library's version, so it is tried out and not listed.
        """
        config, is_set_up = self._config, self.doing in ("preparing", "the first call of")
        if config.precision.name == "fp32" or config.on_paper or not is_set_up:
            return
        if isinstance(error, (SkippedError, UserError)) or is_out_of_memory(error):
            return
        try:
            self._run_once(dataclasses.replace(config, precision=PrecisionConfig("fp32")), device)
        except Exception:
            return
        raise SkippedError(
            f"{_name(config)} runs in fp32 but not in precision={config.precision.name} here: {reason(error)}"
        ) from error

    def _run_once(self, config: Config, device: Device) -> None:
        """Prepare a configuration of the same work, and call it once, in training with the backward pass."""
        training = modes.find(config.mode.name).TRAINING or config.mode.training
        workload = workloads.build(
            config.model, config.batch_size, device.torch_device(), training, config.seed
        )
        program = engines.prepare(Job(workload, config, training))
        try:
            program.rehearse(training)
        finally:
            program.close()

    def _build(self, device: Device, training: bool) -> Workload:
        self._begin("building", "build")
        config, where = self._config, device.torch_device()
        self.workload = workloads.build(config.model, config.batch_size, where, training, config.seed)
        input_grad = any(each.requires_grad for each in self.workload.inputs)
        self.process = replace(self.process, input_grad=input_grad)
        return self.workload

    def _inputs_again(self, device: Device, training: bool, memory: MemoryMeter) -> tuple[Tensor, ...]:
        """The workload's inputs with their first values; building it again leaves memory and chance alone."""
        config = self._config
        assert self.workload is not None
        with memory.paused(), same_random_numbers(self.workload):
            return workloads.build(
                config.model, config.batch_size, device.torch_device(), training, config.seed
            ).inputs

    def _prepare(self, workload: Workload, training: bool) -> tuple[Program, Series]:
        self._begin("preparing", "prepare")
        start = time.perf_counter_ns()
        program = engines.prepare(Job(workload, self._config, training))
        seconds = (time.perf_counter_ns() - start) * 1e-9
        self.process = replace(self.process, **asdict(program.info) | self._threads_used(program))
        return program, self._once("prepare", "perf_counter_ns", seconds)

    def _first_call(self, experiment: Experiment, clock: Clock) -> Series:
        self._begin("the first call of", "warmup")
        seconds = sampler.observe(experiment, clock)[experiment.whole]
        self.doing = "running"
        return self._once("first_call", clock.name, seconds)

    def _once(self, phase: str, clock: str, seconds: float) -> Series:
        """The series of a phase that happens once, handed over at once: a crash later does not lose it."""
        self._watch(Progress("warmup", samples={phase: array("d", [seconds])}, clock=clock))
        return Series(phase, clock, [seconds], summary=summarize([seconds]), role=Role.ONCE)

    def _sample(
        self, experiment: Experiment, device: Device, warmup: Warmup, program: Program
    ) -> tuple[Sampled, Sensors]:
        settings = self._config.measure
        rule = StoppingRule(
            settings.rel_ci,
            settings.min_time,
            settings.max_time,
            settings.min_samples,
            settings.max_samples,
            LEAST_FOR_INTERVAL if settings.rounds == 1 else min(LEAST_OF_A_ROUND, settings.min_samples),
        )
        calls = sampler.calibrate(experiment, warmup.typical, settings.min_sample)
        with Sensors(program.pid) as sensors:
            sampled = sampler.sample(experiment, device.clock, rule, calls, self._watch)
        return sampled, sensors

    def _threads_used(self, program: Program) -> dict[str, int]:
        """The threads as they are now: torch's, or those of the engine's own library."""
        own = {name: getattr(program.info, name) for name in self._threads_asked}
        torchs = {"threads": torch.get_num_threads(), "interop_threads": torch.get_num_interop_threads()}
        return torchs | {name: number for name, number in own.items() if number is not None}

    @property
    def _threads_asked(self) -> dict[str, int | None]:
        return {"threads": self._threads, "interop_threads": self._config.interop_threads}

    @property
    def _wanted(self) -> Wanted:
        settings = self._config.measure
        return Wanted(settings.rel_ci, settings.max_warmup, settings.rounds)


def _params(workload: Workload) -> int:
    return sum(parameter.numel() for parameter in workload.module.parameters())


def _seconds(series: Iterable[Series]) -> float | None:
    """The median of the first of some series that has one; None where none has."""
    return next((each.summary.median for each in series if each.summary is not None), None)


def _cold(experiment: Experiment, evict: Callable[[], object]) -> Experiment:
    """The experiment with the caches evicted before each sample; calls are not merged then."""
    return dataclasses.replace(experiment, before=evict, mergeable=False)


def _changes(inputs: Inputs, program: Program, training: bool) -> bool:
    """Whether the first call has changed its inputs, so that they have to be given back before each.

    They need not where inference settles: where a call writes what is there already.
    """
    if not inputs.have_changed():
        return False
    return training or not inputs.settle(lambda: program.outputs(program.call()))


def _before_each(experiment: Experiment, give_back: Callable[[], object]) -> Experiment:
    """The experiment with the inputs given back before each sample, which is of one call then."""
    then = experiment.before

    def before() -> None:
        give_back()
        if then is not None:
            then()

    return dataclasses.replace(experiment, before=before, mergeable=False)


def _series(sampled: Sampled, warmup: Warmup, experiment: Experiment, clock: str) -> tuple[Series, ...]:
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


HINTS: dict[type[BaseException], str] = {
    RuntimeError: "check model.input_shape",
    ValueError: "check model.input_shape",
    AssertionError: "check model.input_shape",
    IndexError: "check model.input_shape and model.input_high",
}
"""What to look at when the first call fails with such an error."""


def explain(
    error: BaseException, config: Config, doing: str, workload: Workload | None
) -> tuple[Status, str]:
    """A failure's status, and one line that says what went wrong and what to do about it."""
    name, message = _name(config), first_line(error) if str(error) else type(error).__name__
    if isinstance(error, UserError):
        return Status.ERROR, str(error)
    if isinstance(error, SkippedError):
        return Status.SKIPPED, str(error)
    if is_out_of_memory(error):
        return Status.OOM, _sentence(f"{doing} {name} ran out of memory: {message}; lower batch_size")
    if "requires grad is being used in an in-place operation" in message:
        is_input = workload is not None and any(each.requires_grad for each in workload.inputs)
        written = "its input" if is_input else "a weight"
        return Status.ERROR, f"{name} overwrites {written}, so it cannot train: use mode=infer."
    if "more than 1 value per channel when training" in message:
        return Status.ERROR, (
            f"{name} cannot train at batch_size={config.batch_size}: batch normalization needs more than one "
            "value per channel; use batch_size=2 or more"
        )
    told, hint, where = f"{type(error).__name__}: {message}", HINTS.get(type(error)), error.__cause__
    if isinstance(where, FailedAt):
        within, advice = f" in {where}" if where.name else "", f"; {hint}" if hint else ""
        return Status.ERROR, f"{config.model.name} failed{within} {where.given}: {told}{advice}"
    text = f"{doing} {name} failed: {told}"
    if doing.startswith("the first call") and workload is not None:
        text += f" (input {workload.shape()}{f': {hint}' if hint else ''})"
    return Status.ERROR, _sentence(text)


def _name(config: Config) -> str:
    """What a case runs, and by which engine where that is not eager."""
    name = f"{config.model.name} {config.model.part or ''}".rstrip()
    return name if config.engine.name == "eager" else f"{name} with engine={config.engine.name}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    texts = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
