"""What a report shows of a case, alone or among others: its phases, how it was measured, its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import NamedTuple

from microbench.records.cases import CaseResult, Estimate
from microbench.records.clocks import BUSY, FIGURES, device_share
from microbench.records.record import Check, Correctness, Role, RoundsReason, StopReason

LEAST_LOSS = 0.01  # of the total: a smaller loss phase is not shown
LEAST_PREPARE = 0.1  # of the time until the first answer: a shorter preparation is not shown


@dataclass(frozen=True)
class PhaseTime:
    """A phase of a case.

    Attributes:
        estimate: its time.
        is_valid: whether the time counts: the case computes the same as eager fp32, or that was not checked.
        rate: items per second; None if it is not valid, and for a part of a step.
        memory: the peak memory of the case in bytes; None if unknown.
    """

    estimate: Estimate
    is_valid: bool
    rate: float | None
    memory: float | None


class Disturbed(NamedTuple):
    """How many rounds are left out because something else disturbed them, of how many that ended well."""

    left_out: int
    rounds: int


@dataclass(frozen=True)
class OnGpu:
    """What was read of the GPU: medians over the rounds; None if unknown.

    Attributes:
        process: bytes that the process took, with CUDA's context.
        context: bytes of that context.
        clock: Hz of the multiprocessors.
        power: watts.
        temperature: the highest of all rounds, in °C.
        joules: energy of a call or step.
        idle: watts of the idle GPU.
        missing: why the energy was not measured; None if it was, or nothing was to be.
    """

    process: float | None
    context: float | None
    clock: float | None
    power: float | None
    temperature: float | None
    joules: float | None
    idle: float | None
    missing: str | None


@dataclass(frozen=True)
class Facts:
    """How a case was measured.

    Attributes:
        rounds: how many measured a whole step; if none did, only the last two may be known.
        memory: the peak memory in bytes.
        calls_per_sample: those of the first round.
        stops: how often sampling stopped, by reason.
        warmup: calls until the times settled, the median over rounds.
        prepare: seconds; None if short compared with the first call.
        first_call: seconds.
        left_out: the number of rounds besides `rounds` that were disturbed.
        repeated: whether others were measured in their place.
        seconds: what all rounds took, with the case's part of the start-up; None if unknown.
        short_of: the budget in seconds that did not allow six rounds; None if it did, or there is none.
        figure: what its times are, such as `stream time`; None on the CPU, where there is only one.
        idle: the share of a whole step in which the GPU waits for the host; None if it is short, or unknown.
        context: seconds that it took to make the GPU's context; None without one.
        gpu: what was read of the GPU; None without one.
    """

    rounds: int
    memory: float | None = None
    calls_per_sample: int = 1
    stops: Mapping[StopReason, int] | None = None
    warmup: int = 0
    prepare: float | None = None
    first_call: float | None = None
    left_out: int = 0
    repeated: bool = False
    seconds: float | None = None
    short_of: float | None = None
    figure: str | None = None
    idle: float | None = None
    context: float | None = None
    gpu: OnGpu | None = None


@dataclass(frozen=True)
class CaseReport:
    """What a report shows of the only case of a run.

    Attributes:
        case: the case.
        items: what its batch consists of.
        phases: the phases to show.
        facts: how it was measured.
        check: whether its answer is eager fp32's.
        error: the largest relative error of the answer; None if it was not compared.
        has_loss: whether a loss was compared instead of an output.
        conversions: layout conversions per call; None if they were not counted.
        arithmetic: the instructions that computed it; None for fp32.
    """

    case: CaseResult
    items: str
    phases: Sequence[PhaseTime]
    facts: Facts
    check: Check
    error: float | None
    has_loss: bool
    conversions: int | None
    arithmetic: str | None


@dataclass(frozen=True)
class Interval:
    """A kind of interval that some cases' times have: its confidence, and the fewest and most rounds."""

    confidence: float
    least: int
    most: int


def case_report(case: CaseResult) -> CaseReport:
    """Return what a report shows of one case."""
    times = phase_times(case)
    return CaseReport(
        case,
        case.item,
        [times[phase] for phase in shown(times)],
        facts_of(case),
        case.check,
        error_of(case),
        "loss" in case.estimates,
        case.first.outcome.process.conversions,
        arithmetic(case),
    )


def disturbed(cases: Iterable[CaseResult]) -> Disturbed | None:
    """Return how many rounds of some cases are left out because they were disturbed; None if none is."""
    each = [Disturbed(case.left_out, len(case.measured_rounds)) for case in cases]
    left_out = sum(case.left_out for case in each)
    return Disturbed(left_out, sum(case.rounds for case in each)) if left_out else None


def phase_times(case: CaseResult) -> dict[str, PhaseTime]:
    """Return all phases of a case, including those that do not count."""
    valid = case.estimates or case.preliminary
    return {
        phase: PhaseTime(
            estimate,
            phase in valid,
            case.throughput(estimate) if phase in valid else None,
            case.peak_memory,
        )
        for phase, estimate in {**case.discarded, **valid}.items()
    }


