"""The warm-up: steps until times have settled."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

WINDOW = 0.1  # seconds of steps per window; a longer step is a window by itself
TOLERANCE = 0.05  # two consecutive windows agree when their medians differ by at most this share


@dataclass(frozen=True)
class Warmup:
    """The warm-up's steps.

    Attributes:
        times: every step's time in seconds, in order.
        windows: number of windows that were compared.
        settled: whether the last two agreed; False if time ran out first.
        typical: the last window's median in seconds.
    """

    times: array[float]
    windows: int
    settled: bool
    typical: float


def warm_up(step: Callable[[], float], now: Callable[[], float], longest: float) -> Warmup:
    """Take steps until two consecutive windows agree, or `longest` seconds have passed.

    Args:
        step: does one step and returns how long it took, in seconds.
        now: the host's clock, in seconds.
        longest: seconds after which no further window is begun. One window is always taken: the sampler
            needs a typical time.
    """
    start = now()
    times = array("d")
    medians: list[float] = []
    while True:
        window = _window(step, now)
        times.extend(window)
        medians.append(float(np.median(window)))
        settled = len(medians) > 1 and abs(medians[-1] - medians[-2]) <= TOLERANCE * medians[-2]
        if settled or now() - start >= longest:
            return Warmup(times, len(medians), settled, medians[-1])


def _window(step: Callable[[], float], now: Callable[[], float]) -> array[float]:
    start = now()
    times = array("d", [step()])
    while now() - start < WINDOW:
        times.append(step())
    return times
