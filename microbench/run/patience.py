"""When a search gives a case up: one that is certain to lose, or takes too much of the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOST, SAMPLES = 2.0, 5
"""The fastest of so many samples took so many times as long as the best: equals do so by chance once in a
thousand times, where nothing else disturbs them; at 1.5 times as long, or with one sample, far more often."""

HOPELESS = 5.0  # as many times as long condemn after a single sample


@dataclass(frozen=True)
class Patience:
    """What a search allows a case.

    Attributes:
        budget: seconds of the whole search.
        prepare: seconds for preparing it.
        whole: seconds for a round of it, importing torch not counted.
        best: the fastest case so far, in seconds per call.
    """

    budget: float
    prepare: float
    whole: float
    best: float = math.inf

    def lost(self, samples: Sequence[float]) -> str | None:
        """Why samples after the warm-up (seconds per call) are certain to lose; None while they may win."""
        if not samples:
            return None
        fastest = min(samples)
        if fastest <= (LOST if len(samples) >= SAMPLES else HOPELESS) * self.best:
            return None
        taken = "its only sample" if len(samples) == 1 else f"the fastest of its {len(samples)} samples"
        return f"{taken} took {fastest / self.best:.1f} times as long as the fastest so far"

    def overdrawn(self, stage: str | None) -> str:
        """Why a case is given up that took longer than it may, in a stage or in all."""
        if stage is not None:
            return f"preparing it took longer than the {self._allowed(self.prepare)}"
        return f"a round of it took longer than the {self._allowed(self.whole)}"

    def _allowed(self, seconds: float) -> str:
        return f"{seconds:.3g} s that experiment.budget={self.budget:g} has for it"


class GivenUpError(BaseException):
    """A search gives up the case that is being measured. No `Exception`: it is not the case that failed."""
