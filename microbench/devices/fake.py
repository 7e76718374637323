"""A device whose clock moves only when told to: the tests' measure of what the others should do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity

from microbench.config import Config
from microbench.devices import Level


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
        """This point in time."""
        return self.time

    def now(self) -> float:
        """This point in time."""
        return self.time

    def seconds(self, marks: Sequence[float]) -> list[float]:
        """Each mark's time in seconds after the first."""
        return [mark - marks[0] for mark in marks]


class FakeMemory:
    """A meter that measures nothing."""

    def peak(self) -> int | None:
        """Unknown."""
        return None

    def paused(self) -> AbstractContextManager[None]:
        """Nothing to leave out."""
        return nullcontext()


class FakeEnergy:
    """A meter that measures nothing."""

    joules: float | None = None

    def __enter__(self) -> FakeEnergy:
        """Nothing to begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


class FakeLedger:
    """Follows memory that is always as full as at first."""

    def __init__(self) -> None:
        self._notes = 0

    def __enter__(self) -> FakeLedger:
        """Nothing to begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def note(self) -> None:
        """Ask for the level."""
        self._notes += 1

    def levels(self) -> list[Level]:
        """Zeros."""
        return [Level(0, 0)] * self._notes


class Device:
    """Computes on the CPU and reads a fake clock."""

    name = "fake"

    def __init__(self) -> None:
        self.clock = FakeClock()

    def unusable(self) -> str | None:
        """Its times are made up, so no case can be measured on it."""
        return "its clock is a fake, for tests"

    def torch_device(self) -> torch.device:
        """Where tensors go."""
        return torch.device("cpu")

    def prepared(self, config: Config) -> AbstractContextManager[None]:
        """Leave everything as it is."""
        return nullcontext()

    def evictor(self) -> Callable[[], object]:
        """Nothing to evict."""
        return lambda: None

    def cache(self) -> int:
        """None to speak of."""
        return 0

    def memory(self) -> FakeMemory:
        """A meter that measures nothing."""
        return FakeMemory()

    def ledger(self) -> FakeLedger:
        """Follows nothing."""
        return FakeLedger()

    def energy(self) -> FakeEnergy:
        """A meter that measures nothing."""
        return FakeEnergy()

    def activities(self) -> Collection[ProfilerActivity]:
        """What torch's profiler is to look at."""
        return (ProfilerActivity.CPU,)

    def describe(self) -> dict[str, str | int | float | None]:
        """Nothing to say."""
        return {}
