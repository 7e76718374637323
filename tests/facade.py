"""A GPU that the host stands for: the whole command line runs `device=cuda` on the CPU's tensors.

It replaces what `torch.cuda` tells and does, and lets the tensors of the device be the CPU's. Its one stream
takes for each call as long as the host does, its events have a tick, and its allocator is the process's
memory. What runs must run in this process:

    with facade.installed() as gpu:
        main(["model=dense", "device=cuda", "isolation=inline", "measure.rounds=1", "hydra.run.dir=run"])

`gpu.log` lists what was asked of it. Code finds the tensors' device by `Device.torch_device()`; where it
names "cuda" itself, the functions in `FACTORIES` know what is meant, and all else fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo  # before anything is replaced: it makes subclasses

from microbench.devices import cuda
from microbench.system.process import PeakMemory

GIB = 2**30
PAGE = 2 * 2**20  # bytes in which the allocator reserves
STATM = Path("/proc/self/statm")
FACTORIES = ("empty", "full", "ones", "rand", "randn", "zeros")


class Event:
    """A CUDA event on a façade's stream; `Facade` makes subclasses that know it."""

    gpu: Facade

    def __init__(self, *device: Any, enable_timing: bool = False, **options: Any) -> None:
        self.timed = enable_timing
        self.at: float | None = None

    def record(self, stream: Any = None) -> None:
        self.gpu.log.append("record")
        tick = self.gpu.tick
        self.at = round(self.gpu.reached() / tick) * tick

    def query(self) -> bool:
        return self.at is None or time.perf_counter() >= self.at

    def synchronize(self) -> None:
        self.gpu.log.append("wait")
        self.gpu.wait(self.at)

    def elapsed_time(self, end: Event) -> float:
        """Return milliseconds; as torch does, refuse what was not recorded or passed."""
        if self.at is None or end.at is None or not (self.timed and end.timed):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end.query()):
            raise RuntimeError("Both events must be completed before calculating elapsed time.")
        return (end.at - self.at) * 1e3


