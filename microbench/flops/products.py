"""Sums of products: of matrices and convolutions, and the layers that consist of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from microbench.flops.amount import Counts, needs_gradient, per_element, product
from microbench.flops.executed import Executed, Rule, shared


def matrices(first: str, second: str, bias: str | None = None) -> Rule:
    """Return the rule of a call that multiplies matrices, given the names of its arguments.

    Each result is an inner product of two vectors: M = R · their length.
    """

    def rule(call: Executed) -> Counts:
        one, results = call[first], call.result.numel()
        added = call[bias] if bias is not None and call.get("beta") != 0 else None
        return product(results * one.shape[-1], results, (one, call[second]), added)

    return rule


def bilinear(call: Executed) -> Counts:
    """Count R outputs x₁ᵀ A x₂ (+ b), as `contracted_twice`."""
    lengths = (call["in1_features"], call["in2_features"])
    return contracted_twice(
        call["input1"], call["input2"], call["weight"], call["bias"], call.result.numel(), lengths
    )


def trilinear(call: Executed) -> Counts:
    """Count bilinear's operator: it broadcasts along new dimensions of length 1, and sums over two."""
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
    """Count R outputs x₁ᵀ A x₂ (+ b) of lengths n₁ and n₂: R · n₂ sums of n₁ products, then R sums of n₂.

    Backward: of both products, including the gradient of the result between them, which is no sum.
    """
    first, second = lengths
    between = results * second
    counts = product(between * first, between, (one, matrix)) + product(between, results, (other,), bias)
    if needs_gradient(one, matrix):
        counts += Counts(backward=between, backward_products=between)
    return counts


def summed_over_batch(call: Executed) -> Counts:
    """Count the sum of products of b pairs of matrices: M = b · R · k."""
    one, result = call["batch1"], call.result
    pairs, length = one.shape[0], one.shape[-1]
    added = call["self"] if call["beta"] != 0 else None
    return product(pairs * result.numel() * length, result.numel(), (one, call["batch2"]), added)


def grouped(call: Executed) -> Counts:
    """Count products of several pairs of matrices; their rows or columns may be concatenated in one."""
    one, other, result = call["self"], call["mat2"], call.result
    shared_sources = one.dim() == 3 and other.dim() == 2
    multiplications = one.numel() * other.shape[-1] // (one.shape[0] if shared_sources else 1)
    return product(multiplications, result.numel(), (one, other), call.get("bias"))


def convolution(call: Executed, *, transposed: bool = False) -> Counts:
    """Count a convolution: each output is a sum of k = C_in / groups · kernel volume products: M = R · k.

    Transposed, each input is multiplied with k = C_out / groups · kernel volume weights. The first dimension
    of the weights is C_out, or C_in; k is the product of the others.
    """
    data, weight, result = call.input, call["weight"], call.result
    many = data if transposed or call.get("transposed") else result
    multiplications = many.numel() * (weight.numel() // weight.shape[0])
    return product(multiplications, result.numel(), (data, weight), call.get("bias"))


def rectified(rule: Rule, *, added: bool = False) -> Rule:
    """Return a rule's sums followed by max(0, x); before that by x + αz if `added`."""

    def counted(call: Executed) -> Counts:
        results = call.result.numel()
        return rule(call) + per_element(results) + per_element(results, flops=2 * added)

    return counted


LINEAR = matrices("input", "weight", "bias")
ADDMM = matrices("mat1", "mat2", "self")

MODULES: Mapping[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), convolution),
    **dict.fromkeys((nn.Linear, NonDynamicallyQuantizableLinear), LINEAR),
    nn.Bilinear: bilinear,
}

OPERATORS: Mapping[str, Rule] = {
    **shared("mm bmm _int_mm", matrices("self", "mat2")),
    "mv": matrices("self", "vec"),
    "dot": matrices("self", "tensor"),
    **shared("vdot matmul", matrices("self", "other")),  # `matmul` is a kernel of nested tensors only
    "linear": LINEAR,  # so is this
    "addmm": ADDMM,
    "addmv": matrices("mat", "vec", "self"),
    "baddbmm": matrices("batch1", "batch2", "self"),
    "addbmm": summed_over_batch,
    "mkldnn_linear": matrices("self", "weight", "bias"),
    "_addmm_activation": rectified(ADDMM),  # or GELU
    "_trilinear": trilinear,
    "_grouped_mm": grouped,
    "_scaled_mm": matrices("self", "mat2", "bias"),
    **shared(
        "convolution _convolution convolution_overrideable mkldnn_convolution cudnn_convolution "
        "miopen_convolution miopen_depthwise_convolution _nnpack_spatial_convolution slow_conv_dilated2d "
        "slow_conv_dilated3d _slow_conv2d_forward slow_conv3d_forward _conv_depthwise2d conv_depthwise3d "
        "torchvision::deform_conv2d",
        convolution,
    ),
    **shared(
        "cudnn_convolution_transpose miopen_convolution_transpose slow_conv_transpose2d "
        "slow_conv_transpose3d",
        partial(convolution, transposed=True),
    ),
    **shared("cudnn_convolution_relu miopen_convolution_relu", rectified(convolution)),
    **shared("cudnn_convolution_add_relu miopen_convolution_add_relu", rectified(convolution, added=True)),
}
