"""The errors of an answer relative to the wanted one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from microbench.engines import Answer


@dataclass(frozen=True)
class Errors:
    """The errors of an answer; infinite if a value is NaN or infinite and should not be.

    Attributes:
        absolute: the largest error of an output.
        relative: the largest error over the largest wanted value of the same output.
        gradients: the norm of all errors of gradients over the norm of all wanted gradients; None where there
            are none.
    """

    absolute: float
    relative: float
    gradients: float | None


def errors_of(found: Answer, wanted: Answer) -> Errors:
    """Compute an answer's errors relative to the wanted one, whose tensors have the same shapes."""
    errors = [largest_error(*pair) for pair in zip(found.outputs, wanted.outputs, strict=True)]
    return Errors(
        max((absolute for absolute, _ in errors), default=0.0),
        max((relative for _, relative in errors), default=0.0),
        error_of_norm(found.gradients, wanted.gradients) if wanted.gradients else None,
    )


def shapes_differ(found: Answer, wanted: Answer, reference: str = "eager fp32") -> str | None:
    """Return how the tensors of two answers differ in number or shape; None if they do not."""
    for name, one, other in (
        ("outputs", found.outputs, wanted.outputs),
        ("gradients", found.gradients, wanted.gradients),
    ):
        shapes = _shapes(one), _shapes(other)
        if shapes[0] != shapes[1]:
            return f"{name} of other shapes than {reference}'s: {shapes[0]} instead of {shapes[1]}"
    return None


def _shapes(tensors: Sequence[Tensor]) -> str:
    return ", ".join("x".join(map(str, tensor.shape)) or "a scalar" for tensor in tensors) or "none"


@torch.no_grad()
def largest_error(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Return the largest absolute error of a tensor's elements, and the same over the largest wanted value.

    Elements that are equal, or both NaN, have no error; the largest finite value counts.
    """
    if not wanted.numel():
        return 0.0, 0.0
    one, other = _numbers(found).to(wanted.device), _numbers(wanted)
    is_same = (one == other) | (one.isnan() & other.isnan())
    off = (one - other).abs().nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(is_same, 0.0)
    absolute = off.max().item()
    return absolute, _over(absolute, other.masked_fill(~other.isfinite(), 0.0).abs().max().item())


@torch.no_grad()
def error_of_norm(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Return the norm of all tensors' errors over the norm of all wanted tensors."""
    off, norm = 0.0, 0.0
    for one, other in zip(found, wanted, strict=True):
        numbers = _numbers(other)
        off = math.hypot(off, _norm(_numbers(one).to(numbers.device) - numbers))
        norm = math.hypot(norm, _norm(numbers))
    return math.inf if math.isnan(off) else _over(off, norm)


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _over(error: float, scale: float) -> float:
    """Return an error relative to a scale; infinite if the scale is zero or not finite."""
    if error == 0:
        return 0.0
    return error / scale if scale and math.isfinite(scale) else math.inf


def _numbers(tensor: Tensor) -> Tensor:
    """Return a tensor as dense floating-point numbers of at least fp32, for subtraction."""
    dense = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()
    if dense.is_complex():
        return torch.view_as_real(dense)
    is_short = dense.dtype in (torch.bfloat16, torch.float16)
    return dense.float() if is_short else dense if dense.is_floating_point() else dense.double()


def top1_agreement(found: Answer, wanted: Answer) -> float | None:
    """Return the share of the batch whose largest logit is the same class; None without logits.

    Logits are the only output, of shape (batch, classes).
    """
    one, other = found.outputs[0], wanted.outputs[0]
    if len(wanted.outputs) > 1 or other.dim() != 2:
        return None
    return (one.argmax(1).to(other.device) == other.argmax(1)).double().mean().item()
