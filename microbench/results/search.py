"""What a search for the fastest way found: the ways it tried, and how each compares with plain eager."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from microbench.config import EngineConfig
from microbench.results.cases import WHOLE, CaseResult, Estimate
from microbench.results.record import Record, Status, WarningCode
from microbench.results.settings import as_given
from microbench.results.verdicts import contrast
from microbench.stats.ratio import Ratio


@dataclass(frozen=True)
class Tried:
    """A way that was tried.

    Attributes:
        case: the case.
        way: its settings, such as `openvino bf16`.
        time: the geometric mean of its rounds in seconds per call, of those of the final where it was in it;
            None where it was not measured to the end, has another answer or one that could not be compared,
            or an implausible time.
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
    def checked(self) -> Record:
        """A record of its first round, in which its answer was checked."""
        return self.case.rounds[min(self.case.rounds)][0]

    @property
    def standing(self) -> str:
        """Why it has no time, in a word: its status, or the warning because of which it cannot win."""
        is_doubted = self.case.standing == Status.OK and self.case.is_unchecked
        return WarningCode.UNVERIFIED.value if is_doubted else self.case.standing

    @property
    def reason(self) -> str:
        """Why it has no time, in a sentence."""
        is_doubted = self.standing == WarningCode.UNVERIFIED
        return (self.case.warnings[self.standing][0] if is_doubted else self.case.reason) or ""


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


AXES = ("layout", "cache_weights", "threads", "affinity", "allocator")
"""What a way's name says besides its engine and precision, where plain eager has another value."""


def way_of(record: Record, plain: Record) -> str:
    """What a way is called, such as `openvino bf16, allocator=tuned`."""
    axes = [
        f"{axis}={record[f'cfg_{axis}']}" for axis in AXES if record[f"cfg_{axis}"] != plain[f"cfg_{axis}"]
    ]
    options = record["config"]["engine"]
    given = [
        f"engine.{name}={as_given(options[name])}"
        for name, usual in vars(EngineConfig()).items()
        if name != "name" and options.get(name, usual) != usual
    ]
    return ", ".join([f"{record['cfg_engine']} {record['cfg_precision']}", *given, *axes])


def _tried(case: CaseResult, baseline: CaseResult) -> Tried:
    finals, way = _finals(case), way_of(case.first, baseline.first)
    shown = case if finals is None else finals
    estimate = whole_of(shown)
    if estimate is None or not case.can_win or min(estimate.medians.values()) <= 0:
        return Tried(case, way, None, None, 0)
    against = _first(baseline) if finals is None else _finals(baseline)
    speedup = None
    if against is not None and case is not baseline and whole_of(against) is not None:
        speedup = contrast(shown, against, estimate.phase).ratio
    number = 0 if finals is None else estimate.rounds
    return Tried(case, way, geometric_mean(estimate.medians.values()), speedup, number)


def whole_of(case: CaseResult) -> Estimate | None:
    """The estimate of the phase that spans a case's step."""
    return next((case.estimates[phase] for phase in WHOLE if phase in case.estimates), None)


def _first(case: CaseResult) -> CaseResult | None:
    """A case with the round that selected alone."""
    return CaseResult({0: case.rounds[0]}) if 0 in case.rounds else None


def _finals(case: CaseResult) -> CaseResult | None:
    """A case with the rounds after the first, which selected; None where it has no others."""
    rounds = {number: attempt for number, attempt in case.rounds.items() if number > 0}
    return CaseResult(rounds) if rounds else None
