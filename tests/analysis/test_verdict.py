"""How often verdicts are false where rounds are given as they are needed, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from microbench.analysis.verdict import Verdict, judge
from microbench.stats.sequential import looks, race

Floats = NDArray[np.float64]
MOST = 10
ROUNDS = np.full(MOST, MOST)


def drawn(kind: str, shape: tuple[int, ...]) -> Floats:
    """Draw log times: normal, with heavy tails, or of two kinds of processes, 20 % apart."""
    draw = np.random.default_rng(1)
    if kind == "t3":
        return 0.1 * draw.standard_t(3, shape) / np.sqrt(3)
    normal = draw.standard_normal(shape)
    return 0.1 * (normal if kind == "light" else 0.15 * normal + 2 * (draw.random(shape) < 0.5))


@pytest.mark.parametrize("kind", ["light", "t3", "bimodal"])
class TestEqualSides:
    def test_at_most_a_twentieth_is_called_different_at_any_of_ten_rounds(self, kind: str) -> None:
        """A p-value never rises, so that the last look shows what any of them has found."""
        a, b = drawn(kind, (2, 2000, MOST))
        found = [judge([looks(each[None], ROUNDS[None]).last(0)])[0].verdict for each in b - a]
        assert sum(each in (Verdict.FASTER, Verdict.SLOWER) for each in found) <= 0.065 * len(found)

    def test_rankings_of_four_call_none_slower(self, kind: str) -> None:
        found = [race(each, ROUNDS).left for each in drawn(kind, (500, 4, MOST))]
        assert sum(map(bool, found)) < 0.08 * len(found)
