"""The constants of a GPU that the measurements rest on, without microbench; `gpu_check.py` reads them.

    python benchmarks/gpu_constants.py    prints a JSON object; without a GPU, only why there is none

Each question stands alone: one that fails is told in its place, and the next is asked.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import reduce
from statistics import median
from typing import Any

import torch

MIB, GIB = 2**20, 2**30
IMPORTS = ("torch", "torch._inductor.compile_fx", "torchvision")
FORKS = """
import importlib, os, sys
importlib.import_module(sys.argv[1])
import torch
if (child := os.fork()) == 0:
    print(torch._C._cuda_isInBadFork(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def event() -> torch.cuda.Event:
    """Return an event that has a time."""
    return torch.cuda.Event(enable_timing=True)


def seconds(begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
    """Return the seconds between two events, once the second has passed."""
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def host_cost(call: Callable[[], object], calls: int = 2000) -> float:
    """Return the host's least seconds for a call, over some batches of calls."""
    best = math.inf
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - start) / calls)
        torch.cuda.synchronize()
    return best


def machine() -> dict[str, Any]:
    """Return what torch says of the GPU."""
    told = torch.cuda.get_device_properties(0)
    return {
        "name": told.name,
        "uuid": str(told.uuid),
        "memory": told.total_memory,
        "l2": told.L2_cache_size,
        "capability": torch.cuda.get_device_capability(),
        "torch": torch.__version__,
    }


def tick() -> dict[str, Any]:
    """Return the resolution of an event's time: the common divisor of many short intervals, in ns."""
    one = torch.ones(1, device="cuda")
    pairs = [(event(), event()) for _ in range(500)]
    for begin, end in pairs:
        begin.record()
        one.add_(1)
        end.record()
    torch.cuda.synchronize()
    between = [round(begin.elapsed_time(end) * 1e6) for begin, end in pairs]
    return {"ns": reduce(math.gcd, between), "median_ns": median(between), "raw_ns": between}


def mark_cost() -> dict[str, float]:
    """Return the host's seconds to record an event in several ways."""
    kept, generic = event(), torch.Event("cuda", enable_timing=True)
    stream = torch.cuda.current_stream()
    kept.record()
    generic.record()
    record = torch._C._CudaEventBase.record
    return {
        "record()": host_cost(kept.record),
        "record(stream)": host_cost(lambda: kept.record(stream)),
        "C record(stream)": host_cost(lambda: record(kept, stream)),
        "torch.Event.record()": host_cost(generic.record),
    }


def empty_pairs() -> dict[str, float]:
    """Return the median seconds between two events in a row, on an idle stream and behind a full one."""
    pairs = [(event(), event()) for _ in range(200)]

    def between(cycles: int) -> float:
        for _ in range(2):  # the first time creates the events
            torch.cuda.synchronize()
            if cycles:
                torch.cuda._sleep(cycles)
            for begin, end in pairs:
                begin.record()
                end.record()
            torch.cuda.synchronize()
        return median(begin.elapsed_time(end) * 1e-3 for begin, end in pairs)

    return {"idle": between(0), "queued": between(20_000_000)}


def queue_depth() -> dict[str, Any]:
    """Return how many launches the host makes before it has to wait, while the stream is held."""
    one = torch.ones(1, device="cuda")
    torch.cuda.synchronize()
    torch.cuda._sleep(400_000_000)
    times = []
    while len(times) < 6000 and (not times or times[-1] < 1e-3):
        start = time.perf_counter()
        one.add_(1)
        times.append(time.perf_counter() - start)
    torch.cuda.synchronize()
    return {"launches": len(times), "launch_s": median(times)}


def spin_clock() -> dict[str, Any]:
    """Return the clock of the multiprocessors by a spin of so many cycles, and NVML's meanwhile, in Hz."""
    cycles, rates, told = 20_000_000, [], []
    for _ in range(20):
        begin, end = event(), event()
        begin.record()
        torch.cuda._sleep(cycles)
        end.record()
        told.append(_nvml_clock())
        rates.append(cycles / seconds(begin, end))
    known = [each for each in told if each is not None]
    return {"spin_hz": median(rates), "nvml_hz": median(known) if known else None, "raw_hz": rates}


def _nvml_clock() -> float | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1e6)
    except Exception:
        return None


def against_host() -> dict[str, float]:
    """Return a second on the GPU's clock and on the host's, and their difference in parts per million."""
    begin, end = event(), event()
    torch.cuda.synchronize()
    begin.record()
    begin.synchronize()
    start = time.perf_counter()
    torch.cuda._sleep(1_500_000_000)
    end.record()
    on_gpu = seconds(begin, end)
    on_host = time.perf_counter() - start
    return {"gpu_s": on_gpu, "host_s": on_host, "ppm": (on_host / on_gpu - 1) * 1e6}


def bandwidth() -> dict[str, float]:
    """Return the bytes per second that a copy of 4 GiB reads and writes."""
    size = min(4 * GIB, torch.cuda.mem_get_info()[0] // 4)
    source = torch.empty(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        begin, end = event(), event()
        begin.record()
        target.copy_(source)
        end.record()
        times.append(seconds(begin, end))
    return {"bytes_per_s": 2 * size / min(times)}


def products() -> dict[str, Any]:
    """Return the error and the time of a product and of a convolution, with TF32 and without."""
    torch.manual_seed(0)
    a = torch.randn(4096, 4096, device="cuda")
    exact = a.double() @ a.double()
    images, weight = torch.randn(16, 256, 56, 56, device="cuda"), torch.randn(256, 256, 3, 3, device="cuda")
    right = torch.nn.functional.conv2d(images.double(), weight.double())
    found: dict[str, Any] = {}
    for name, allowed in (("fp32", False), ("tf32", True)):
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        product = _timed(lambda: a @ a)
        convolution = _timed(lambda: torch.nn.functional.conv2d(images, weight))
        found[name] = {
            "product": {"s": product[1], "error": _error(product[0], exact)},
            "convolution": {"s": convolution[1], "error": _error(convolution[0], right)},
        }
    return found


def _timed(call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    times = []
    for _ in range(6):
        begin, end = event(), event()
        begin.record()
        result = call()
        end.record()
        times.append(seconds(begin, end))
    return result, min(times[1:])


def _error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def forks() -> dict[str, str]:
    """Return whether CUDA is unusable in a fork after each import, with torch's check by NVML and without."""
    found = {}
    for module in IMPORTS:
        for check in ("0", "1"):
            variables = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": check}
            command = [sys.executable, "-c", FORKS, module]
            done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
            found[f"{module}, NVML check {check}"] = done.stdout.strip() or done.stderr[-200:]
    return found


QUESTIONS = (
    *(machine, tick, mark_cost, empty_pairs, queue_depth, spin_clock, against_host, bandwidth, products),
    forks,
)


def answers() -> dict[str, Any]:
    """Return the answers to all questions; of one that failed, its error."""
    found: dict[str, Any] = {}
    for question in QUESTIONS:
        try:
            found[question.__name__] = question()
        except Exception as error:
            found[question.__name__] = {"failed": f"{type(error).__name__}: {error}"}
    return found


if __name__ == "__main__":
    usable = torch.cuda.is_available()
    print(json.dumps(answers() if usable else {"skipped": "no GPU that torch can use"}))
