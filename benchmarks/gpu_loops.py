"""Loops written by hand for a GPU, without microbench, with which `gpu_check.py` compares.

    python benchmarks/gpu_loops.py SECONDS WORK …    prints a JSON object for each work, one a line

A work is `MODEL-MODE-BATCH`, such as `resnet50-train-32`, or a layer: `relu_1048576-infer-1` (so many
elements an item), `linear_8192-infer-64`, `read_4194304-infer-1` (a sum, which only reads). Each of its loops
takes about that many seconds; its figures are in seconds per call or step:

    stream      between two events around many calls
    phases      of each phase, with a wait for the GPU after it, on the host's clock
    latency     torch.utils.benchmark, one call at a time
    cold        triton.testing.do_bench, which evicts the L2 cache; a mean
    graph       triton.testing.do_bench_cudagraph
    kernels     the sum of the kernels' times, as the profiler tells them (CUPTI)

    python benchmarks/gpu_loops.py hold GIB SECONDS      holds memory
    python benchmarks/gpu_loops.py burn SECONDS          keeps the GPU busy
    python benchmarks/gpu_loops.py free                  prints the free bytes, as a JSON number
    python benchmarks/gpu_loops.py sizes                 prints a layer of 10 µs and one of 10 ms, as works
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import nn

WARMUP = 5
Figures = dict[str, Any]


class Read(nn.Module):
    """Reads its input and writes almost nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum the input."""
        return torch.sum(x)


def workload(name: str, batch: int) -> tuple[nn.Module, torch.Tensor]:
    """Return a module and its input, on the GPU."""
    kind, _, size = name.partition("_")
    if size:
        layers = {"relu": nn.ReLU, "linear": lambda: nn.Linear(int(size), int(size)), "read": Read}
        return layers[kind]().cuda(), torch.randn(batch, int(size), device="cuda")
    import torchvision

    model = torchvision.models.get_model(name, weights=None).cuda()
    return model, torch.randn(batch, 3, 224, 224, device="cuda")


class Step:
    """One call in inference, or one training step, in its phases."""

    def __init__(self, work: str) -> None:
        name, mode, batch = work.split("-")
        self.model, self.x = workload(name, int(batch))
        self.trains = mode == "train"
        self.model.train(self.trains)
        self.target = torch.randint(1000, (int(batch),), device="cuda")
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-6) if self.trains else None

    def phases(self) -> dict[str, Callable[[], None]]:
        """Return the phases in their order."""
        if self.optimizer is None:
            return {"inference": self.infer}
        return {"forward": self.forward, "loss": self.loss, "backward": self.backward, "update": self.update}

    def infer(self) -> None:
        """Call the model."""
        self.y = self.model(self.x)

    forward = infer

    def loss(self) -> None:
        """Compute the loss."""
        self.objective = self.criterion(self.y, self.target)

    def backward(self) -> None:
        """Compute the gradients."""
        self.objective.backward()

    def update(self) -> None:
        """Update the weights and drop the gradients."""
        assert self.optimizer is not None
        self.optimizer.step()
        self.optimizer.zero_grad()

    def __call__(self) -> None:
        """Do all phases."""
        for phase in self.phases().values():
            phase()


def stream(step: Step, seconds: float) -> float:
    """Return the time between two events around many calls, over their number; the median of some."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    each = max(time.perf_counter() - start, 1e-6)
    calls = max(1, min(2000, int(seconds / 4 / each)))
    return median(_between(step, calls) for _ in range(4))


def _between(step: Step, calls: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    step()  # the host gets ahead
    begin.record()
    for _ in range(calls):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3 / calls


def phases(step: Step, seconds: float) -> dict[str, float]:
    """Return the median of each phase, and of the whole step, on the host's clock with a wait after each."""
    named = step.phases()
    times: dict[str, list[float]] = {name: [] for name in (*named, "whole")}
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(times["whole"]) < WARMUP:
        torch.cuda.synchronize()
        start = last = time.perf_counter()
        for name, phase in named.items():
            phase()
            torch.cuda.synchronize()
            now = time.perf_counter()
            times[name].append(now - last)
            last = now
        times["whole"].append(last - start)
    return {name: median(taken) for name, taken in times.items()}


def latency(step: Step, seconds: float) -> float:
    """Return the median time of one call by torch's own timer, which waits before and after."""
    from torch.utils.benchmark import Timer

    timer = Timer("step()", globals={"step": step})
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < seconds or len(times) < WARMUP:
        times.append(timer.timeit(1).mean)
    return median(times)


def cold(step: Step, seconds: float) -> float:
    """Return the mean by triton's timer, which evicts the L2 cache before each call."""
    from triton.testing import do_bench

    return float(do_bench(step, warmup=25, rep=1000 * seconds)) * 1e-3


def graph(step: Step, seconds: float) -> float:
    """Return the mean by triton's timer of calls in a CUDA graph."""
    from triton.testing import do_bench_cudagraph

    return float(do_bench_cudagraph(step, rep=int(1000 * seconds))) * 1e-3


def kernels(step: Step, seconds: float) -> float:
    """Return the sum of the times of a call's kernels, copies and fills."""
    from torch.profiler import ProfilerActivity, profile

    calls = 20
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(calls):
            step()
        torch.cuda.synchronize()
    on_gpu = [each.time_range.elapsed_us() for each in found.events() if each.device_type.name == "CUDA"]
    return sum(on_gpu) * 1e-6 / calls


LOOPS: Mapping[str, Callable[[Step, float], Any]] = {
    "stream": stream,
    "phases": phases,
    "latency": latency,
    "cold": cold,
    "graph": graph,
    "kernels": kernels,
}
OF_TRAINING = ("stream", "phases", "latency", "kernels")


def figures(work: str, seconds: float) -> Figures:
    """Return the figures of a work's loops; what fails is told in its place."""
    step = Step(work)
    found: Figures = {"work": work}
    grad = torch.enable_grad if step.trains else torch.inference_mode
    with grad():
        for _ in range(WARMUP):
            step()
        for name in OF_TRAINING if step.trains else LOOPS:
            try:
                found[name] = LOOPS[name](step, seconds)
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


def sizes() -> list[str]:
    """Return a layer whose call takes about 10 µs and one whose call takes about 10 ms, on this GPU."""
    with torch.inference_mode():
        of_relu = stream(Step("relu_16777216-infer-1"), 0.1) / 2**24  # seconds per element
        of_linear = stream(Step("linear_8192-infer-512"), 0.1) / 512  # seconds per row
    elements, rows = int(10e-6 / of_relu) // 1024 * 1024, max(1, int(10e-3 / of_linear))
    return [f"relu_{max(1024, elements)}-infer-1", f"linear_8192-infer-{rows}"]


def hold(gib: float, seconds: float) -> None:
    """Hold so much memory for so long."""
    kept = torch.ones(int(gib * 2**30), dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    print("holding", flush=True)
    time.sleep(seconds)
    del kept


def burn(seconds: float) -> None:
    """Keep the GPU busy for so long."""
    x, begin = torch.randn(4096, 4096, device="cuda"), time.perf_counter()
    print("burning", flush=True)
    while time.perf_counter() - begin < seconds:
        for _ in range(20):
            x @ x
        torch.cuda.synchronize()


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    word, *rest = arguments
    if word == "hold":
        hold(float(rest[0]), float(rest[1]))
    elif word == "burn":
        burn(float(rest[0]))
    elif word == "free":
        print(json.dumps(torch.cuda.mem_get_info()[0]))
    elif word == "sizes":
        print(json.dumps(sizes()))
    else:
        for work in rest:
            print(json.dumps(figures(work, float(word))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
