"""Matrix products, and the layers that are one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from microbench.flops.amount import Counts, needs_gradient, per_element, product
from microbench.flops.executed import Executed, Rule


def linear(call: Executed) -> Counts:
    """R outputs, each the sum of `in_features` products: M = R · in_features."""
    module = call.module
    return inner(call.input, module.weight, call.result, module.bias, length=module.in_features)


def inner(one: Tensor, other: Tensor, result: Tensor, bias: Tensor | None = None, *, length: int) -> Counts:
    """Every result is the inner product of two rows of a length: M = R · length."""
    return product(result.numel() * length, result.numel(), (one, other), bias)


def bilinear(call: Executed) -> Counts:
    """R outputs x₁ᵀ A x₂ (+ b), as `contracted_twice`."""
    module, results = call.module, call.result.numel()
    lengths = (module.in1_features, module.in2_features)
    return contracted_twice(call["input1"], call["input2"], module.weight, module.bias, results, lengths)


def trilinear(call: Executed) -> Counts:
    """The operator of it: operands get dimensions of length 1 to be broadcast, and two are summed over."""
    one, matrix, other = (_expanded(call[f"i{number}"], call[f"expand{number}"]) for number in (1, 2, 3))
    shape = [max(lengths) for lengths in zip(one, matrix, other, strict=True)]
    first, second = (shape[dimension] for dimension in call["sumdim"])
    return contracted_twice(call["i1"], call["i3"], call["i2"], None, call.result.numel(), (first, second))


def _expanded(tensor: Tensor, dimensions: Sequence[int]) -> list[int]:
    shape = list(tensor.shape)
    for dimension in dimensions:
        shape.insert(dimension, 1)
    return shape


def contracted_twice(
    one: Tensor, other: Tensor, matrix: Tensor, bias: Tensor | None, results: int, lengths: tuple[int, int]
) -> Counts:
    """R outputs x₁ᵀ A x₂ (+ b) of lengths n₁ and n₂: R · n₂ sums of n₁ products, then R sums of n₂.

    Backward: of both products, the gradient of what is between them included, which is no sum.
    """
    first, second = lengths
    between = results * second
    counts = product(between * first, between, (one, matrix)) + product(between, results, (other,), bias)
    if needs_gradient(one, matrix):
        counts += Counts(backward=between, backward_products=between)
    return counts


def matrices(first: str, second: str, bias: str | None = None) -> Rule:
    """The rule of an operator that multiplies matrices, given the names of its arguments."""

    def rule(call: Executed) -> Counts:
        one, other = call[first], call[second]
        added = call[bias] if bias is not None and call.get("beta") != 0 else None
        return inner(one, other, call.result, added, length=one.shape[-1])

    return rule


def summed_over_batch(call: Executed) -> Counts:
    """Products of b pairs of matrices, added up: M = b · R · k."""
    one, result = call["batch1"], call.result
    pairs, length = one.shape[0], one.shape[-1]
    added = call["self"] if call["beta"] != 0 else None
    return product(pairs * result.numel() * length, result.numel(), (one, call["batch2"]), added)


def grouped(call: Executed) -> Counts:
    """Products of several pairs of matrices, whose rows, or columns, may lie one after another in one."""
    one, other, result = call["self"], call["mat2"], call.result
    shared_sources = one.dim() == 3 and other.dim() == 2
    multiplications = one.numel() * other.shape[-1] // (one.shape[0] if shared_sources else 1)
    return product(multiplications, result.numel(), (one, other), call.get("bias"))


def activated(call: Executed) -> Counts:
    """A product of matrices with a bias, then an activation."""
    results = call.result.numel()
    return matrices("mat1", "mat2", "self")(call) + per_element(results)


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: linear,
    NonDynamicallyQuantizableLinear: linear,
    nn.Bilinear: bilinear,
}

OPERATORS: Mapping[str, Rule] = {
    "mm": matrices("self", "mat2"),
    "bmm": matrices("self", "mat2"),
    "mv": matrices("self", "vec"),
    "dot": matrices("self", "tensor"),
    "vdot": matrices("self", "other"),
    "addmm": matrices("mat1", "mat2", "self"),
    "addmv": matrices("mat", "vec", "self"),
    "baddbmm": matrices("batch1", "batch2", "self"),
    "addbmm": summed_over_batch,
    "matmul": matrices("self", "other"),  # a kernel of nested tensors alone, as the next
    "linear": matrices("input", "weight", "bias"),
    "mkldnn_linear": matrices("self", "weight", "bias"),
    "_addmm_activation": activated,
    "_trilinear": trilinear,
    "_grouped_mm": grouped,
    "_int_mm": matrices("self", "mat2"),
    "_scaled_mm": matrices("self", "mat2", "bias"),
}
