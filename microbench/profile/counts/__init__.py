"""What a call costs on paper: arithmetic and traffic of memory, by rules for modules and for functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch._ops import OpOverload


@dataclass(frozen=True)
class Counts:
    """What one call costs on paper.

    Attributes:
        flops: floating-point operations of the forward pass.
        macc: multiply-accumulates of the forward pass.
        mem_r: bytes read.
        mem_w: bytes written.
        backward: floating-point operations of the backward pass; 0 where nothing requires a gradient.
    """

    flops: int = 0
    macc: int = 0
    mem_r: int = 0
    mem_w: int = 0
    backward: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.flops + other.flops,
            self.macc + other.macc,
            self.mem_r + other.mem_r,
            self.mem_w + other.mem_w,
            self.backward + other.backward,
        )


def of_module(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> Counts | None:
    """What a call of a module costs; None where no rule knows the module's type.

    Gradients are counted where gradients are enabled and the inputs or parameters require one.
    """
    return None


def of_function(function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Counts:
    """What a call of one of torch's operators costs, such as `aten.add.Tensor`; views cost nothing."""
    return Counts()
