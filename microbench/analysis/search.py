"""The result of a search for the fastest configuration: how each one tried compares with plain eager."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microbench.analysis.verdict import contrast
from microbench.analysis.warnings import Problems, problems
from microbench.config import AXES, EngineConfig
from microbench.records.cases import CaseResult
from microbench.records.record import Check, Status, WarningCode
from microbench.records.settings import as_given, is_configuration
from microbench.stats.ratio import Ratio


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
        prepare: seconds before the first call; None if unknown.
        time: its time in seconds per call, over all its rounds; None if it was not measured to the end, has
            another answer or one that could not be compared, or an implausible time.
        speedup: how many times as fast as plain eager, over the final's rounds; if it was not in the final,
            by its first round alone, without an interval.
        finals: its rounds in the final.
    """

    case: CaseResult
    configuration: str
    check: Check
    standing: str
    reason: str
    rounds: int
    prepare: float | None
    time: float | None = None
    speedup: Ratio | None = None
    finals: int = 0


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        baseline: plain eager.
        winner: the fastest of the final; plain eager if nothing was faster, or nothing else was measured.
        tried: all that were tried, including the baseline; the finalists first, then by speedup.
        left_out: those without a time, one group per reason, and one for all that were given up.
        is_partial: whether some were not tried, or not to the end, so that one of them may be the fastest.
        problems: the problems of the baseline and of the winner.
    """

    baseline: Tried
    winner: Tried
    tried: Sequence[Tried]
    left_out: Sequence[Sequence[Tried]]
    is_partial: bool
    problems: Problems


def search_result(cases: Sequence[CaseResult]) -> SearchResult | None:
    """Return the result of a search's cases, the baseline first; None if that was not measured."""
    baseline, *others = (_tried(case, cases[0]) for case in cases)
    if baseline.time is None:
        return None
    tried = sorted([baseline, *others], key=_rank)
    winner, groups = tried[0], dict[tuple[str, str | None], list[Tried]]()
    for each in tried:
        if each.time is None:
            reason = None if each.standing == Status.GIVEN_UP else each.reason
            groups.setdefault((each.standing, reason), []).append(each)
    is_partial = any(each.standing in (Status.SKIPPED, Status.GIVEN_UP) for each in tried)
    told = [baseline] if winner is baseline else [baseline, winner]
    left_out = list(groups.values())
    return SearchResult(baseline, winner, tried, left_out, is_partial, problems([each.case for each in told]))


def _rank(tried: Tried) -> tuple[bool, bool, float, float]:
    """Return a key that sorts by what the verdict rests on: finalists first, then by speedup."""
    ratio = 1.0 if tried.speedup is None else 1 / tried.speedup.value
    return tried.time is None, not tried.finals, ratio, tried.time or math.inf


def _name(case: CaseResult, plain: CaseResult) -> str:
    """Return a configuration's name, such as `openvino bf16, allocator=tuned`."""
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
    return ", ".join([f"{engine.name} {case.config.precision.name}", *given, *axes])


def _tried(case: CaseResult, baseline: CaseResult) -> Tried:
    finals, prepare = _finals(case), case.estimates.get("prepare")
    is_doubted = case.standing == Status.OK and case.is_unchecked
    tried = Tried(
        case,
        _name(case, baseline),
        case.rounds[min(case.rounds)].outcome.check,
        WarningCode.UNVERIFIED.value if is_doubted else case.standing,
        (case.warnings[WarningCode.UNVERIFIED][0] if is_doubted else case.reason) or "",
        len(case.rounds),
        None if prepare is None else prepare.median,
    )
    whole = case.whole
    if whole is None or not case.can_win or not whole.is_comparable:
        return tried
    against = _first(baseline) if finals is None else _finals(baseline)
    speedup = None
    if against is not None and case is not baseline and against.whole is not None:
        speedup = contrast(finals or case, against, whole.phase).ratio
    return replace(tried, time=whole.median, speedup=speedup, finals=len(finals.rounds) if finals else 0)


def _first(case: CaseResult) -> CaseResult | None:
    """Return a case with only its first round, which selected it."""
    return CaseResult({0: case.rounds[0]}) if 0 in case.rounds else None


def _finals(case: CaseResult) -> CaseResult | None:
    """Return a case with the rounds after the first; None if there are none."""
    rounds = {number: record for number, record in case.rounds.items() if number > 0}
    return CaseResult(rounds) if rounds else None
