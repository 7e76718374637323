"""GPUs that are a file: a driver of our own, gpu/nvml.c, reads it, and pynvml the driver.

What this cannot show is whether a real driver behaves so.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "gpu" / "nvml.c"
SONAME = "libnvidia-ml.so.1"
NAMES = (
    *("memory", "processes", "energy", "power", "instant", "temperature", "clock", "reasons"),
    *("utilization", "affinity", "fact"),
)
"""What is asked, in the order of the counts and errors in the file."""

NOT_SUPPORTED, NO_PERMISSION = 3, 4
UNKNOWN = 2**64 - 1
"""The memory of a process that the driver does not tell."""

MB = 2**20


class Process(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_uint32), ("unused", ctypes.c_uint32), ("memory", ctypes.c_uint64))


class FakeGpu(ctypes.Structure):
    """A GPU's state; clocks in MHz, power in mW, energy in mJ, memory in bytes, as the driver tells them."""

    _fields_ = (
        *((name, ctypes.c_char * size) for name, size in (("uuid", 96), ("name", 96), ("bus", 32))),
        *((name, ctypes.c_uint64) for name in ("total", "reserved", "used", "energy", "reasons")),
        ("near", ctypes.c_uint64 * 16),
        *(
            (name, ctypes.c_uint32)
            for name in (
                *("power", "instant", "power_limit", "temperature"),
                *("sm_clock", "memory_clock", "sm_limit", "memory_limit"),
                *("utilization", "ecc", "mig", "pstate", "link", "width", "part", "processes"),
            )
        ),
        ("process", Process * 16),
        ("errors", ctypes.c_int32 * len(NAMES)),
        ("counts", ctypes.c_uint32 * len(NAMES)),
    )

    def calls(self, name: str) -> int:
        """How often that was asked."""
        return int(self.counts[NAMES.index(name)])

    def fail(self, error: int, *names: str) -> None:
        """Let what is asked return an error."""
        for name in names:
            self.errors[NAMES.index(name)] = error

    def holds(self, *processes: tuple[int, int]) -> None:
        """Let these processes, given with their bytes, be on it, and nothing else in use."""
        for place, (pid, memory) in enumerate(processes):
            self.process[place].pid, self.process[place].memory = pid, memory
        self.processes = len(processes)
        self.used = sum(memory for _, memory in processes if memory != UNKNOWN)


class State(ctypes.Structure):
    _fields_ = (
        ("gpus", ctypes.c_uint32),
        ("fails", ctypes.c_int32),
        ("opened", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("driver", ctypes.c_char * 80),
        ("gpu", FakeGpu * 4),
    )


def create(path: Path, gpus: int = 1) -> State:
    """Write a file of idle GPUs, and map it."""
    path.write_bytes(bytes(ctypes.sizeof(State)))
    state = mapped(path)
    state.gpus, state.driver = gpus, b"580.0"
    for place in range(gpus):
        gpu = state.gpu[place]
        gpu.uuid = f"GPU-{place:08}-0000-0000-0000-000000000000".encode()
        gpu.name, gpu.bus = b"Fake H100", f"00000000:{place + 1:02X}:00.0".encode()
        gpu.total, gpu.reserved = 80 * 1024 * MB, 600 * MB
        gpu.power = gpu.instant = 70_000
        gpu.power_limit, gpu.temperature = 700_000, 30
        gpu.sm_clock, gpu.memory_clock, gpu.sm_limit, gpu.memory_limit = 1980, 2619, 1980, 2619
        gpu.ecc, gpu.link, gpu.width = 1, 5, 16
    return state


def mapped(path: Path) -> State:
    """Map a file of GPUs."""
    with path.open("r+b") as file:
        return State.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(State)))


def built(folder: Path) -> Path:
    """Compile the driver, and return the library; skip the test without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("the fake driver needs a C compiler")
    library = folder / SONAME
    flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{SONAME}")
    subprocess.run([compiler, *flags, "-o", library, SOURCE], check=True)
    return library


@contextmanager
def counting(gpu: Any, watts: float, period: float) -> Iterator[None]:
    """Let the GPU's energy counter move once in each period, by what such a power has used until then."""
    stop, start, level = threading.Event(), time.perf_counter(), gpu.energy

    def move() -> None:
        while not stop.wait(period):
            gpu.energy = level + round(1e3 * watts * (time.perf_counter() - start))

    thread = threading.Thread(target=move, daemon=True)
    gpu.instant = round(1e3 * watts)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
