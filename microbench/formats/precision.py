"""Precision: casting, autocast, and the calibration of int8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from microbench.config import PrecisionConfig
from microbench.workloads import Objective, Workload

BATCHES = 4

LARGEST = (255, 127)
"""The largest activation (uint8) and the largest weight (int8)."""

LENGTH = 64
"""Products that a probe of saturation sums: as many as one vector register holds."""

REDUCED = "weights in 7 bits"
"""Added to `env_arithmetic` if products of 8 bits would saturate."""


class Autocast(nn.Module):
    """A module called under torch.autocast."""

    def __init__(self, module: nn.Module, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.device, self.dtype = module, device, dtype

    def forward(self, *inputs: Tensor) -> Any:
        """Call the module."""
        with torch.autocast(self.device, self.dtype):
            return self.module(*inputs)


class AutocastObjective:
    """An objective under torch.autocast, its backward pass without, as torch's guide recommends."""

    def __init__(self, objective: Objective, device: str, dtype: torch.dtype) -> None:
        self._objective, self._device, self._dtype = objective, device, dtype
        self.is_loss, self.backward = objective.is_loss, objective.backward

    def __call__(self, output: Any) -> Any:
        """Compute the objective."""
        with torch.autocast(self._device, self._dtype):
            return self._objective(output)


def apply(workload: Workload, precision: PrecisionConfig) -> Workload:
    """Return a workload in a precision: cast, or its module and objective under autocast."""
    if precision.cast is not None:
        return cast(workload, getattr(torch, precision.cast))
    if precision.autocast is not None:
        device, dtype = workload.device_type, getattr(torch, precision.autocast)
        module = Autocast(workload.module, device, dtype).train(workload.module.training)
        return replace(
            workload, module=module, objective=AutocastObjective(workload.objective, device, dtype)
        )
    return workload


def cast(workload: Workload, dtype: torch.dtype) -> Workload:
    """Cast floating-point parameters and inputs to a type; shared inputs stay shared."""
    done: dict[int, Tensor] = {}
    for tensor in workload.inputs:
        if id(tensor) not in done:
            as_cast = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor
            done[id(tensor)] = as_cast.requires_grad_(tensor.requires_grad)
    return replace(
        workload,
        module=workload.module.to(dtype),
        inputs=tuple(done[id(tensor)] for tensor in workload.inputs),
    )


def calibration_batches(
    inputs: Sequence[Tensor], seed: int, count: int = BATCHES
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the inputs of `count` calls: first the given ones, then with their values shuffled by `seed`.

    Shuffled values have the same range and distribution, whatever they are: images, or indices.
    """
    given = tuple(tensor.detach() for tensor in inputs)
    yield given
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count - 1):
        yield tuple(
            tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)
            for tensor in given
        )


def saturated(sums: Any) -> bool:
    """Return whether sums of `LENGTH` products of the largest numbers, an array of any type, are too small.

    x86 without VNNI and AMX multiplies unsigned by signed 8 bits by `vpmaddubsw`, which adds two products in
    16 bits and saturates at 32767 (Intel SDM, volume 2, PMADDUBSW). Weights of 7 bits keep sums below that:
    2 · 255 · 64 = 32640. ONNX Runtime's `quantize_static` and nncf's `OverflowFix` recommend them.
    """
    activation, weight = LARGEST
    return bool((sums != LENGTH * activation * weight).any())
