"""What two measurements of the same thing say of a machine: how small a difference it can tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from microbench.results.cases import CaseResult, is_of_phase, is_ok
from microbench.results.record import Record
from microbench.stats.ratio import Ratio, paired
from microbench.stats.resolution import detectable, deviation_interval, rounds_for

Z = 1.96  # standard errors in half a 95 % interval


@dataclass(frozen=True)
class Resolution:
    """How small a difference a machine can tell apart, from an A/A test: the same case twice, interleaved.

    Attributes:
        ratio: of the second over the first, over the rounds that both have; 1 is the truth.
        rounds: how many these are.
        deviation: the standard deviation of a round's log ratio.
        between: the standard deviation between the medians of all processes, as a share of their median.
        within: the typical standard deviation of the samples within a process, as a share of their median;
            None where no process has two.
        from_within: the share of the variance of a round's log ratio that comes from the samples being few,
            and that longer rounds would lessen; None where no process has an interval.
    """

    ratio: Ratio
    rounds: int
    deviation: float
    between: float
    within: float | None
    from_within: float | None

    def smallest(self, rounds: int) -> float:
        """The smallest difference that so many rounds tell apart, as a share: see `stats.resolution`."""
        return detectable(self.deviation, rounds)

    @property
    def uncertainty(self) -> tuple[float, float]:
        """The 95 % interval of the smallest difference that its own rounds tell apart, for they are few."""
        low, high = deviation_interval(self.deviation, self.rounds)
        return detectable(low, self.rounds), detectable(high, self.rounds)

    def rounds_for(self, share: float) -> int | None:
        """The rounds it takes to tell a difference of `share` apart; None for more than a million."""
        return rounds_for(share, self.deviation)

    @property
    def holds(self) -> bool:
        """Whether the ratio's interval holds 1, as it does in 95 % of A/A tests."""
        ends = self.ratio.interval
        return ends is not None and ends[0] <= 1 <= ends[1]


def resolution_of(first: CaseResult, second: CaseResult, phase: str) -> Resolution | None:
    """What two measurements of the same case say; None with fewer than two rounds that both have."""
    estimates = [case.estimates[phase] for case in (first, second) if phase in case.estimates]
    if len(estimates) < 2:
        return None
    one, two = (estimate.medians for estimate in estimates)
    common = sorted(one.keys() & two.keys())
    if len(common) < 2:
        return None
    ratio = paired([one[each] for each in common], [two[each] for each in common])
    variance = ratio.parts[0].variance
    records = [record for case in (first, second) for record in _records(case, phase)]
    medians = [float(record["median"]) for record in records]
    return Resolution(
        ratio,
        len(common),
        math.sqrt(variance),
        stdev(medians) / median(medians),
        _within(records),
        _from_within(records, variance),
    )


def _records(case: CaseResult, phase: str) -> list[Record]:
    """A phase's record of each round that ended well."""
    found = [record for attempt in case.rounds.values() if is_ok(attempt) for record in attempt]
    return [
        record for record in found if record["phase"] == phase and is_of_phase(record) and record["median"]
    ]


def _within(records: Sequence[Record]) -> float | None:
    shares = [record["std"] / record["median"] for record in records if record["std"] is not None]
    return median(shares) if shares else None


def _from_within(records: Sequence[Record], variance: float) -> float | None:
    """A log ratio has the errors of two medians, each known from its interval within the process."""
    errors = [
        (record["ci_high"] - record["ci_low"]) / 2 / Z / record["median"]
        for record in records
        if record["ci_low"] is not None
    ]
    if not errors or not variance:
        return None
    return min(1.0, 2 * fmean(error**2 for error in errors) / variance)
