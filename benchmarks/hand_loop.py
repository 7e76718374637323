"""A hand-written loop, independent of microbench, with which `fidelity.py` compares.

python benchmarks/hand_loop.py vgg16-train SECONDS    prints a JSON object: phase to median seconds
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median

import torch
from torch import nn

CASES = ("vgg16-train", "resnet18-infer", "conv3x3_1-train", "dense-infer")
BATCH, LEAST, WARMUP = 8, 6, 3


def workload(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return the module and its input."""
    if name == "conv3x3_1":
        return nn.Conv2d(3, 64, 3, padding=1), torch.randn(BATCH, 3, 224, 224)
    if name == "dense":
        return nn.Linear(1024, 512), torch.randn(BATCH, 1024)
    import torchvision

    return torchvision.models.get_model(name, weights=None), torch.randn(BATCH, 3, 224, 224)


def train(name: str, seconds: float) -> dict[str, float]:
    """Return the medians of a training step's phases, in seconds."""
    model, x = workload(name)
    model.train()
    target = torch.randint(1000, (BATCH,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    criterion = nn.CrossEntropyLoss()
    is_layer = name == "conv3x3_1"
    ones = torch.ones_like(model(x)) if is_layer else None
    times: dict[str, list[float]] = {"forward": [], "backward": [], "update": [], "total": []}
    begin = time.perf_counter()
    while len(times["total"]) < LEAST + WARMUP or time.perf_counter() - begin < seconds:
        t0 = time.perf_counter()
        y = model(x)
        t1 = time.perf_counter()
        loss = None if is_layer else criterion(y, target)
        t2 = time.perf_counter()
        if loss is None:
            y.backward(ones)
        else:
            loss.backward()
        t3 = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        t4 = time.perf_counter()
        for phase, taken in zip(times, (t1 - t0, t3 - t2, t4 - t3, t4 - t0), strict=True):
            times[phase].append(taken)
    return {phase: median(taken[WARMUP:]) for phase, taken in times.items()}


def infer(name: str, seconds: float) -> dict[str, float]:
    """Return the median of an inference, in seconds."""
    model, x = workload(name)
    model.eval()
    times = []
    with torch.inference_mode():
        begin = time.perf_counter()
        while len(times) < LEAST + WARMUP or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            model(x)
            times.append(time.perf_counter() - start)
    return {"inference": median(times[WARMUP:])}


if __name__ == "__main__":
    model_name, mode = sys.argv[1].split("-")
    torch.manual_seed(0)
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps({"train": train, "infer": infer}[mode](model_name, float(sys.argv[2]))))
