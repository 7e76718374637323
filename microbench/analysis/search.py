"""The result of a search for the best configuration: how each one tried compares with plain eager."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microbench.analysis.case import Disturbed, disturbed
from microbench.analysis.ranking import calls_to_break_even, first_answer
from microbench.analysis.verdict import side_by_side
from microbench.analysis.warnings import Problems, problems
from microbench.config import AXES, EngineConfig
from microbench.records.cases import CaseResult
from microbench.records.objective import figure, figures
from microbench.records.record import Check, Status, WarningCode
from microbench.records.settings import as_given, is_configuration
from microbench.stats.ratio import LEVEL, Ratio, paired, unpaired


@dataclass(frozen=True)
class Tried:
    """A configuration that was tried.

    Attributes:
        case: its case.
        configuration: its settings, such as `openvino bf16`.
        check: whether its answer is eager fp32's, by its first round.
        standing: its status, or the warning because of which it cannot win; if not `ok`, it has no time.
        reason: why it has no time, in a sentence.
        rounds: the number of rounds measured.
        disturbed: how many of them are left out as disturbed; None if none is.
        prepare: seconds before the first call; None if unknown.
        memory: its peak memory in bytes; None if unknown.
        time: its time in seconds per call, over all its rounds; None if it was not measured to the end, has
            another answer or one that could not be compared, or an implausible time.
        figure: what the search compares, the less the better (see `records/objective.py`); None without a
            time.
        speedup: how many times as good as plain eager: its figure over this one's, over the final's rounds;
            if it was not in the final, by the first round of each alone (over all, if that is left out as
            disturbed), without an interval.
        finals: its rounds in the final.
        least: the least speedup of a round, that in which it was selected included; None for one round.
        break_even: the number of calls after which its total time is no longer than plain eager's, which
            has less to prepare; None if never, and for another batch size.
        is_tied: whether it was in the final, and is not significantly worse than the winner.
    """

    case: CaseResult
    configuration: str
    check: Check
    standing: str
    reason: str
    rounds: int
    disturbed: Disturbed | None
    prepare: float | None
    memory: float | None
    time: float | None = None
    figure: float | None = None
    speedup: Ratio | None = None
    finals: int = 0
    least: float | None = None
    break_even: int | None = None
    is_tied: bool = False


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        objective: what was searched for.
        baseline: plain eager.
        winner: the best of the final; plain eager if nothing was better, or nothing else was measured.
        tried: all that were tried, including the baseline; the finalists first, then by speedup.
        left_out: those without a time, one group per reason, and one for all that were given up.
        finalists: the number of configurations in the final, besides plain eager.
        is_better: whether the winner is significantly better than plain eager, at 5 % among the finalists.
        is_partial: whether some were not tried, or not to the end, so that one of them may be the best.
        problems: the problems of the baseline and of the winner.
    """

    objective: str
    baseline: Tried
    winner: Tried
    tried: Sequence[Tried]
    left_out: Sequence[Sequence[Tried]]
    finalists: int
    is_better: bool
    is_partial: bool
    problems: Problems


def search_result(cases: Sequence[CaseResult]) -> SearchResult | None:
    """Return the result of a search's cases, the baseline first; None if that was not measured."""
    objective = cases[0].config.objective
    has_batches = len({_batch(case) for case in cases}) > 1
    baseline, *others = (_tried(case, cases[0], objective, has_batches) for case in cases)
    if baseline.figure is None:
        return None
    tried = sorted([baseline, *others], key=_rank)
    winner, groups = tried[0], dict[tuple[str, str | None], list[Tried]]()
    tried = [each if each is winner else _compared(each, winner, cases[0], objective) for each in tried]
    baseline = next(each for each in tried if each.case is cases[0])
    for each in tried:
        if each.figure is None:
            reason = None if each.standing == Status.GIVEN_UP else each.reason
            groups.setdefault((each.standing, reason), []).append(each)
    unknown = (Status.SKIPPED, Status.GIVEN_UP, Status.INTERRUPTED)
    is_partial = any(each.standing in unknown for each in tried) or len(cases) < (cases[0].run.cases or 0)
    finalists = sum(bool(each.finals) for each in tried if each is not baseline)
    told = [baseline] if winner is baseline else [baseline, winner]
    return SearchResult(
        objective,
        baseline,
        winner,
        tried,
        list(groups.values()),
        finalists,
        _is_better(winner, finalists),
        is_partial,
        problems([each.case for each in told]),
    )