def shown(times: Mapping[str, PhaseTime]) -> list[str]:
    """Return the phases to show, in order; the loss only if it is more than 1 % of the total."""
    loss, total = times.get("loss"), times.get("total")
    hide_loss = loss and total and loss.estimate.median <= LEAST_LOSS * total.estimate.median
    return [
        phase
        for phase, time in times.items()
        if time.estimate.role is not Role.ONCE and not (phase == "loss" and hide_loss)
    ]


def facts_of(case: CaseResult) -> Facts:
    """Return how a case was measured."""
    rounds = [
        (record.outcome.stop_reason, series)
        for record in (case.counted or case.rounds).values()
        for series in record.series
        if record.outcome.status is case.status and series.role is Role.WHOLE and series.summary is not None
    ]
    estimates = case.estimates or case.preliminary or case.discarded
    prepare, first_call = (
        estimates[name].median if name in estimates else None for name in ("prepare", "first_call")
    )
    if prepare is None or first_call is None or prepare < LEAST_PREPARE * (prepare + first_call):
        prepare = None
    if not rounds:
        return Facts(0, prepare=prepare, first_call=first_call)
    last = max(case.rounds.values(), key=lambda record: record.turn)
    plan = last.plan
    is_short = plan is not None and plan.reason is RoundsReason.BUDGET
    return Facts(
        len(rounds),
        case.peak_memory,
        rounds[0][1].calls_per_sample,
        Counter(reason for reason, _ in rounds if reason is not None),
        round(median(len(series.warmup) for _, series in rounds)),
        prepare,
        first_call,
        case.left_out,
        plan is not None and len(case.rounds) > plan.rounds,
        None if plan is None or last.seconds is None else plan.spent + last.seconds,
        case.config.measure.budget if is_short else None,
        figure_of(case),
        idle_share(case),
        estimates["context"].median if "context" in estimates else None,
        gpu=on_gpu(case),
    )


def on_gpu(case: CaseResult) -> OnGpu | None:
    """Return what was read of the GPU while a case was measured; None if it did not run on one."""
    found = [each.outcome.gpu for each in case.counted.values() if each.outcome.gpu is not None]
    if not found:
        return None

    def middle(values: Iterable[float | None]) -> float | None:
        known = [each for each in values if each is not None]
        return median(known) if known else None

    energy = next((each.outcome.energy for each in case.rounds.values() if each.outcome.energy), None)
    return OnGpu(
        process=middle(each.process for each in found),
        context=middle(each.context for each in found),
        clock=middle(each.sm_clock for each in found),
        power=middle(each.power for each in found),
        temperature=max((each.temperature for each in found if each.temperature is not None), default=None),
        joules=None if energy is None else energy.joules,
        idle=None if energy is None else energy.idle,
        missing=None if energy is None else energy.missing,
    )


def figure_of(case: CaseResult) -> str | None:
    """Return what the times of a case's whole step are, such as `stream time`; None on the CPU."""
    found = (FIGURES.get(each.clock) for each in case.first.series if each.role is Role.WHOLE)
    return next(found, None)


def idle_share(case: CaseResult) -> float | None:
    """Return the share of a whole step in which the GPU waits for the host, if it is a tenth or more."""
    found = [device_share(record.series) for record in case.counted.values()]
    known = [each for each in found if each is not None]
    return 1 - share if known and (share := median(known)) < BUSY else None


def error_of(case: CaseResult) -> float | None:
    """Return the largest relative error of outputs or gradients; None if none were compared."""
    check = case.check
    if check.answer not in (Correctness.SAME, Correctness.MISMATCH, Correctness.UNCLEAR):
        return None
    errors = [check.error_rel, *([] if check.gradient_tolerance is None else [check.gradient_error])]
    return max(inf if error is None else error for error in errors)


def arithmetic(case: CaseResult) -> str | None:
    """Return the instructions that computed a case, such as `avx512_bf16`; None for fp32, and if unknown."""
    found = case.first.outcome.process.arithmetic
    return None if case.config.precision.name == "fp32" or found == "fp32" else found


def intervals(cases: Sequence[CaseResult]) -> list[Interval]:
    """Return the kinds of intervals that whole steps have; those within one process come last."""
    found: dict[tuple[bool, float], set[int]] = {}
    times = (time for case in cases for time in phase_times(case).values())
    for estimate in (time.estimate for time in times if time.is_valid):
        if estimate.role is Role.WHOLE and estimate.low is not None:
            kind = estimate.rounds == 1, round(estimate.confidence, 2)
            found.setdefault(kind, set()).add(estimate.rounds)
    return [Interval(level, min(rounds), max(rounds)) for (_, level), rounds in sorted(found.items())]
