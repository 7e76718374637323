"""Matrix products, and the layers that are one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from microbench.profile.counts.amount import Counts, each, needs_gradient, product
from microbench.profile.counts.executed import Executed, Rule


def linear(call: Executed) -> Counts:
    """R outputs, each the sum of `in_features` products: M = R · in_features."""
    module = call.module
    return inner(call.input, module.weight, call.result, module.bias, length=module.in_features)


def inner(one: Tensor, other: Tensor, result: Tensor, bias: Tensor | None = None, *, length: int) -> Counts:
    """Every result is the inner product of two rows of a length: M = R · length."""
    return product(result.numel() * length, result.numel(), (one, other), bias)


def bilinear(call: Executed) -> Counts:
    """R outputs x₁ᵀ A x₂ (+ b): x₁ᵀ A, of in1 · in2 products in in2 sums, then in2 products with x₂."""
    module, results = call.module, call.result.numel()
    first, second = call["input1"], call["input2"]
    length, sums = module.in1_features, module.in2_features
    contracted = product(results * length * sums, results * sums, (first, module.weight))
    if not needs_gradient(first, module.weight):
        return contracted + product(results * sums, results, (second,), module.bias)
    # The gradient of x1' A itself is a product as well, without a sum.
    outer = results * sums
    return (
        contracted
        + product(results * sums, results, (second,), module.bias)
        + Counts(backward=outer, backward_products=outer)
    )


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


def activated(call: Executed) -> Counts:
    """A product of matrices with a bias, then an activation."""
    results = call.result.numel()
    return matrices("mat1", "mat2", "self")(call) + each(results)


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
    "linear": matrices("input", "weight", "bias"),
    "mkldnn_linear": matrices("self", "weight", "bias"),
    "_addmm_activation": activated,
    "_int_mm": matrices("self", "mat2"),
    "_scaled_mm": matrices("self", "mat2", "bias"),
}
