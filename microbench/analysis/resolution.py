"""What two measurements of the same thing say of a machine: how small a difference it can tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from microbench.records.cases import CaseResult
from microbench.records.record import Summary
from microbench.stats.ratio import Ratio, paired
from microbench.stats.resolution import detectable, deviation_interval, rounds_for

Z = 1.96  # standard errors in half a 95 % CI


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
        """The 95 % CI of the smallest difference that its own rounds tell apart, for they are few."""
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
    summaries = [each for case in (first, second) for each in _summaries(case, phase)]
    medians = [each.median for each in summaries]
    return Resolution(
        ratio,
        len(common),
        math.sqrt(variance),
        stdev(medians) / median(medians),
        _within(summaries),
        _from_within(summaries, variance),
    )


def _summaries(case: CaseResult, phase: str) -> list[Summary]:
    """A phase's summary of each round that ended well."""
    series = [each for record in case.rounds.values() if record.ok for each in record.series]
    found = [each.summary for each in series if each.phase == phase and each.summary is not None]
    return [summary for summary in found if summary.median]


def _within(summaries: Sequence[Summary]) -> float | None:
    shares = [each.std / each.median for each in summaries if each.std is not None]
    return median(shares) if shares else None


def _from_within(summaries: Sequence[Summary], variance: float) -> float | None:
    """A log ratio has the errors of two medians, each known from its interval within the process."""
    errors = [each.half_width / Z for each in summaries if each.half_width is not None]
    if not errors or not variance:
        return None
    return min(1.0, 2 * fmean(error**2 for error in errors) / variance)
