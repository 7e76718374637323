"""How finely, and at what cost, the host's clock is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise, repeat

READINGS = 2000
REPEATS = 5


def step(clock: Callable[[], int] = time.perf_counter_ns, readings: int = READINGS) -> float | None:
    """The smallest step between two readings in a row, in seconds; None where the clock stood still.

    A clock that is finer than the time it takes to read it shows that time.
    """
    read = [clock() for _ in range(readings)]
    steps = [later - earlier for earlier, later in pairwise(read) if later > earlier]
    return min(steps) * 1e-9 if steps else None


def cost(clock: Callable[[], int] = time.perf_counter_ns, readings: int = READINGS) -> float:
    """What one reading takes, in seconds: the least mean of several series, with Python's call and loop."""
    return min(_series(clock, readings) for _ in range(REPEATS)) / readings * 1e-9


def _series(clock: Callable[[], int], readings: int) -> int:
    start = time.perf_counter_ns()
    for _ in repeat(None, readings):
        clock()
    return time.perf_counter_ns() - start
