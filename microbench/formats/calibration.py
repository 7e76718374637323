"""What int8 is quantized by: the inputs that ranges are taken from, and how many bits weights may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

BATCHES = 4

LARGEST = (255, 127)
"""The largest activation (uint8) and the largest weight (int8)."""

LENGTH = 64
"""How many of them a probe of saturation multiplies and sums: what one vector register holds."""

REDUCED = "weights in 7 bits"
"""What `env_arithmetic` adds where products of 8 bits would saturate."""


def batches(inputs: Sequence[Tensor], seed: int, count: int = BATCHES) -> Iterator[tuple[Tensor, ...]]:
    """So many calls' inputs: those given, and then these with their values shuffled, drawn from `seed`.

    Shuffled values have the same range and distribution, whatever they are: images, or indices.
    """
    given = tuple(tensor.detach() for tensor in inputs)
    yield given
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count - 1):
        yield tuple(_shuffled(tensor, generator) for tensor in given)


def saturated(sums: Any) -> bool:
    """Whether sums of `LENGTH` products of the largest numbers are too small: an array of any type.

    x86 without VNNI and AMX multiplies unsigned by signed 8 bits by `vpmaddubsw`, which adds two products in
    16 bits, and stops at 32767 (Intel SDM, volume 2, PMADDUBSW). Weights of 7 bits keep sums below:
    2 · 255 · 64 = 32640. ONNX Runtime's `quantize_static` and nncf's `OverflowFix` say to use them there.
    """
    activation, weight = LARGEST
    return bool((sums != LENGTH * activation * weight).any())


def _shuffled(tensor: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].view_as(tensor)
