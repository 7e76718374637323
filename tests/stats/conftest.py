from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

Ar1 = Callable[[float, int, int], NDArray[np.float64]]

SETTLED = 200  # steps after which a series has forgotten its beginning


@pytest.fixture(scope="session")
def ar1() -> Ar1:
    """Makes series around 1 with a standard deviation of 0.05, each value phi times the last plus noise."""

    def make(phi: float, n: int, seed: int) -> NDArray[np.float64]:
        noise = np.random.default_rng(seed).normal(size=SETTLED + n)
        series = lfilter([1.0], [1.0, -phi], noise)[SETTLED:] * math.sqrt(1 - phi**2)
        return 1 + 0.05 * np.asarray(series, dtype=np.float64)

    return make
