"""WHERE it runs: one module per device, each with a class `Device`. Nothing else asks which device it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import torch
from torch.profiler import ProfilerActivity

from microbench import registry
from microbench.config import Config
from microbench.errors import SkippedError, UserError
from microbench.measure.energy import Counter
from microbench.measure.experiment import Clock, Marker
from microbench.measure.timer import Timer
from microbench.records.record import Scalar
from microbench.schema import UNRESOLVED
from microbench.system import cgroups, cpus, machine

PRECISIONS = ("fp32", "bf16", "fp16", "amp_bf16", "amp_fp16")
"""The precisions that torch supports on most devices."""

Result = TypeVar("Result")

UNKNOWN_CACHE = 64 * 2**20  # bytes of last-level cache to assume if unknown


class MemoryMeter(Protocol):
    """Measures peak memory above the level at its creation."""

    def peak(self) -> int | None:
        """Return the bytes so far; None if the device cannot tell."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Leave out memory that is used and freed again within the context."""
        ...


class EnergyMeter(Protocol):
    """A context manager that measures the energy a device uses within it.

    Everything that runs on the device meanwhile is included.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def joules(self) -> float | None:
        """The energy in joules, once it has ended; None if the device cannot tell."""
        ...


@dataclass(frozen=True)
class Level:
    """The memory allocated at a note, above the level at the ledger's beginning, in bytes.

    Attributes:
        allocated: at the note; below 0 if more has been freed than allocated.
        peak: the most since the previous note, both ends included.
    """

    allocated: int
    peak: int


class Ledger(Protocol):
    """A context manager that tracks allocated memory.

    The level is 0 on entry, which raises a UserError if memory cannot be tracked just now.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self) -> None:
        """Request the level at this point in time."""
        ...

    def levels(self) -> list[Level]:
        """Return the levels in the order of the notes; only after the end."""
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
        """Return None: unknown."""
        return None

    def paused(self) -> AbstractContextManager[None]:
        """Leave out nothing."""
        return nullcontext()

    def note(self) -> None:
        """Count the note."""
        self._notes += 1

    def levels(self) -> list[Level]:
        """Return zeros, one per note."""
        return [Level(0, 0)] * self._notes


