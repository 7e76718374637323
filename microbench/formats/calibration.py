"""What the ranges of int8 are taken from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

BATCHES = 4


def batches(inputs: Sequence[Tensor], seed: int, count: int = BATCHES) -> Iterator[tuple[Tensor, ...]]:
    """So many calls' inputs: those given, and then these with their values shuffled, drawn from `seed`.

    Shuffled values have the same range and distribution, whatever they are: images, or indices.
    """
    given = tuple(tensor.detach() for tensor in inputs)
    yield given
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count - 1):
        yield tuple(_shuffled(tensor, generator) for tensor in given)


def _shuffled(tensor: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].view_as(tensor)
