"""The clock of a GPU: CUDA events."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch


class EventClock:
    """CUDA events on the current stream: its time, including gaps between kernels.

    Events are reused, because the first recording of an event creates it, which takes time.
    """

    name = "cuda_event"
    ahead = True
    now = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self._free: list[torch.cuda.Event] = []

    def mark(self) -> torch.cuda.Event:
        """Note this point of the stream."""
        event: torch.cuda.Event = self._free.pop() if self._free else _event()
        event.record()
        return event

    def seconds(self, marks: Sequence[torch.cuda.Event]) -> list[float]:
        """Return each mark's time in seconds after the first, once the GPU has passed the last."""
        marks[-1].synchronize()
        times = [marks[0].elapsed_time(mark) * 1e-3 for mark in marks]
        self._free.extend(marks)
        return times


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
