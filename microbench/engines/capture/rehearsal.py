"""Rehearsals: calls that make an engine compile what it runs, and leave no other trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from microbench.workloads import Workload


def rehearse(
    call: Callable[[], Any], workload: Workload, training: bool, times: int = 1, grad: bool = False
) -> None:
    """Call as the mode will (in training, with the backward pass) and undo what that changes.

    The module's buffers, such as the running statistics of batch normalization, and the state of the random
    number generators are restored; gradients are dropped.

    Args:
        call: computes the output.
        workload: what it computes.
        training: whether for a training step.
        times: how often to call.
        grad: whether autograd is on in inference too.
    """
    with unchanged(workload.module), same_random_numbers(workload):
        for _ in range(times):
            with torch.enable_grad() if training or grad else torch.inference_mode():
                output = call()
                if training:
                    workload.objective.backward(workload.objective(output))
    if training:
        for tensor in (*workload.module.parameters(), *workload.inputs):
            tensor.grad = None


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Restore the buffers of a training module, in place."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()] if module.training else []
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


@contextmanager
def same_random_numbers(workload: Workload) -> Iterator[None]:
    """Restore the random number generators of the CPU and of the workload's device."""
    devices = {tensor.device for tensor in (*workload.inputs, *workload.module.parameters())}
    others = sorted({device for device in devices if device.type != "cpu"}, key=str)
    with torch.random.fork_rng(others, device_type=others[0].type if others else "cpu"):
        yield
