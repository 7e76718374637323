"""A GPU whose time is computed: a host that takes time to launch, and a stream that works in order.

What it takes to launch, to record an event and so on are assumptions; no GPU was asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from microbench.devices.cuda import backlog, clock, timers

SMALL = 2.3e-6  # seconds of a kernel that adds one to one


@dataclass
class Gpu:
    """The host and the GPU.

    Attributes:
        launch: the host's seconds to launch a kernel.
        record: the host's seconds to record an event.
        latency: seconds from a launch until an idle stream begins with it.
        gap: seconds between two kernels of a stream that has work.
        stamp: the stream's own seconds for an event.
        wait: the host's seconds to wake up.
        tick: resolution of an event's time in seconds.
        depth: launches that the stream's queue holds: beyond, the host waits.
        sm_clock: the clock rate in Hz.
        host: the host's time.
        end: when the stream has done all that it was given.
        reserved: the bytes that torch has reserved.
        log: what was done, in order.
    """

    launch: float = 6e-6
    record: float = 3e-6
    latency: float = 3e-6
    gap: float = 1e-6
    stamp: float = 0.5e-6
    wait: float = 2e-6
    tick: float = 32e-9
    depth: int = 1024
    sm_clock: float = 1.7e9
    host: float = 0.0
    end: float = 0.0
    reserved: int = 0
    mode: int = 0
    log: list[str] = field(default_factory=list)
    _pending: list[float] = field(default_factory=list)

    def kernel(self, seconds: float, name: str = "kernel") -> None:
        """Launch a kernel."""
        self.log.append(name)
        self._enqueue(self.launch, seconds, self.gap)

    def event(self) -> float:
        """Record an event; return when the stream passes it."""
        self.log.append("event")
        return self._enqueue(self.record, self.stamp, 0.0)

    def sleep(self, cycles: int) -> None:
        """Launch a kernel that spins."""
        self.log.append("sleep")
        self._enqueue(self.launch, cycles / self.sm_clock, self.gap)

    def until(self, moment: float) -> None:
        """Let the host wait until the stream has passed a moment."""
        self.host = max(self.host, moment) + self.wait

    def synchronize(self) -> None:
        """Let the host wait for all work."""
        self.log.append("synchronize")
        self.until(self.end)

    def item(self) -> None:
        """Read a number of the GPU's on the host, of which torch warns if it has been told to."""
        if self.mode:
            warnings.warn("called a synchronizing CUDA operation (Triggered internally …)", stacklevel=2)
        self.until(self.end)

    def _enqueue(self, cost: float, seconds: float, gap: float) -> float:
        self._pending = [each for each in self._pending if each > self.host]
        if len(self._pending) >= self.depth:
            self.host = self._pending[-self.depth]
        self.host += cost
        self.end = max(self.host + self.latency, self.end + gap) + seconds
        self._pending.append(self.end)
        return self.end


class Event:
    """A CUDA event of a simulated GPU."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._at: float | None = None

    def record(self, stream: Any = None) -> None:
        self._at = self._gpu.event()

    @property
    def at(self) -> float:
        assert self._at is not None, "the event was not recorded"
        return self._at

    def query(self) -> bool:
        return self._gpu.host >= self.at

    def synchronize(self) -> None:
        self._gpu.log.append("wait")
        self._gpu.until(self.at)

    def elapsed_time(self, end: Event) -> float:
        """Return milliseconds, as a float32."""
        assert self._gpu.host >= end.at, "nobody waited for the GPU"
        first, last = (round(each // self._gpu.tick) for each in (self.at, end.at))
        return float(np.float32((last - first) * self._gpu.tick * 1e3))


def installed(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Let torch.cuda, and the clocks of `device=cuda`, be those of a simulated GPU."""
    ones = torch.ones

    def small(*shape: int, device: torch.device | None = None, **more: Any) -> Any:
        if device is None or device.type != "cuda":
            return ones(*shape, device=device, **more)
        return SimpleNamespace(add_=lambda one: gpu.kernel(SMALL))

    def set_mode(mode: int | str) -> None:
        gpu.mode = int(mode == "warn") if isinstance(mode, str) else mode

    host = SimpleNamespace(perf_counter=lambda: gpu.host, perf_counter_ns=lambda: round(gpu.host * 1e9))
    for module in (backlog, clock, timers):
        monkeypatch.setattr(module, "time", host)
    replaced: dict[str, Callable[..., Any]] = {
        "Event": lambda enable_timing: Event(gpu),
        "_sleep": gpu.sleep,
        "current_stream": lambda: None,
        "get_sync_debug_mode": lambda: gpu.mode,
        "memory_reserved": lambda: gpu.reserved,
        "set_sync_debug_mode": set_mode,
        "synchronize": gpu.synchronize,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(torch, "ones", small)
    return gpu


def by_hand(gpu: Gpu, call: Callable[[], None], calls: int = 2000) -> float:
    """Return the seconds of a call as a loop by hand measures them: many between two events."""
    torch.cuda.synchronize()
    start: Any = torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        call()
    end: Any = torch.cuda.Event(enable_timing=True)
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1e-3 / calls
