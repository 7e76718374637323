"""WHERE it runs: one module a device, each with a class `Device`. Nothing else asks which device it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch.profiler import ProfilerActivity

from microbench import registry
from microbench.config import Config
from microbench.errors import UserError
from microbench.measure.experiment import Clock

PRECISIONS = ("fp32", "bf16", "fp16", "amp_bf16", "amp_fp16")
"""The precisions that torch computes in on most devices."""

UNKNOWN_CACHE = 64 * 2**20  # bytes to assume of the last level of cache where nothing tells


class MemoryMeter(Protocol):
    """Measures a peak of memory over the level at its making."""

    def peak(self) -> int | None:
        """Return the bytes so far; None where the device cannot tell."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Leave out what is used, and freed again, while the context lasts."""
        ...


class EnergyMeter(Protocol):
    """Measures the energy that a device takes between entering and leaving it, as a context manager.

    Everything that ran on the device meanwhile is in it.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def joules(self) -> float | None:
        """What was measured, once it has ended; None where the device cannot tell."""
        ...


@dataclass(frozen=True)
class Level:
    """How much memory was allocated at a note, over the level at the ledger's beginning, in bytes.

    Attributes:
        allocated: at the note; below 0 where more has been freed than allocated.
        peak: the most since the note before, both ends included.
    """

    allocated: int
    peak: int


class Ledger(Protocol):
    """Follows how much memory is allocated between entering and leaving it, as a context manager.

    The level is 0 where it is entered, which raises a UserError where memory cannot be followed just now.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self) -> None:
        """Ask for the level at this point in time."""
        ...

    def levels(self) -> list[Level]:
        """Return the levels in the order of the notes; after the end only."""
        ...


class Unmeasured:
    """The meters of a device that cannot tell: no peak, no energy, and levels of zero."""

    joules: float | None = None

    def __init__(self) -> None:
        self._notes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def peak(self) -> int | None:
        """Unknown."""
        return None

    def paused(self) -> AbstractContextManager[None]:
        """Leave out nothing."""
        return nullcontext()

    def note(self) -> None:
        """Count the note."""
        self._notes += 1

    def levels(self) -> list[Level]:
        """Zeros, as many as there were notes."""
        return [Level(0, 0)] * self._notes


class Device:
    """A device to run on: the base of each module's `Device`, which overrides what it knows better.

    Attributes:
        name: its name as an option.
        clock: what times are read on.
        precisions: those that torch computes in on it.
        preference: `device=auto` takes the usable one of the highest.
    """

    name: str
    clock: Clock
    precisions: Sequence[str] = PRECISIONS
    preference: int = 1

    def unusable(self) -> str | None:
        """Say why it cannot be used here, and what would help; None if it can."""
        return None

    def torch_device(self) -> torch.device:
        """Return where tensors go; by default torch's device of the same name."""
        return torch.device(self.name)

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Set the device's state for a case; put back what was there before.

        Raises:
            UserError: the case sets what this device does not have.
        """
        if not config.device.mkldnn:
            raise UserError(
                f"device.mkldnn=false is an option of device=cpu: device={self.name} does not use oneDNN."
            )
        yield

    def cache(self) -> int:
        """Return the bytes of the device's last level of cache, assumed where it does not say."""
        return UNKNOWN_CACHE

    def evicting_bytes(self) -> int:
        """Return how much memory to rewrite to drive everything else out of the device's caches."""
        return 2 * self.cache()

    def evictor(self) -> Callable[[], object]:
        """Allocate the memory that a call of what is returned rewrites, to evict the device's caches."""
        buffer = torch.zeros(self.evicting_bytes() // 4, dtype=torch.float32, device=self.torch_device())
        return partial(buffer.add_, 1.0)

    def memory(self) -> MemoryMeter:
        """Start to measure a peak of memory."""
        return Unmeasured()

    def ledger(self) -> Ledger:
        """Return what follows memory from note to note."""
        return Unmeasured()

    def energy(self) -> EnergyMeter:
        """Return a meter of energy."""
        return Unmeasured()

    def activities(self) -> Collection[ProfilerActivity]:
        """Return what torch's profiler is to look at."""
        return (ProfilerActivity.CPU,)

    def describe(self) -> dict[str, str | int | float | None]:
        """Return what the records' `env_*` fields say of it, without that prefix."""
        return {}


def open_device(name: str) -> Device:
    """Return the device of that name; for `auto` the usable one that is preferred.

    Raises:
        UserError: no such device, or it cannot be used here.
    """
    if name == "auto":
        usable = (each for each in map(find, registry.names("devices")) if each.unusable() is None)
        return max(usable, key=lambda each: each.preference)
    device = find(name)
    if reason := device.unusable():
        raise UserError(f"device={name} cannot be used here: {reason}.")
    return device


def find(name: str) -> Device:
    """Return the device of that name, usable or not."""
    device: Device = registry.find("devices", name).Device()
    return device


def fp32_products() -> Mapping[str, str]:
    """Return in what precision each library may compute products in fp32: in full, or in TF32 or bf16."""
    backends: Any = torch.backends
    return {
        "cuda_products": backends.cuda.matmul.fp32_precision,
        "cudnn_products": backends.cudnn.conv.fp32_precision,
        "mkldnn_products": backends.mkldnn.matmul.fp32_precision,
        "mkldnn_convolutions": backends.mkldnn.conv.fp32_precision,
    }
