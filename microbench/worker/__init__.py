"""The worker: one case in, its round out. Read `_measure` as the table of contents."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from microbench import devices, engines, formats, modes, verify
from microbench.config import NEAR_GPU, Config
from microbench.devices import Device, MemoryMeter
from microbench.engines import Engine, Job, Program
from microbench.errors import SkippedError, UserError
from microbench.formats import arithmetic
from microbench.host import state
from microbench.measure import sampler
from microbench.measure.cautions import Wanted, cautions, fallen_back, not_repeatable, other_threads
from microbench.measure.disturbances import disturbances
from microbench.measure.experiment import Experiment
from microbench.modes import Findings, Mode
from microbench.records.clocks import FIGURES, is_bound_by_device
from microbench.records.peaks import Peaks
from microbench.records.progress import Described, Progress, Watch
from microbench.records.record import (
    BenchmarkWarning,
    GpuReadings,
    Measured,
    Plan,
    Role,
    Series,
    WarningCode,
    unverified,
)
from microbench.records.summary import summarize
from microbench.schema import UNRESOLVED
from microbench.system import cpus
from microbench.verify.constancy import Constancy, Inputs
from microbench.worker.failures import check_precision, explain, is_out_of_memory
from microbench.worker.steps import Steps, device_series, series_of
from microbench.workloads import Workload
from microbench.workloads.exported import File
from microbench.workloads.parts.deferred import Deferred


def describe(device_name: str, engine_names: Sequence[str] = ()) -> Described:
    """Resolve a device and describe it; `auto`, also for these engines.

    Raises:
        UserError: the device cannot be used here.
    """
    if device_name != UNRESOLVED:
        return _described(devices.open_device(device_name))
    choice = devices.choice()
    first, *others = choice.usable
    taken = {name: engines.device_of(name, choice.usable) for name in engine_names if others}
    by_device = {each: _described(each) for each in {*taken.values()} - {first}}
    found = _described(first)
    return dataclasses.replace(
        found,
        by_engine={name: by_device[each] for name, each in taken.items() if each in by_device},
        notes=(*([choice.passed_over] if choice.passed_over else []), *found.notes),
    )


def _described(device: Device) -> Described:
    kind = device.torch_device().type
    return Described(
        device.name,
        device.describe(),
        arithmetic.emulated(kind),
        arithmetic.slow(kind),
        notes=tuple(device.notes()),
    )


def find_peaks(config: Config, refresh: bool) -> Peaks:
    """Return the peaks of a case's device, with the case's threads, CPUs and allocator.

    Args:
        config: the case.
        refresh: whether to measure again what was measured before.

    Raises:
        UserError: the case's state cannot be set for this process or the device.
    """
    from microbench.profile.peaks import peaks

    try:
        with state.prepared(config, config.threads or cpus.physical_cores(), _near(config)):
            device = devices.open_device(config.device.name)
            with device.prepared(config):
                return peaks(device, refresh)
    except SkippedError as error:
        raise UserError(str(error)) from error


def measure_case(
    config: Config,
    watch: Watch,
    is_first: bool = True,
    trace: Path | None = None,
    plan: Plan | None = None,
) -> Measured:
    """Measure one round of a case as planned, and write a `trace` if requested.

    The first round also determines what is the same in all: whether the answer is right, and what the calls
    cost. Every failure becomes an outcome with its status and reason; none is raised.
    """
    threads = config.threads or cpus.physical_cores()
    steps = Steps(dataclasses.replace(config, threads=threads), watch, plan)
    try:
        with state.prepared(steps.config, threads, _near(config)) as steps.process:
            device = steps.opened(config.device.name)
            with device.prepared(steps.config):
                steps.process = replace(steps.process, **device.settings())
                try:
                    return _measure(steps, device, is_first, trace)
                except Exception as error:
                    check_precision(error, steps.config, steps.doing, device)
                    if is_out_of_memory(error) and (report := device.memory_report()):
                        error.add_note(report)
                    raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module may end the program, as a script does when imported
        status, message = explain(error, config, steps.doing, steps.workload)
        told = traceback.format_exc()
        return Measured(steps.outcome(status=status, error=message, traceback=told))


def _near(config: Config) -> set[int] | None:
    """Return the CPUs near the GPU, if the case asks for them."""
    return devices.find(config.device.name).near_cpus() if config.affinity == NEAR_GPU else None


def _measure(steps: Steps, device: Device, is_first: bool, trace: Path | None) -> Measured:
    """Build, prepare, call once, warm up, sample, inspect the results, check the answer: in this order."""
    config = steps.config
    mode = modes.find(config.mode.name)
    training = mode.trains(config)
    mode.check(config)
    steps.doing = "preparing"
    engine = engines.engine_of(config, training)
    if not config.timing:
        return _dry_run(steps, device, mode)
    timer = device.timer(config)
    evict = device.evictor() if config.measure.cold_cache else None
    memory = device.memory()
    workload = steps.build(device, training)
    inputs = Inputs(workload.inputs, lambda: steps.inputs_again(device, training, memory))
    program, preparing = steps.prepare(workload, training)
    with closing(program):
        inputs.follow(program.workload.inputs)
        with mode.experiment(program, config) as trial:
            prepare = steps.prepared(preparing + trial.capture)
            experiment = program.timed(trial.experiment if evict is None else _cold(trial.experiment, evict))
            experiment = timer.fitted(experiment)
            first_call = steps.first_call(experiment, timer)
            constancy = Constancy(inputs, program, training)
            experiment = constancy.kept(experiment)
            with sampler.quiet_gc():
                warmup, sampled, timer, sensors = steps.sample(experiment, timer, first_call, program.pid)
                beside = device_series(experiment, timer)
            changes = constancy.changes(experiment)
            gpu = _of_allocator(device, engine, memory) if device.is_watched else None
            is_seen = gpu is None or getattr(engine, "USES_TORCH", True)
            peak_memory = program.peak_memory(memory) if is_seen else None  # the parent reads the process's
            finite = trial.finite()  # of what was sampled: more training steps follow
            typical = summarize(sampled.samples[experiment.whole]).median
            energy = steps.energy(device, trial, experiment, program, typical) if is_first else None
            if trial.findings and is_first:
                steps.watch(Progress("findings"))
            findings = trial.findings(sampled, device, is_first) if trial.findings else Findings()
            no_trace = [] if trace is None else _write_trace(mode, program, device, trace)
        steps.look_at_threads(program)
        series = (*series_of(sampled, warmup, experiment, timer), *beside)
        main = [each for each in series if each.phase in experiment.main]
        readings, process = sensors.readings(sampled.calls * experiment.runs), steps.process
        around = sensors.surroundings(process.threads or 1, str(process.allocator))
        threads = {"threads": config.threads, "interop_threads": config.interop_threads}
        search_budget = config.experiment.budget if config.experiment.search else None
        wanted = Wanted(config.measure.rel_ci, config.measure.max_warmup, steps.limits.rounds, search_budget)
        outcome = steps.outcome(
            params=_parameters(workload),
            stop_reason=sampled.stop_reason,
            warnings=(
                *cautions(warmup, main, wanted, finite),
                *not_repeatable(changes),
                *other_threads(threads, process),
                *disturbances(readings, around, of_host=not is_bound_by_device(series)),
                *fallen_back(timer.fallback, config.device.sync, FIGURES.get(timer.name)),
                *no_trace,
            ),
            peak_memory=peak_memory,
            joules=findings.joules if energy is None else energy.joules,
            energy=energy,
            readings=readings,
            gpu=gpu,
            peaks=findings.peaks,
            trace=None if trace is None or no_trace else str(trace),
        )
        measured = Measured(outcome, (*series, *steps.opening, prepare, first_call), findings.calls)
        has_answer = training == mode.TRAINING
        return _check(measured, steps, device, mode, program) if is_first and has_answer else measured


def _of_allocator(device: Device, engine: Engine, memory: MemoryMeter) -> GpuReadings:
    """Return what torch's allocator tells of a GPU that the parent watches."""
    contexts = 2 if getattr(engine, "OWN_PROCESS", False) else 1
    return GpuReadings(allocated=memory.peak(), reserved=device.reserved(), contexts=contexts)