@dataclass
class Facade:
    """The GPU, and what was asked of it.

    Attributes:
        name: as torch tells it.
        uuid: likewise, without `GPU-`; another in each process, because rounds on one GPU take turns.
        total_memory: in bytes.
        cache: bytes of its L2 cache.
        capability: of its architecture.
        rate: cycles per second, in which `torch.cuda._sleep` counts.
        tick: seconds, of which the times of events are multiples.
        log: the names of the calls, in order.
    """

    name: str = "Facade F1"
    uuid: str = field(default_factory=lambda: f"00000000-0000-0000-0000-{os.getpid():012x}")
    total_memory: int = 4 * GIB
    cache: int = 2**20
    capability: tuple[int, int] = (9, 0)
    rate: float = 1.5e9
    tick: float = 32e-9
    log: list[str] = field(default_factory=list)
    _seen: float = field(init=False, default_factory=time.perf_counter)
    _end: float = field(init=False, default=0.0)
    _memory: PeakMemory = field(init=False, default_factory=PeakMemory)
    _level: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._level = self.allocated()

    def reached(self) -> float:
        """Return when the stream will have done what the host has given it so far.

        What the host has computed since it last looked is what the stream computes after what came before.
        """
        now = time.perf_counter()
        self._end = max(now, self._end + now - self._seen)
        self._seen = now
        return self._end

    def wait(self, until: float | None = None) -> None:
        """Sleep until the stream has come to a time; without one, until it has done all."""
        end = self.reached()
        time.sleep(max(0.0, (end if until is None else until) - time.perf_counter()))
        self._seen = time.perf_counter()

    def synchronize(self, device: Any = None) -> None:
        self.log.append("synchronize")
        self.wait()

    def sleep(self, cycles: int) -> None:
        """Keep the stream busy, as `torch.cuda._sleep` does."""
        self.log.append("sleep")
        self._end = self.reached() + cycles / self.rate

    def properties(self, device: Any = None) -> SimpleNamespace:
        major, minor = self.capability
        return SimpleNamespace(
            name=self.name,
            uuid=self.uuid,
            total_memory=self.total_memory,
            L2_cache_size=self.cache,
            major=major,
            minor=minor,
            multi_processor_count=8,
            pci_bus_id=1,
            pci_device_id=0,
            pci_domain_id=0,
            is_integrated=False,
        )

    def allocated(self, device: Any = None) -> int:
        """Return the resident bytes of the process, in which the tensors are."""
        return int(STATM.read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def reserved(self, device: Any = None) -> int:
        return -(-self.allocated() // PAGE) * PAGE

    def most(self, device: Any = None) -> int:
        return max(self.allocated(), self._level + (self._memory.peak() or 0))

    def most_reserved(self, device: Any = None) -> int:
        return -(-self.most() // PAGE) * PAGE

    def reset(self, device: Any = None) -> None:
        self._level, self._memory = self.allocated(), PeakMemory()

    def info(self, device: Any = None) -> tuple[int, int]:
        """Return the free bytes, and all."""
        return max(0, self.total_memory - self.reserved()), self.total_memory

    def stream(self, device: Any = None, **options: Any) -> SimpleNamespace:
        """Return the one stream there is."""
        return SimpleNamespace(
            cuda_stream=0,
            synchronize=self.synchronize,
            query=lambda: time.perf_counter() >= self._end,
            wait_stream=lambda other: None,
            wait_event=lambda event: None,
            record_event=self.recorded,
        )

    def recorded(self, event: Event | None = None) -> Event:
        event = event or self.event()
        event.record()
        return event

    def event(self, *device: Any, **options: Any) -> Event:
        return self.events()(*device, **{"enable_timing": True, **options})

    def events(self) -> type[Event]:
        """Return the class of its events."""
        return type("Event", (Event,), {"gpu": self})

    def functions(self) -> dict[str, Any]:
        """Return what replaces the attributes of `torch.cuda`, by name."""

        def none(*arguments: Any, **options: Any) -> None:
            pass

        return {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "init": none,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "set_device": none,
            "device": lambda device: nullcontext(),
            "get_device_name": lambda device=None: self.name,
            "get_device_capability": lambda device=None: self.capability,
            "get_arch_list": lambda: ["sm_{}{}".format(*self.capability)],
            "get_device_properties": self.properties,
            "Event": self.events(),
            "Stream": self.stream,
            "current_stream": self.stream,
            "default_stream": self.stream,
            "stream": lambda stream: nullcontext(),
            "synchronize": self.synchronize,
            "is_current_stream_capturing": lambda: False,
            "_sleep": self.sleep,
            "memory_allocated": self.allocated,
            "max_memory_allocated": self.most,
            "memory_reserved": self.reserved,
            "max_memory_reserved": self.most_reserved,
            "reset_peak_memory_stats": self.reset,
            "mem_get_info": self.info,
            "memory_summary": lambda device=None, abbreviated=False: f"{self.allocated()} bytes allocated",
            "empty_cache": none,
            "manual_seed": none,
            "manual_seed_all": none,
            "get_rng_state": lambda device=None: torch.empty(0, dtype=torch.uint8),
            "set_rng_state": none,
            "set_sync_debug_mode": none,
            "get_sync_debug_mode": lambda: 0,
        }


@contextmanager
def installed(**facts: Any) -> Iterator[Facade]:
    """Let `device=cuda` be a façade with these attributes, and put back what was there."""
    gpu = Facade(**facts)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gpu.functions().items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch, "Event", gpu.event)
        for name in FACTORIES:
            patch.setattr(torch, name, _on_the_host(getattr(torch, name)))
        patch.setattr(torch.version, "cuda", torch.version.cuda or "13.0")
        patch.setattr(cuda.Device, "torch_device", lambda self: torch.device("cpu"))
        yield gpu


def _on_the_host(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Let a function that makes a tensor on the GPU make it on the host."""

    def make(*sizes: Any, device: Any = None, **options: Any) -> torch.Tensor:
        if device is not None and torch.device(device).type == "cuda":
            device = "cpu"
        return factory(*sizes, device=device, **options)

    return make
