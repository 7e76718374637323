"""The clocks of a GPU: CUDA events, and the host's clock with and without a wait for the GPU."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch

from microbench.records import clocks

INTERVALS = 300
"""Intervals that tell the tick, and marks that tell their cost: fewer than a GPU's queue holds."""


class EventClock:
    """CUDA events on the current stream: its time, including gaps between kernels.

    Events are reused, because the first recording of an event creates it, which takes time. The stream is
    kept from the first mark until times are read, because torch makes a new object whenever it is asked for
    the current one.
    """

    name = clocks.EVENTS
    ahead = True

    def __init__(self) -> None:
        self._free: list[torch.cuda.Event] = []
        self._own: set[int] = set()  # the others are a graph's, which records them itself
        self._stream: torch.cuda.Stream | None = None

    def now(self) -> float:
        """Return the host's time in seconds."""
        return time.perf_counter()

    def mark(self) -> torch.cuda.Event:
        """Mark this point of the stream."""
        if self._free:
            event = self._free.pop()
        else:
            event = _event()
            self._own.add(id(event))
        if self._stream is None:
            self._stream = torch.cuda.current_stream()
        event.record(self._stream)
        return event

    def seconds(self, marks: Sequence[torch.cuda.Event]) -> list[float]:
        """Return each mark's time in seconds after the first, once the GPU has passed the last.

        CUDA tells the time between two events as a float32, in which a long one loses nanoseconds: those
        between neighbours are summed.
        """
        marks[-1].synchronize()
        between = (earlier.elapsed_time(later) * 1e-3 for earlier, later in pairwise(marks))
        times = list(accumulate(between, initial=0.0))
        self._free.extend(mark for mark in marks if id(mark) in self._own)
        self._stream = None
        return times


def tick_of(clock: EventClock, place: torch.device) -> float:
    """Measure the resolution of an event's time in seconds; 0 if it is too coarse to be seen.

    It is the greatest common divisor of some hundred intervals with a kernel in each.
    """
    one = torch.ones(1, device=place)
    for _ in range(2):  # the first kernel, and new events, take longer
        marks = [clock.mark()]
        for _ in range(INTERVALS):
            one.add_(1)
            marks.append(clock.mark())
        times = clock.seconds(marks)
    return math.gcd(*(round((later - earlier) * 1e9) for earlier, later in pairwise(times))) * 1e-9


def cost_of(clock: EventClock) -> float:
    """Measure the host's seconds for setting a mark."""
    cost = math.inf
    for _ in range(3):  # the events exist from the second pass on
        torch.cuda.synchronize()
        start = time.perf_counter_ns()
        marks = [clock.mark() for _ in range(INTERVALS)]
        cost = min(cost, (time.perf_counter_ns() - start) * 1e-9 / INTERVALS)
        clock.seconds(marks)
    return cost


class HostClock:
    """The host's clock.

    Attributes:
        name: its name in records.
        waits: whether each mark waits for the GPU first; otherwise the host runs ahead of it, and what is
            read is the host's time to launch the work.
    """

    def __init__(self, name: str, waits: bool) -> None:
        self.name, self.waits, self.ahead = name, waits, not waits
        self.mark = self._waiting_mark if waits else time.perf_counter_ns

    def now(self) -> float:
        """Return the host's time in seconds."""
        return time.perf_counter()

    def _waiting_mark(self) -> int:
        torch.cuda.synchronize()
        return time.perf_counter_ns()

    def seconds(self, marks: Sequence[int]) -> list[float]:
        """Return each mark's time in seconds after the first, once the GPU has done its work."""
        torch.cuda.synchronize()
        return [(mark - marks[0]) * 1e-9 for mark in marks]


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
