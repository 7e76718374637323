"""When a search gives a case up: one that is certain to lose, or takes too much of the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOST, SAMPLES = 2.0, 5
"""A case is lost if the fastest of SAMPLES samples takes LOST times as long as the best. An equal case does
so by chance once in a thousand times if undisturbed; with a factor of 1.5 or a single sample, far more often.
"""

HOPELESS = 5.0  # the factor at which a single sample is enough


@dataclass(frozen=True)
class Patience:
    """The limits that a search sets for a case.

    Attributes:
        budget: seconds for the whole search.
        prepare: seconds for preparing it.
        whole: seconds for a round of it, excluding the import of torch.
        best: the fastest case so far, in seconds per call.
    """

    budget: float
    prepare: float
    whole: float
    best: float = math.inf

    def lost(self, samples: Sequence[float]) -> str | None:
        """Return why samples after the warm-up (seconds per call) certainly lose; None if they may win."""
        if not samples:
            return None
        fastest = min(samples)
        if fastest <= (LOST if len(samples) >= SAMPLES else HOPELESS) * self.best:
            return None
        taken = "its only sample" if len(samples) == 1 else f"the fastest of its {len(samples)} samples"
        return f"{taken} took {fastest / self.best:.1f} times as long as the fastest so far"

    def overdrawn(self, stage: str | None) -> str:
        """Return why a case that exceeded a limit is given up: that of a stage, or of the round."""
        if stage is not None:
            return f"preparing it took longer than the {self._allowed(self.prepare)}"
        return f"a round of it took longer than the {self._allowed(self.whole)}"

    def _allowed(self, seconds: float) -> str:
        return f"{seconds:.3g} s that experiment.budget={self.budget:g} allows"


class GivenUpError(BaseException):
    """A search gives up the case being measured. Not an `Exception`: the case did not fail."""
