"""The warm-up: steps until times have settled."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 0.05  # seconds of steps per window; a longer step is a window by itself
LONG = 1.0  # seconds of a step that needs no warm-up besides the first call
TOLERANCE = 0.05  # two consecutive windows agree when their medians differ by at most this share


@dataclass(frozen=True)
class Warmup:
    """The warm-up's steps.

    Attributes:
        times: every step's time in seconds, in order.
        windows: number of windows that were compared, the first call among them if it was as long as one.
        settled: whether the last two agreed, or a step is so long that it needs none; False if time ran out.
        typical: the last window's median in seconds.
        longest: seconds after which no further window was begun.
    """

    times: array[float]
    windows: int
    settled: bool
    typical: float
    longest: float


def warm_up(
    step: Callable[[], float],
    now: Callable[[], float],
    longest: float,
    first_call: float = 0.0,
    begun: Sequence[float] = (),
) -> Warmup:
    """Take steps until two consecutive windows agree, or `longest` seconds have passed.

    Args:
        step: does one step and returns how long it took, in seconds.
        now: the host's clock, in seconds.
        longest: seconds after which no further window is begun. One window is always taken: the sampler
            needs a typical time.
        first_call: seconds that the first call took; it is a window if it is as long as one.
        begun: the time of the step that began the warm-up, if it was taken before.
    """
    start = now()
    times = array("d")
    medians = [first_call] if first_call >= WINDOW else []
    while True:
        window = _window(step, now, () if times else begun)
        times.extend(window)
        medians.append(float(np.median(window)))
        settled = len(medians) > 1 and abs(medians[-1] - medians[-2]) <= TOLERANCE * medians[-2]
        if settled or now() - start >= longest:
            return Warmup(times, len(medians), settled, medians[-1], longest)


def _window(step: Callable[[], float], now: Callable[[], float], begun: Sequence[float]) -> array[float]:
    start = now() - sum(begun)
    times = array("d", begun or [step()])
    while now() - start < WINDOW:
        times.append(step())
    return times
