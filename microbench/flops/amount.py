"""An amount of work, and the arithmetic that all rules consist of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """The costs of one call by its shapes.

    Attributes:
        flops: floating-point operations of the forward pass.
        macc: multiply-accumulates of the forward pass.
        mem_r: bytes read.
        mem_w: bytes written.
        backward: floating-point operations of the backward pass; 0 if nothing requires a gradient.
        products: multiplications of the forward pass in products: of convolutions, matrices, attention.
            Twice their number is usually quoted as a model's FLOPs.
        backward_products: the same in the backward pass.
        unknown: operators without a rule: their arithmetic is missing.
    """

    flops: int = 0
    macc: int = 0
    mem_r: int = 0
    mem_w: int = 0
    backward: int = 0
    products: int = 0
    backward_products: int = 0
    unknown: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def with_backward_of(self, other: Counts) -> Counts:
        """Return the same forward pass, with the backward pass of another."""
        return replace(self, backward=other.backward, backward_products=other.backward_products)


NOTHING = Counts()


def total(parts: Iterable[Counts]) -> Counts:
    """Return the sum of several amounts."""
    return sum(parts, NOTHING)


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass would compute the gradient of any of these tensors."""
    return torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in tensors)


def per_element(elements: int, flops: int = 1, backward: int = 0) -> Counts:
    """Count `flops` operations per element.

    An instruction does a multiplication and an addition: macc is half of the operations, rounded up.
    """
    return Counts(flops=flops * elements, macc=(flops + 1) // 2 * elements, backward=backward)


def product(
    multiplications: int, results: int, operands: Sequence[Tensor], bias: Tensor | None = None
) -> Counts:
    """Count sums of products of tensors, and a bias added to each sum.

    Args:
        multiplications: M, over all results.
        results: R, the number of sums.
        operands: the factors.
        bias: added to the results. Its gradient is the sum of theirs.

    Returns:
        As `inner_products`; with a bias, R more flops and macc, and R − (its elements) for its gradient.
    """
    products = inner_products(
        multiplications, results, [operand.numel() for operand in operands if needs_gradient(operand)]
    )
    if bias is None:
        return products
    summed = results - bias.numel() if needs_gradient(bias) else 0
    return products + per_element(results, backward=max(summed, 0))


def inner_products(multiplications: int, results: int, gradients: Sequence[int]) -> Counts:
    """Count sums of products: a sum of n products has n − 1 additions.

    Args:
        multiplications: M, over all results.
        results: R, the number of sums.
        gradients: the number of elements E of each operand whose gradient is sought: each of them is a sum in
            a product with as many multiplications.

    Returns:
        Flops 2M − R, macc M, backward 2M − E for each gradient.
    """
    return Counts(
        flops=max(2 * multiplications - results, 0),
        macc=multiplications,
        backward=sum(max(2 * multiplications - elements, 0) for elements in gradients),
        products=multiplications,
        backward_products=multiplications * len(gradients),
    )
