"""WHERE it runs: one module a device, each with a `Device` of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity

from microbench import registry
from microbench.config import Config
from microbench.errors import UserError
from microbench.measure.experiment import Clock

PREFERRED = ("cuda", "cpu")  # what `device=auto` takes: the first that is usable here


class MemoryMeter(Protocol):
    """Measures a peak of memory over the level at its making."""

    def peak(self) -> int | None:
        """Bytes so far; None where the device cannot tell."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Leave out what is used, and freed again, while the context lasts."""
        ...


class EnergyMeter(Protocol):
    """Measures the energy that a device takes between entering and leaving it, as a context manager.

    Everything that ran on the device meanwhile is in it.
    """

    def __enter__(self) -> EnergyMeter:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        ...

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
    """Follows how much memory is allocated between entering and leaving it, as a context manager."""

    def __enter__(self) -> Ledger:
        """Begin: the level is 0 here.

        Raises:
            UserError: memory cannot be followed just now.
        """
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        ...

    def note(self) -> None:
        """Ask for the level at this point in time."""
        ...

    def levels(self) -> list[Level]:
        """What was asked for, in the order of the notes; after the end only."""
        ...


class Device(Protocol):
    """A device to run on.

    Attributes:
        name: its name as an option.
        clock: what times are read on.
    """

    name: str
    clock: Clock

    def unusable(self) -> str | None:
        """Why it cannot be used here, and what would help; None if it can."""
        ...

    def torch_device(self) -> torch.device:
        """Where tensors go."""
        ...

    def prepared(self, config: Config) -> AbstractContextManager[None]:
        """Set the device's state for a case; put back what was there before.

        Raises:
            UserError: the case sets what this device does not have.
        """
        ...

    def evictor(self) -> Callable[[], object]:
        """Makes the buffers to drive everything out of the device's caches; a call does it."""
        ...

    def cache(self) -> int:
        """Bytes of the device's last level of cache, assumed where it does not say."""
        ...

    def memory(self) -> MemoryMeter:
        """A meter that starts now."""
        ...

    def ledger(self) -> Ledger:
        """Follows memory from note to note."""
        ...

    def energy(self) -> EnergyMeter:
        """A meter of energy."""
        ...

    def activities(self) -> Collection[ProfilerActivity]:
        """What torch's profiler is to look at."""
        ...

    def describe(self) -> dict[str, str | int | float | None]:
        """What the records' `env_*` fields say of it, without that prefix."""
        ...


def open_device(name: str) -> Device:
    """The device of that name; for `auto` the first usable one.

    Raises:
        UserError: no such device, or it cannot be used here.
    """
    if name == "auto":
        devices = [open_module(candidate) for candidate in PREFERRED]
        return next(device for device in devices if device.unusable() is None)
    device = open_module(name)
    if reason := device.unusable():
        raise UserError(f"device={name} cannot be used here: {reason}.")
    return device


def open_module(name: str) -> Device:
    """The device of that name, usable or not."""
    device: Device = registry.find("devices", name).Device()
    return device


def fp32_products() -> Mapping[str, str]:
    """In what precision each library may compute products in fp32: in full, or in TF32 or bf16."""
    backends: Any = torch.backends
    return {
        "cuda_products": backends.cuda.matmul.fp32_precision,
        "cudnn_products": backends.cudnn.conv.fp32_precision,
        "mkldnn_products": backends.mkldnn.matmul.fp32_precision,
        "mkldnn_convolutions": backends.mkldnn.conv.fp32_precision,
    }
