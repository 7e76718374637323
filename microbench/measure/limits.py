"""How long the parts of a round may take: its options, and its share of the case's budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from microbench.config import MeasureConfig
from microbench.measure.stopping import StoppingRule
from microbench.records.record import Plan, StopReason
from microbench.stats.median import LEAST_FOR_INTERVAL

LEAST_OF_A_ROUND = 3  # samples of a round that is one of several without a budget, or fewer if requested


@dataclass(frozen=True)
class Limits:
    """The limits on a round.

    Attributes:
        settings: the case's options.
        plan: what the round is granted; None for what the options allow.
    """

    settings: MeasureConfig
    plan: Plan | None = None

    @property
    def rounds(self) -> int:
        """The number of rounds that the case is to have."""
        return self.settings.rounds or 1 if self.plan is None else self.plan.rounds

    def warmup(self, taken: float) -> float:
        """Return the longest warm-up in seconds, after the round has taken some: half of what is left."""
        return min(self.settings.max_warmup, max(self._left(taken) / 2, self.settings.min_time))

    def sampling(self, taken: float) -> StoppingRule:
        """Return the rule that stops sampling, after the round has taken some seconds.

        One of several rounds is not sampled for longer than half of what its set-up took, because another
        process tells more than further samples of the same one. The optimum of Kalibera & Jones (Rigorous
        Benchmarking in Reasonable Time, ISMM 2013) is sqrt(set-up / sample * variance within a process /
        variance between processes) samples: where a sample takes a twentieth of the set-up, 2 if processes
        differ by twice as much as samples do, and 9 if they differ by half as much. By how much they differ
        is not known in the first round.

        The shortest time is always sampled: the first call after a pause is slow, and where calls are short,
        it would be the only one if the budget were used up.
        """
        settings, limit, reason = self.settings, self.settings.max_time, StopReason.MAX_TIME
        if (left := max(self._left(taken), settings.min_time)) < limit:
            limit, reason = left, StopReason.BUDGET
        wants_more = self.rounds == 1 or settings.percentile is not None or math.isinf(self._left(0.0))
        if not wants_more and (setup := max(taken / 2, settings.min_time)) < limit:
            limit, reason = setup, StopReason.SETUP
        return StoppingRule(
            settings.rel_ci,
            settings.min_time,
            limit,
            settings.min_samples,
            settings.max_samples,
            self._least(),
            (settings.percentile or 50) / 100,
            reason,
        )

    def spare(self, taken: float) -> float:
        """Return the seconds of the case's budget that are left if each of its rounds takes as long."""
        budget = self.settings.budget
        if budget is None or self.plan is None or self.plan.seconds is None:
            return math.inf
        return budget - self.plan.spent - taken * self.rounds

    @property
    def least_sample(self) -> float:
        """The shortest sample, in seconds: means over several calls have no tail."""
        return self.settings.min_sample if self.settings.percentile is None else 0.0

    def _left(self, taken: float) -> float:
        if self.plan is None or self.plan.seconds is None:
            return math.inf
        return max(0.0, self.plan.seconds - taken)

    def _least(self) -> int:
        if self.rounds == 1:
            return LEAST_FOR_INTERVAL
        return min(1 if math.isfinite(self._left(0.0)) else LEAST_OF_A_ROUND, self.settings.min_samples)
