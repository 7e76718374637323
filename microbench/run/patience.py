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
FIRST_CALL, OF_PLAIN, OF_BUDGET = 10.0, 2.0, 0.01
"""A first call, which may also start a library, is enough at FIRST_CALL times the best, OF_PLAIN times the
first call of plain eager, and OF_BUDGET of the budget: if it is shorter, waiting for samples costs little.
"""


@dataclass(frozen=True)
class Patience:
    """The limits that a search sets for a case.

    Attributes:
        budget: seconds for the whole search.
        prepare: seconds for preparing it.
        whole: seconds for a round of it, excluding the import of torch.
        best: the fastest case so far, in seconds per call.
        plain_first: the first call of plain eager, in seconds.
    """

    budget: float
    prepare: float
    whole: float
    best: float = math.inf
    plain_first: float = math.inf

    def lost(self, samples: Sequence[float]) -> str | None:
        """Return why samples after the warm-up (seconds per call) certainly lose; None if they may win."""
        if not samples:
            return None
        fastest = min(samples)
        if fastest <= (LOST if len(samples) >= SAMPLES else HOPELESS) * self.best:
            return None
        taken = "its only sample" if len(samples) == 1 else f"the fastest of its {len(samples)} samples"
        return f"{taken} took {self._times(fastest)}"

    def lost_at_once(self, first_call: float) -> str | None:
        """Return why a case certainly loses after its first call (in seconds); None if it may win."""
        if first_call <= max(FIRST_CALL * self.best, OF_PLAIN * self.plain_first, OF_BUDGET * self.budget):
            return None
        return f"its first call took {self._times(first_call)}"

    def _times(self, seconds: float) -> str:
        return f"{seconds / self.best:.1f} times as long as the fastest so far"

    def overdrawn(self, stage: str | None) -> str:
        """Return why a case that exceeded a limit is given up: that of a stage, or of the round."""
        if stage is not None:
            return f"preparing it took longer than the {self._allowed(self.prepare)}"
        return f"a round of it took longer than the {self._allowed(self.whole)}"

    def _allowed(self, seconds: float) -> str:
        return f"{seconds:.3g} s that experiment.budget={self.budget:g} allows"


class GivenUpError(BaseException):
    """A search gives up the case being measured. Not an `Exception`: the case did not fail."""
