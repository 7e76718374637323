"""The detectable difference of a machine, from two measurements of the same thing."""

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
    """The detectable difference of a machine, from an A/A test: the same case twice, interleaved.

    Attributes:
        ratio: the second over the first, over the rounds that both have; the true value is 1.
        rounds: the number of these rounds.
        deviation: the standard deviation of a round's log ratio.
        between: the standard deviation between the medians of all processes, as a share of their median.
        within: the typical standard deviation of the samples within a process, as a share of their median;
            None if no process has two.
        from_within: the share of the variance of a round's log ratio that is due to the number of samples,
            and that longer rounds would reduce; None if no process has an interval.
    """

    ratio: Ratio
    rounds: int
    deviation: float
    between: float
    within: float | None
    from_within: float | None

    def smallest(self, rounds: int) -> float:
        """Return the smallest difference detectable with some rounds, as a share: see `stats.resolution`."""
        return detectable(self.deviation, rounds)

    @property
    def uncertainty(self) -> tuple[float, float]:
        """The 95 % CI of the detectable difference with its own rounds, which are few."""
        low, high = deviation_interval(self.deviation, self.rounds)
        return detectable(low, self.rounds), detectable(high, self.rounds)

    def rounds_for(self, share: float) -> int | None:
        """Return the rounds needed to detect a difference of `share`; None for more than a million."""
        return rounds_for(share, self.deviation)

    @property
    def holds(self) -> bool:
        """Whether the ratio's interval contains 1, as it does in 95 % of A/A tests."""
        ends = self.ratio.interval
        return ends is not None and ends[0] <= 1 <= ends[1]


def resolution_of(first: CaseResult, second: CaseResult, phase: str) -> Resolution | None:
    """Return the resolution from two measurements of a case; None with fewer than two rounds in common."""
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
    """Return a phase's summary of each successful round."""
    series = [each for record in case.rounds.values() if record.ok for each in record.series]
    found = [each.summary for each in series if each.phase == phase and each.summary is not None]
    return [summary for summary in found if summary.median]


def _within(summaries: Sequence[Summary]) -> float | None:
    shares = [each.std / each.median for each in summaries if each.std is not None]
    return median(shares) if shares else None


def _from_within(summaries: Sequence[Summary], variance: float) -> float | None:
    """Return the share of a log ratio's variance from its two medians' errors within their processes."""
    errors = [each.half_width / Z for each in summaries if each.half_width is not None]
    if not errors or not variance:
        return None
    return min(1.0, 2 * fmean(error**2 for error in errors) / variance)
