"""NVIDIA GPUs: CUDA events as the clock, the caching allocator's peak as the memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from microbench import devices
from microbench.config import Config
from microbench.devices.cuda.clock import EventClock
from microbench.devices.cuda.energy import CountedEnergy
from microbench.devices.cuda.memory import AllocatorLedger, AllocatorPeak
from microbench.system import gpu


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
            "gpu_driver": gpu.driver(),
            "cuda": torch.version.cuda,
        }