def _dry_run(steps: Steps, device: Device, mode: Mode) -> Measured:
    """Count what the calls of a workload cost; its weights are drawn only if necessary."""
    config, training = steps.config, mode.trains(steps.config)
    with Deferred() as weights:
        workload = steps.build(device, training)
    fill = partial(weights.fill, workload.module)
    if formats.needs_values(config):
        fill()
    steps.begin("the first call of", "prepare")
    form, _ = engines.in_format(Job(workload, config, training))
    calls = mode.dry_run(form, config, fill)
    return Measured(steps.outcome(params=_parameters(workload)), calls=calls)


def _write_trace(mode: Mode, program: Program, device: Device, path: Path) -> list[BenchmarkWarning]:
    """Write the requested trace; return a warning if that fails, because the measurement is still valid."""
    try:
        mode.write_trace(program, device, path)
    except OSError as error:
        return [BenchmarkWarning(WarningCode.NO_TRACE, f"no trace could be written: {error.strerror}")]
    return []


def _check(measured: Measured, steps: Steps, device: Device, mode: Mode, program: Program) -> Measured:
    """Check whether the answer is eager fp32's; if the check fails, the measurement is kept."""
    steps.doing = "checking the answer of"
    steps.watch(Progress("verify", measured=measured))
    whole = _seconds(each for each in measured.series if each.role is Role.WHOLE)
    first = _seconds(each for each in measured.series if each.phase == "first_call")
    try:
        checked = verify.verify(steps.config, device, mode, program, whole, first)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = explain(error, steps.config, steps.doing, steps.workload)[1]
        return replace(measured, outcome=unverified(measured.outcome, reason))
    return replace(measured, outcome=checked.applied(measured.outcome))


def _parameters(workload: Workload) -> int | None:
    """Return the number of a module's parameters; None for a file that torch does not read."""
    module = workload.module
    return None if isinstance(module, File) else sum(each.numel() for each in module.parameters())


def _seconds(series: Iterable[Series]) -> float | None:
    """Return the median of the first of some series that has one; None if none has."""
    return next((each.summary.median for each in series if each.summary is not None), None)


def _cold(experiment: Experiment, evict: Callable[[], object]) -> Experiment:
    """Return the experiment with the caches evicted before each sample, and without merged calls."""
    return dataclasses.replace(experiment, before=evict, mergeable=False)
