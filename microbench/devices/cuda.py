"""NVIDIA GPUs: CUDA events as the clock, the caching allocator's peak as the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity

from microbench import devices
from microbench.config import Config
from microbench.devices import Level

Answer = TypeVar("Answer")


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


class CountedEnergy:
    """Measures the energy of the current device, including board and memory, by its own counter.

    The counter is updated some tens of times per second: a measurement should last a second or more. GPUs
    before Volta and parts of a GPU (MIG) have none.

    NVIDIA's management library stays open from before the first reading until after the last: with several
    GPUs, opening it takes long, and the energy used meanwhile is not the work's.
    """

    def __init__(self) -> None:
        self._library = ExitStack()
        self._handle: Any = None  # the GPU's handle, while the library is open
        self._before: int | None = None
        self._after: int | None = None

    def __enter__(self) -> CountedEnergy:
        """Begin, once the GPU has finished its earlier work."""
        torch.cuda.synchronize()  # may raise an earlier error; the library must not stay open then
        self._handle = _answer(self._found)
        self._before, self._after = self._millijoules(), None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, once the GPU has finished its work."""
        try:
            self._after = self._millijoules()
        finally:
            _answer(self._library.close)

    def _found(self) -> Any:
        """Return the current device's handle.

        NVML numbers all GPUs, torch only the visible ones (CUDA_VISIBLE_DEVICES): they are matched by UUID.
        """
        import pynvml

        self._library.enter_context(_nvml())
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")

    def _millijoules(self) -> int | None:
        """Wait for all work, and read the energy since the driver was loaded; None without a counter."""
        import pynvml

        torch.cuda.synchronize()
        if self._handle is None:
            return None
        return _answer(lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)))

    @property
    def joules(self) -> float | None:
        """The energy in joules; None if the GPU has no counter."""
        return None if self._before is None or self._after is None else (self._after - self._before) * 1e-3


class Device(devices.Device):
    """The current CUDA device."""

    name = "cuda"
    precisions = ("fp32", "tf32", *devices.PRECISIONS[1:])
    preference = 2

    def __init__(self) -> None:
        self.clock = EventClock()

    def unusable(self) -> str | None:
        """Return that torch has no CUDA, or finds no GPU; None if it does."""
        if torch.version.cuda is None:
            return "this torch is built without CUDA; install one built with it, or use device=cpu"
        if not torch.cuda.is_available():
            return "torch finds no NVIDIA GPU with a working driver; use device=cpu"
        return None

    def torch_device(self) -> torch.device:
        """Return torch's current CUDA device."""
        return torch.device("cuda", torch.cuda.current_device())

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Compute fp32 products in full, or in TF32 if that is the precision."""
        cudnn: Any = torch.backends.cudnn
        backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
        before = [backend.fp32_precision for backend in backends]
        with super().prepared(config):
            for backend in backends:
                backend.fp32_precision = "tf32" if config.precision.name == "tf32" else "ieee"
            try:
                yield
            finally:
                for backend, precision in zip(backends, before, strict=True):
                    backend.fp32_precision = precision

    def cache(self) -> int:
        """Return the bytes of the L2 cache."""
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size)

    def memory(self) -> AllocatorPeak:
        """Measure the caching allocator's peak."""
        return AllocatorPeak()

    def ledger(self) -> AllocatorLedger:
        """Track the caching allocator."""
        return AllocatorLedger()

    def energy(self) -> CountedEnergy:
        """Read the GPU's own counter."""
        return CountedEnergy()

    def activities(self) -> Collection[ProfilerActivity]:
        """Include the GPU's activity."""
        return (ProfilerActivity.CPU, ProfilerActivity.CUDA)

    def describe(self) -> dict[str, str | int | float | None]:
        """Return the GPU's name, its memory in bytes, its driver and CUDA's version."""
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return {
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "gpu_driver": _driver(),
            "cuda": torch.version.cuda,
        }


def _driver() -> str | None:
    import pynvml

    def ask() -> str:
        with _nvml():
            return str(pynvml.nvmlSystemGetDriverVersion())

    return _answer(ask)


@contextmanager
def _nvml() -> Iterator[None]:
    """Keep NVIDIA's management library open."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _answer(question: Callable[[], Answer]) -> Answer | None:
    """Query NVIDIA's management library; None if it cannot answer."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None
