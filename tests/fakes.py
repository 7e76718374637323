"""A device whose clock moves only when told to: the tests' measure of what others should do."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from microbench import devices


class FakeClock:
    """A clock that stands still until `advance`d."""

    name = "fake"
    ahead = False

    def __init__(self) -> None:
        self.time = 0.0

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.time += seconds

    def mark(self) -> float:
        return self.time

    now = mark

    def seconds(self, marks: Sequence[float]) -> list[float]:
        return [mark - marks[0] for mark in marks]


class FakeDevice(devices.Device):
    """Computes on the CPU, reads a fake clock, and measures nothing else."""

    name = "fake"
    clock: FakeClock

    def __init__(self) -> None:
        self.clock = FakeClock()

    def torch_device(self) -> torch.device:
        return torch.device("cpu")

    def cache(self) -> int:
        return 0