class Device:
    """A device to run on: the base class of each module's `Device`.

    Attributes:
        name: its name as an option.
        clock: the clock that times are read on.
        precisions: the precisions that torch supports on it.
        has_context: whether opening it takes a process long, and is a phase of its own.
        libraries: torch's C++ libraries that a program needs to run on it.
        preference: `device=auto` takes the usable device with the highest.
        peaks: the precisions, besides fp32 and bf16, whose peaks are measured.
        is_watched: whether the parent reads what the device does, for which it has a UUID.
    """

    name: str
    clock: Clock
    precisions: Sequence[str] = PRECISIONS
    has_context: bool = False
    libraries: Sequence[str] = ()
    preference: int = 1
    peaks: Collection[str] = ()
    is_watched: bool = False

    def missing(self) -> str | None:
        """Return why there is no such device here, and what would help; None if there is one."""
        return None

    def unusable(self) -> str | None:
        """Return why the device that is there cannot be used; None if it can."""
        return None

    def torch_device(self) -> torch.device:
        """Return torch's device for tensors; by default the one of the same name."""
        return torch.device(self.name)

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Set the device's state for a case, and restore it afterwards.

        Raises:
            UserError: the case sets an option that this device does not have.
        """
        if not config.device.mkldnn:
            raise UserError(
                f"device.mkldnn=false is an option of device=cpu: device={self.name} does not use oneDNN."
            )
        yield

    def begin(self) -> None:
        """Do what the first work in a process would do otherwise, such as to make a context."""

    def timer(self, config: Config) -> Timer:
        """Return what takes a case's samples."""
        return Timer(self.clock)

    def captured(self, work: Callable[[Marker], Result]) -> Callable[[], Result]:
        """Return a function that repeats the work of a call by one launch, into the same tensors.

        Args:
            work: the work; it gets a function that sets a mark within it.

        Raises:
            SkippedError: the device cannot do that, or the work does not allow it.
        """
        raise SkippedError(f"device={self.name} has no graphs: leave out device.cuda_graph")

    def settings(self) -> Mapping[str, str | bool | None]:
        """Return what the device's libraries are set to: fields of `Process`."""
        return {}

    def reserved(self) -> int | None:
        """Return the most bytes that torch's allocator had reserved on it; None if it does not tell."""
        return None

    def near_cpus(self) -> set[int]:
        """Return the CPUs near it.

        Raises:
            UserError: it is no device that is near to some CPUs only.
            SkippedError: the system does not tell.
        """
        raise UserError(
            f"affinity=gpu binds to the CPUs near the GPU, and device={self.name} is none: use affinity=none "
            "or compact."
        )

    def cache(self) -> int:
        """Return the bytes of the device's last-level cache; an assumption if unknown."""
        return UNKNOWN_CACHE

    def capacity(self) -> int | None:
        """Return the bytes of the device's own memory; None if it uses the host's."""
        return None

    def uncached_bytes(self) -> int:
        """Return the bytes of a buffer of which the device's caches hold little."""
        return 4 * self.cache()

    def identity(self) -> Mapping[str, Scalar]:
        """Return what its peaks depend on: by default this process's CPUs, threads and libraries."""
        return {
            "cpu": machine.cpu_model(),
            **self.describe(),
            "threads": torch.get_num_threads(),
            "cpus": cpus.text(cpus.usable()),
            "cpu_quota": cgroups.cpu_quota(),
            "mkldnn": bool(torch.backends.mkldnn.enabled),
        }

    def tf32(self) -> AbstractContextManager[None]:
        """Compute fp32 products in TF32 meanwhile, if the device has it."""
        return nullcontext()

    def evicting_bytes(self) -> int:
        """Return the bytes of memory to rewrite to evict everything else from the device's caches."""
        return 2 * self.cache()

    def evictor(self) -> Callable[[], object]:
        """Return a function that evicts the device's caches by rewriting memory, allocated here."""
        buffer = torch.zeros(self.evicting_bytes() // 4, dtype=torch.float32, device=self.torch_device())
        return partial(buffer.add_, 1.0)

    def own_stream(self) -> AbstractContextManager[int | None]:
        """Compute, and mark, on a new stream of the device meanwhile; yield its address, for libraries.

        None means that the device has no streams.
        """
        return nullcontext()

    def memory(self) -> MemoryMeter:
        """Start to measure peak memory."""
        return Unmeasured()

    def memory_of(self, pid: int) -> MemoryMeter:
        """Start to measure the peak memory of another process."""
        return Unmeasured()

    def available(self) -> int | None:
        """Return how many bytes of its memory this process may take without harm; None if unknown."""
        return None

    def give_back(self) -> None:
        """Let others have the memory that torch keeps in this process although no tensor needs it."""

    def ledger(self) -> Ledger:
        """Return a ledger of the device's memory."""
        return Unmeasured()

    def energy(self) -> EnergyMeter:
        """Return a meter of energy."""
        return Unmeasured()

    def memory_report(self) -> str | None:
        """Return how its memory is used, for the record of a case that ran out of it; None if unknown."""
        return None

    def notes(self) -> Sequence[str]:
        """Return sentences on what it lacks here that the user should know."""
        return ()

    def counter(self) -> AbstractContextManager[Counter | None]:
        """Open the counter of energy that every mode uses; None if the device has none of that kind."""
        return nullcontext()

    def activities(self) -> Collection[ProfilerActivity]:
        """Return the activities that torch's profiler records."""
        return (ProfilerActivity.CPU,)

    def describe(self) -> dict[str, Scalar]:
        """Return the records' `env_*` fields on the device, without that prefix."""
        return {}


@dataclass(frozen=True)
class Choice:
    """What `device=auto` may take.

    Attributes:
        usable: the usable devices, the preferred one first.
        passed_over: why it takes none that it would prefer, though the machine has one; None if it does.
    """

    usable: Sequence[Device]
    passed_over: str | None


def choice() -> Choice:
    """Return what `device=auto` may take here."""
    every = sorted(map(find, registry.names("devices")), key=lambda each: -each.preference)
    reasons = {each: each.unusable() for each in every if each.missing() is None}
    usable = [each for each, reason in reasons.items() if reason is None]
    better = [each for each, reason in reasons.items() if reason and each.preference > usable[0].preference]
    if not better:
        return Choice(usable, None)
    told = " and ".join(f"device={each.name} cannot be used here ({reasons[each]})" for each in better)
    return Choice(usable, f"device=auto takes device={usable[0].name}: {told}.")


def open_device(name: str) -> Device:
    """Return the device of a name; for `auto`, the preferred usable one.

    Raises:
        UserError: no such device, or it cannot be used here.
    """
    if name == UNRESOLVED:
        return choice().usable[0]
    device = find(name)
    if reason := device.missing() or device.unusable():
        raise UserError(f"device={name} cannot be used here: {reason}.")
    return device


def find(name: str) -> Device:
    """Return the device of a name, usable or not."""
    device: Device = registry.find("devices", name).Device()
    return device


def fp32_products() -> Mapping[str, str]:
    """Return the precision in which each library may compute fp32 products: full fp32, TF32 or bf16."""
    backends: Any = torch.backends
    return {
        "cuda_products": backends.cuda.matmul.fp32_precision,
        "cudnn_products": backends.cudnn.conv.fp32_precision,
        "mkldnn_products": backends.mkldnn.matmul.fp32_precision,
        "mkldnn_convolutions": backends.mkldnn.conv.fp32_precision,
    }