def _is_better(winner: Tried, finalists: int) -> bool:
    """Return whether the best of some finalists is significantly better: Bonferroni's correction."""
    ratio = winner.speedup
    return ratio is not None and ratio.value > 1 and ratio.p is not None and ratio.p * finalists <= LEVEL


def _rank(tried: Tried) -> tuple[bool, bool, float, float]:
    """Return a key that sorts by what the verdict rests on: finalists first, then by speedup."""
    ratio = 1.0 if tried.speedup is None else 1 / tried.speedup.value
    return tried.figure is None, not tried.finals, ratio, tried.figure or math.inf


def _name(case: CaseResult, plain: CaseResult, has_batches: bool) -> str:
    """Return a configuration's name, such as `openvino bf16, allocator=tuned`, with its batch size or not."""
    axes = [
        f"{axis}={as_given(case.axes[axis])}"
        for axis in filter(is_configuration, AXES)
        if axis not in ("engine", "precision") and case.axes[axis] != plain.axes[axis]
    ]
    engine = case.config.engine
    given = [
        f"engine.{name}={as_given(getattr(engine, name))}"
        for name, usual in vars(EngineConfig()).items()
        if name != "name" and getattr(engine, name) != usual
    ]
    batch = [f"batch_size={_batch(case)}"] if has_batches else []
    return ", ".join([f"{engine.name} {case.config.precision.name}", *given, *axes, *batch])


def _batch(case: CaseResult) -> int:
    return case.config.batch_size


def _tried(case: CaseResult, baseline: CaseResult, objective: str, has_batches: bool) -> Tried:
    prepare = case.estimates.get("prepare")
    is_doubted = case.standing == Status.OK and case.is_unchecked
    tried = Tried(
        case,
        _name(case, baseline, has_batches),
        case.rounds[min(case.rounds)].outcome.check,
        WarningCode.UNVERIFIED.value if is_doubted else case.standing,
        (case.warnings[WarningCode.UNVERIFIED][0] if is_doubted else case.reason) or "",
        len(case.rounds),
        disturbed([case]),
        None if prepare is None else prepare.median,
        case.peak_memory,
    )
    found, whole = figure(case, objective, is_baseline=case is baseline), case.whole
    if found is None or whole is None:
        return tried
    tried = replace(tried, time=whole.median, figure=found, finals=len(_finals(case, baseline)))
    if case is baseline:
        return tried
    tried = replace(tried, break_even=_break_even(case, baseline))
    plain, own = figures(baseline, objective), figures(case, objective)
    if finals := [each for each in _finals(case, baseline) if each in plain and each in own]:
        speedup = paired([own[each] for each in finals], [plain[each] for each in finals])
        rounds = [plain[each] / own[each] for each in (0, *finals) if each in plain and each in own]
        return replace(tried, speedup=speedup, least=min(rounds) if len(rounds) > 1 else None)
    first = plain.get(
        0, figure(baseline, objective, is_baseline=True)
    )  # without round 0 if that is left out as disturbed
    return tried if first is None else replace(tried, speedup=unpaired([own.get(0, found)], [first]))


def _finals(case: CaseResult, baseline: CaseResult) -> list[int]:
    """Return a case's rounds in the final: those after the first in which plain eager took its turn."""
    return sorted(each for each in side_by_side(case, baseline) if each > 0)


def _compared(tried: Tried, winner: Tried, plain: CaseResult, objective: str) -> Tried:
    """Return what was tried with whether it is tied with the winner, by the rounds of the final."""
    if tried.figure is None or not tried.finals or tried.case is plain:
        return tried
    best, own = figures(winner.case, objective), figures(tried.case, objective)
    common = sorted({*_finals(tried.case, plain)} & {*_finals(winner.case, plain)} & best.keys() & own.keys())
    ends = (
        paired([best[each] for each in common], [own[each] for each in common]).interval if common else None
    )
    return replace(tried, is_tied=ends is None or ends[0] <= 1)


def _break_even(case: CaseResult, baseline: CaseResult) -> int | None:
    """Return the number of calls after which a case has made up for its preparation; None if never."""
    starts = first_answer(case), first_answer(baseline)
    if case.whole is None or baseline.whole is None or _batch(case) != _batch(baseline):
        return None
    if starts[0] is None or starts[1] is None:
        return None
    return calls_to_break_even(starts[0], case.whole.median, starts[1], baseline.whole.median)
