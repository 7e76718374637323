"""The CPU: a clock of nanoseconds, resident memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from microbench.config import Config
from microbench.metrics import cpus
from microbench.metrics.process import PeakMemory

UNKNOWN_CACHE = 64 * 2**20  # bytes to assume of the last level of cache where the kernel does not say


class HostClock:
    """`time.perf_counter_ns`: on a CPU, a call has ended when it returns."""

    name = "perf_counter_ns"
    mark = staticmethod(time.perf_counter_ns)
    now = staticmethod(time.perf_counter)

    def seconds(self, marks: Sequence[int]) -> list[float]:
        """Each mark's time in seconds after the first."""
        return [(mark - marks[0]) * 1e-9 for mark in marks]


def evicting_bytes() -> int:
    """How much memory to rewrite to drive everything else out of the CPUs' caches."""
    return 2 * (cpus.last_level_cache() or UNKNOWN_CACHE)


class Evictor:
    """Drives what lies in the CPUs' caches out of them: all threads rewrite twice as much memory."""

    def __init__(self) -> None:
        self._buffer = torch.zeros(evicting_bytes() // 4)

    def __call__(self) -> None:
        """Rewrite it."""
        self._buffer.add_(1.0)


class Device:
    """The CPU this process may use."""

    name = "cpu"

    def __init__(self) -> None:
        self.clock = HostClock()

    def unusable(self) -> str | None:
        """A CPU is always there."""
        return None

    def torch_device(self) -> torch.device:
        """Where tensors go."""
        return torch.device("cpu")

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Let torch use oneDNN, or not."""
        onednn: Any = torch.backends.mkldnn
        before, onednn.enabled = onednn.enabled, config.device.mkldnn
        try:
            yield
        finally:
            onednn.enabled = before

    def evictor(self) -> Evictor:
        """Evicts the CPUs' caches."""
        return Evictor()

    def memory(self) -> PeakMemory:
        """A meter of resident memory."""
        return PeakMemory()

    def describe(self) -> dict[str, str | int | float | None]:
        """The widest vector instructions that torch uses here."""
        return {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
