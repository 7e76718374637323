"""How many rounds a budget of time buys."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LEAST_ROUNDS = 2  # that are measured whatever they take: one has nothing to be compared with


class Budget:
    """Allows rounds as long as the next is likely to end in time, taking as long as the longest before it."""

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        """Begin now.

        Args:
            seconds: how long the rounds may take in all; None for no limit.
            now: the time in seconds.
        """
        self._now = now
        self._began = now()
        self._end = math.inf if seconds is None else self._began + seconds
        self._longest = 0.0

    def allows(self, number: int) -> bool:
        """Whether the round of that number, from 0, may begin; to be asked once a round, just before it."""
        now = self._now()
        self._longest = max(self._longest, now - self._began)
        self._began = now
        return number < LEAST_ROUNDS or now + self._longest <= self._end
