"""What a search for the fastest way found: the ways it tried, and how each compares with plain eager."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from microbench.analysis.verdict import contrast
from microbench.config import AXES, EngineConfig
from microbench.records.cases import CaseResult
from microbench.records.record import Check, Status, WarningCode
from microbench.records.settings import as_given, is_configuration
from microbench.stats.ratio import Ratio


@dataclass(frozen=True)
class Tried:
    """A way that was tried.

    Attributes:
        case: the case.
        way: its settings, such as `openvino bf16`.
        time: what it takes in seconds per call, in the rounds of the final where it was in it; None where it
            was not measured to the end, has another answer or one that could not be compared, or an
            implausible time.
        speedup: how many times as fast as plain eager, over the final's rounds; by its first round alone, and
            without an interval, where it was not in the final.
        finals: rounds of the final.
    """

    case: CaseResult
    way: str
    time: float | None
    speedup: Ratio | None
    finals: int

    @property
    def check(self) -> Check:
        """Whether its answer is eager fp32's, as found in its first round."""
        return self.case.rounds[min(self.case.rounds)].outcome.check

    @property
    def standing(self) -> str:
        """Why it has no time, in a word: its status, or the warning because of which it cannot win."""
        is_doubted = self.case.standing == Status.OK and self.case.is_unchecked
        return WarningCode.UNVERIFIED.value if is_doubted else self.case.standing

    @property
    def reason(self) -> str:
        """Why it has no time, in a sentence."""
        is_doubted = self.standing == WarningCode.UNVERIFIED
        return (self.case.warnings[WarningCode.UNVERIFIED][0] if is_doubted else self.case.reason) or ""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        baseline: plain eager.
        ways: those that were tried, the baseline too; the finalists first, then by their times.
    """

    baseline: Tried
    ways: list[Tried]

    @property
    def is_partial(self) -> bool:
        """Whether ways were not tried, or not to the end, so that one of them may be the fastest of all."""
        return any(each.standing in (Status.SKIPPED, Status.GIVEN_UP) for each in self.ways)

    @property
    def winner(self) -> Tried:
        """The fastest of the final; plain eager where nothing was faster, or nothing else was measured."""
        return self.ways[0]


def found(cases: Sequence[CaseResult]) -> Found | None:
    """What the cases of a search say; the first is the baseline. None where that was not measured."""
    tried = [_tried(case, cases[0]) for case in cases]
    if tried[0].time is None:
        return None
    ways = sorted(tried, key=lambda each: (each.time is None, not each.finals, each.time or math.inf))
    return Found(tried[0], ways)


def way_of(case: CaseResult, plain: CaseResult) -> str:
    """What a configuration is called, such as `openvino bf16, allocator=tuned`."""
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
    finals, way = _finals(case), way_of(case, baseline)
    shown = case if finals is None else finals
    estimate = shown.whole
    if estimate is None or not case.can_win or min(estimate.medians.values()) <= 0:
        return Tried(case, way, None, None, 0)
    against = _first(baseline) if finals is None else _finals(baseline)
    speedup = None
    if against is not None and case is not baseline and against.whole is not None:
        speedup = contrast(shown, against, estimate.phase).ratio
    number = 0 if finals is None else estimate.rounds
    return Tried(case, way, estimate.median, speedup, number)


def _first(case: CaseResult) -> CaseResult | None:
    """A case with the round that selected alone."""
    return CaseResult({0: case.rounds[0]}) if 0 in case.rounds else None


def _finals(case: CaseResult) -> CaseResult | None:
    """A case with the rounds after the first, which selected; None where it has no others."""
    rounds = {number: record for number, record in case.rounds.items() if number > 0}
    return CaseResult(rounds) if rounds else None
