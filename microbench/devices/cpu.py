"""The CPU: a clock of nanoseconds, resident memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from microbench.metrics.process import PeakMemory


class HostClock:
    """`time.perf_counter_ns`: on a CPU, a call has ended when it returns."""

    name = "perf_counter_ns"
    mark = staticmethod(time.perf_counter_ns)
    now = staticmethod(time.perf_counter)

    def seconds(self, marks: Sequence[int]) -> list[float]:
        """Each mark's time in seconds after the first."""
        return [(mark - marks[0]) * 1e-9 for mark in marks]


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """Let torch's operations on the CPU use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    def prepared(self, threads: int) -> Iterator[None]:
        """Set the number of threads."""
        with threads_set(threads):
            yield

    def memory(self) -> PeakMemory:
        """A meter of resident memory."""
        return PeakMemory()

    def describe(self) -> dict[str, str | int | float | None]:
        """The widest vector instructions that torch uses here."""
        return {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
