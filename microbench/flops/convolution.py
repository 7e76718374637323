"""Convolutions of one to three dimensions, and transposed ones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from microbench.flops.amount import Counts, per_element, product
from microbench.flops.executed import Executed, Rule


def convolution(call: Executed) -> Counts:
    """Each output is a sum of k = C_in / groups · kernel volume products: M = R · k."""
    module = call.module
    return convolved(call.input, module.weight, module.bias, call.result, channels=module.out_channels)


def transposed(call: Executed) -> Counts:
    """Each input is multiplied with C_out / groups · kernel volume weights."""
    module = call.module
    return spread(call.input, module.weight, module.bias, call.result, channels=module.in_channels)


def convolved(input: Tensor, weight: Tensor, bias: Tensor | None, result: Tensor, *, channels: int) -> Counts:  # noqa: A002
    """A convolution with so many output channels, from each of which an equal share of the weights comes."""
    return product(result.numel() * (weight.numel() // channels), result.numel(), (input, weight), bias)


def spread(input: Tensor, weight: Tensor, bias: Tensor | None, result: Tensor, *, channels: int) -> Counts:  # noqa: A002
    """A transposed convolution with so many input channels."""
    return product(input.numel() * (weight.numel() // channels), result.numel(), (input, weight), bias)


def operator(call: Executed) -> Counts:
    """The operator, with a batch in its first dimension and channels in its second."""
    data, weight, bias = call.input, call["weight"], call.get("bias")
    if call.get("transposed"):
        return spread(data, weight, bias, call.result, channels=data.shape[1])
    return convolved(data, weight, bias, call.result, channels=call.result.shape[1])


def transposed_operator(call: Executed) -> Counts:
    """An operator that knows only transposed convolutions."""
    data = call.input
    return spread(data, call["weight"], call.get("bias"), call.result, channels=data.shape[1])


def activated(call: Executed) -> Counts:
    """A convolution, then max(0, x)."""
    return operator(call) + per_element(call.result.numel())


def added_and_activated(call: Executed) -> Counts:
    """A convolution, then max(0, x + αz)."""
    return operator(call) + per_element(call.result.numel(), flops=2) + per_element(call.result.numel())


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.ConvTranspose1d: transposed,
    nn.ConvTranspose2d: transposed,
    nn.ConvTranspose3d: transposed,
}

OPERATORS: Mapping[str, Rule] = {
    "convolution": operator,
    "_convolution": operator,
    "convolution_overrideable": operator,
    "mkldnn_convolution": operator,
    "cudnn_convolution": operator,
    "cudnn_convolution_relu": activated,
    "cudnn_convolution_add_relu": added_and_activated,
    "cudnn_convolution_transpose": transposed_operator,
    "miopen_convolution": operator,
    "miopen_depthwise_convolution": operator,
    "miopen_convolution_transpose": transposed_operator,
    "miopen_convolution_relu": activated,
    "miopen_convolution_add_relu": added_and_activated,
    "_nnpack_spatial_convolution": operator,
    "slow_conv_dilated2d": operator,
    "slow_conv_dilated3d": operator,
    "slow_conv_transpose2d": transposed_operator,
    "slow_conv_transpose3d": transposed_operator,
    "_slow_conv2d_forward": operator,
    "slow_conv3d_forward": operator,
    "_conv_depthwise2d": operator,
    "conv_depthwise3d": operator,
    "torchvision::deform_conv2d": operator,
}
