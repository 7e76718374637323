"""The memory of a GPU, as the caching allocator counts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch

from microbench.devices import Level


class AllocatorPeak:
    """Peak memory of the caching allocator above the level at the meter's creation, in bytes."""

    def __init__(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self._level, self._least = torch.cuda.memory_allocated(), 0

    def peak(self) -> int | None:
        """Return the bytes so far."""
        return max(self._least, torch.cuda.max_memory_allocated() - self._level)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is used, and freed again, while the context lasts."""
        self._least = self.peak() or 0
        try:
            yield
        finally:
            torch.cuda.reset_peak_memory_stats()


class AllocatorLedger:
    """Tracks the caching allocator's allocations, by its own counters.

    They change when a tensor is created or freed on the host, so that there is no need to wait for the GPU.
    Each note resets the peak: an `AllocatorPeak` used at the same time would miss earlier peaks.
    """

    def __init__(self) -> None:
        self._levels: list[Level] = []

    def __enter__(self) -> AllocatorLedger:
        """Begin to track."""
        self._start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to end."""

    def note(self) -> None:
        """Read the counters."""
        allocated, peak = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self._levels.append(Level(allocated - self._start, peak - self._start))

    def levels(self) -> list[Level]:
        """Return the levels that were read."""
        return list(self._levels)
