"""NVIDIA GPUs: CUDA events as the clock, the caching allocator's peak as the memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from microbench import devices
from microbench.config import EVENTS, Config
from microbench.devices.cuda import flags, graph, libraries, trial
from microbench.devices.cuda.clock import EventClock, tick_of
from microbench.devices.cuda.memory import AllocatorLedger, AllocatorPeak
from microbench.devices.cuda.timers import timer_of
from microbench.errors import SkippedError, UserError
from microbench.measure.energy import Counter
from microbench.measure.experiment import Marker
from microbench.measure.timer import Timer
from microbench.records.record import Scalar
from microbench.system import cpus, gpu

HIDING = (EVENTS, "none")
"""Values of `device.sync` in which the host need not have waited for the GPU before a sample."""

VARIABLES = {
    "cuda_alloc_conf": "PYTORCH_CUDA_ALLOC_CONF",
    "nvidia_tf32_override": "NVIDIA_TF32_OVERRIDE",
}
"""The environment variables that are recorded, by their names in records."""


OF_PEAKS = ("gpu", "gpu_uuid", "gpu_mig", "gpu_power_limit", "gpu_driver", "cuda", "nvidia_tf32_override")
"""The facts on which peaks depend; others, such as the link's speed at rest, change by themselves."""


class Device(devices.Device):
    """The current CUDA device."""

    name = "cuda"
    clock: EventClock
    precisions = ("fp32", "tf32", *devices.PRECISIONS[1:])
    has_context = True
    libraries = ("torch_cuda", "c10_cuda")
    preference = 2
    peaks = ("fp16", "tf32")
    is_watched = True

    def __init__(self) -> None:
        self.clock = EventClock()

    @cached_property
    def _failure(self) -> str | None:
        return trial.failure()

    def missing(self) -> str | None:
        """Return that torch has no CUDA, or finds no GPU; None if it does."""
        if torch.version.cuda is None:
            return "this torch is built without CUDA; install one built with it, or use device=cpu"
        if self._failure is not None and trial.means_absent(self._failure):
            return "torch finds no NVIDIA GPU with a working driver; use device=cpu"
        return None

    def unusable(self) -> str | None:
        """Return torch's own reason why nothing runs on the GPU; None if a small kernel does."""
        return self._failure

    def torch_device(self) -> torch.device:
        """Return torch's current CUDA device."""
        return torch.device("cuda", torch.cuda.current_device())

    @contextmanager
    def prepared(self, config: Config) -> Iterator[None]:
        """Compute fp32 products in full, or in TF32 if that is the precision."""
        tf32 = config.precision.name == "tf32"
        with super().prepared(config), flags.products(tf32), libraries.prepared(config.device):
            yield

    def begin(self) -> None:
        """Make this process's context, if there is none yet."""
        torch.zeros(1, device=self.torch_device())
        torch.cuda.synchronize()

    def timer(self, config: Config) -> Timer:
        """Return the timer of `device.sync`.

        Raises:
            UserError: with the cache evicted before each sample, it would measure something else.
        """
        sync = config.device.sync or EVENTS
        if config.measure.cold_cache and sync in HIDING:
            raise UserError(
                f"measure.cold_cache=true is not possible with device.sync={sync}: the host would launch the "
                "work while the GPU evicts its cache, and cold work could look faster than warm; use "
                "device.sync=device, step or phase, for the warm cases too."
            )
        return timer_of(sync, self.clock, self.torch_device())

    def captured(self, work: Callable[[Marker], devices.Result]) -> Callable[[], devices.Result]:
        """Capture the work in a CUDA graph."""
        return graph.captured(work)

    def cache(self) -> int:
        """Return the bytes of the L2 cache."""
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size)

    def evicting_bytes(self) -> int:
        """Return three times the bytes of the L2 cache: parts of it may keep what was used last."""
        return 3 * self.cache()

    def evictor(self) -> Callable[[], object]:
        """Return a function that fills as much memory with integers of 32 bits, the fastest fill."""
        buffer = torch.zeros(self.evicting_bytes() // 4, dtype=torch.int32, device=self.torch_device())
        return buffer.zero_

    @contextmanager
    def own_stream(self) -> Iterator[int | None]:
        """Make a new stream, which waits for what the current one has been given, the current one."""
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            yield stream.cuda_stream

    def capacity(self) -> int:
        """Return the bytes of the GPU's memory."""
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)

    def uncached_bytes(self) -> int:
        """Return sixteen times the L2 cache, and 1 GiB at least: of four times, a tenth would be cached."""
        return max(2**30, 16 * self.cache())

    def identity(self) -> Mapping[str, Scalar]:
        """Return which GPU it is, with its limit of power, and what computes on it: no CPUs, no threads."""
        return {name: value for name, value in self.describe().items() if name in OF_PEAKS}

    def tf32(self) -> AbstractContextManager[None]:
        """Compute fp32 products in TF32."""
        return flags.products(tf32=True)

    def memory(self) -> AllocatorPeak:
        """Measure the caching allocator's peak."""
        return AllocatorPeak()

    def available(self) -> int | None:
        """Return what is free; more is refused, which does no harm."""
        return int(torch.cuda.mem_get_info()[0])

    def give_back(self) -> None:
        """Empty the caching allocator's cache."""
        torch.cuda.empty_cache()

    def memory_report(self) -> str | None:
        """Return what is free, and the caching allocator's own summary; None if CUDA no longer answers."""
        try:
            free, total = torch.cuda.mem_get_info()
            return f"{free} of {total} bytes are free.\n{torch.cuda.memory_summary(abbreviated=True)}"
        except Exception:  # an error may have left CUDA unusable
            return None

    def notes(self) -> Sequence[str]:
        """Return that another package hides NVIDIA's management library, if one does."""
        return (gpu.HIDDEN,) if gpu.is_hidden() else ()

    def ledger(self) -> AllocatorLedger:
        """Track the caching allocator."""
        return AllocatorLedger()

    def reserved(self) -> int | None:
        """Return the most that the caching allocator had reserved, blocks that it kept included."""
        return int(torch.cuda.max_memory_reserved())

    @contextmanager
    def counter(self) -> Iterator[Counter | None]:
        """Open the GPU's own counter."""
        with ExitStack() as stack:
            try:
                found = stack.enter_context(gpu.opened(self._uuid()))
            except gpu.NoAnswerError:
                found = None
            yield found

    def activities(self) -> Collection[ProfilerActivity]:
        """Include the GPU's activity."""
        return (ProfilerActivity.CPU, ProfilerActivity.CUDA)

    def settings(self) -> Mapping[str, str | bool | None]:
        """Return what CUDA's libraries are set to."""
        return libraries.settings()

    def near_cpus(self) -> set[int]:
        """Return the CPUs near the GPU that this process may use."""
        try:
            with gpu.opened(self._uuid()) as found:
                near = found.near_cpus()
        except gpu.NoAnswerError as error:
            raise SkippedError(f"affinity=gpu: {error}") from error
        if near is None:
            raise SkippedError(
                "affinity=gpu: the system does not tell which CPUs are near the GPU; use affinity=compact"
            )
        if not near & cpus.usable():
            raise SkippedError(
                f"affinity=gpu: this process may use none of the CPUs near the GPU, {cpus.text(near)}, only "
                f"{cpus.text(cpus.usable())}"
            )
        return near & cpus.usable()

    def _uuid(self) -> str:
        """Return the current GPU's UUID, as NVML knows it: NVML numbers GPUs that torch does not see."""
        properties: Any = torch.cuda.get_device_properties(torch.cuda.current_device())
        return gpu.full_uuid(str(properties.uuid))

    def describe(self) -> dict[str, Scalar]:
        """Return what the GPU is, its driver and libraries, and the variables that configure them."""
        with gpu.kept_open():
            return self._described()

    def _described(self) -> dict[str, Scalar]:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        backends: Any = torch.backends
        cudnn, uuid = backends.cudnn.version(), self._uuid()
        return {
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "gpu_driver": gpu.driver(),
            "gpu_uuid": uuid,
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "event_tick": tick_of(self.clock, self.torch_device()) or None,
            "cudnn": None if cudnn is None else str(cudnn),
            **{name: os.environ.get(variable) for name, variable in VARIABLES.items()},
            **gpu.facts(uuid),
        }
