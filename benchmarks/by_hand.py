"""The script that most people would write to time a model; `answer.py` runs it beside microbench.

python benchmarks/by_hand.py resnet18-infer    prints a line at each moment: imported, built, …, the mean
"""

from __future__ import annotations

import sys
import time

import torch
import torchvision
from torch import nn

WARMUP, TIMED = 10, 40
BATCHES = {"dense-infer": 8, "resnet18-infer": 1, "resnet50-infer": 8, "vgg16-train": 8}


def main(name: str) -> None:
    """Build the workload, call it to warm up, and time more calls."""
    print("imported", flush=True)
    model_name, _, mode = name.partition("-")
    batch = BATCHES[name]
    model: nn.Module
    if model_name == "dense":
        model, x = nn.Linear(1024, 512), torch.randn(batch, 1024)
    else:
        model, x = torchvision.models.get_model(model_name), torch.randn(batch, 3, 224, 224)
    model.train(mode == "train")
    target = torch.randint(1000, (batch,))
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=1e-6)
    print("built", flush=True)

    def step() -> None:
        if mode == "infer":
            with torch.inference_mode():
                model(x)
            return
        criterion(model(x), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    for number in range(WARMUP):
        step()
        if number == 1:
            print("second step", flush=True)
    start = time.perf_counter()
    for _ in range(TIMED):
        step()
    print("mean", (time.perf_counter() - start) / TIMED, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
