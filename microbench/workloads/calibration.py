"""Statistics and scales of a model as if it had been trained: set from the activations of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import handle_torch_function, has_torch_function

PRIOR = 32
"""A channel's mean square is that of its own values and of so many that have the layer's mean square.

Few values say little of a channel, and one that is constant would be scaled up without limit.
"""

EXAMPLES = 2
"""The size of a batch to calibrate with; it is the same for every batch size, and so are the weights."""

LEAST = 1e-6
"""The least deviation that is scaled up."""


def calibrate(
    module: nn.Module, inputs: Sequence[Any], deviations: Mapping[nn.Module, float] | None = None
) -> None:
    """Set the variances of a model's batch normalization to one batch's mean squares; means stay at 0.

    As they are initialized, to variance 1, they normalize nothing: activations vanish or explode in a deep
    model, so that its output says little about its layers. The means stay because centering each channel
    makes an untrained model chaotic: it multiplies small differences, and so rounding, from layer to layer
    (Yang et al., A Mean Field Theory of Batch Normalization, 2019). A layer that is called several times is
    calibrated by its first call. An active torch function mode may defer the calibration.

    Args:
        module: the model, in eval mode; it is called once, or not at all if nothing is to be calibrated.
        inputs: the arguments of its call, with the batch.
        deviations: linear and convolutional layers, each with the standard deviation that its output channels
            get, about their biases.
    """
    if has_torch_function(tuple(inputs)):
        return handle_torch_function(calibrate, tuple(inputs), module, inputs, deviations)
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    scaled = deviations or {}
    if not norms and not scaled:
        return None
    with ExitStack() as hooks, torch.no_grad():
        for norm in norms:
            hooks.enter_context(norm.register_forward_pre_hook(_Variances()))
        for layer, deviation in scaled.items():
            hooks.enter_context(layer.register_forward_hook(_Scale(deviation)))
        module(*inputs)
    return None


class _Variances:
    """Sets a batch normalization's variances to the mean squares of its first input."""

    def __init__(self) -> None:
        self._is_done = False

    def __call__(self, norm: nn.Module, args: tuple[Any, ...]) -> None:
        if self._is_done:
            return
        self._is_done = True
        squares = _by_channel(args[0]).square().mean(1)
        count = args[0].numel() // len(squares)
        share = count / (count + PRIOR)
        norm.running_var.copy_(share * squares + (1 - share) * squares.mean())  # type: ignore[operator]


class _Scale:
    """Scales a layer, so that the channels of its first output have a deviation about its biases."""

    def __init__(self, deviation: float) -> None:
        self._deviation = deviation
        self._is_done = False

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if self._is_done:
            return None
        self._is_done = True
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        deviation, mean = torch.std_mean(_by_channel(output), 1, correction=0)
        scale = self._deviation / deviation.clamp(min=LEAST)
        weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))
        bias.sub_(scale * (mean - bias))
        return layer.forward(*args)  # type: ignore[no-any-return]


def _by_channel(values: Tensor) -> Tensor:
    """Return values of (batch, channels, ...) as (channels, values)."""
    return values.transpose(0, 1).flatten(1)
