"""Pools: every output from a window of the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule


def highest(results: int, window: int, *, sought: bool) -> Counts:
    """The highest of a window: window − 1 comparisons; backward, each gradient goes to one element."""
    return Counts(flops=results * (window - 1), macc=results * window, backward=results if sought else 0)


def average(results: int, window: int, *, sought: bool) -> Counts:
    """An inner product with 1 / window, 2 · window − 1; backward, window elements get their share."""
    return Counts(
        flops=results * (2 * window - 1),
        macc=results * window,
        backward=results * window if sought else 0,
    )


def power_average(results: int, window: int, *, sought: bool) -> Counts:
    """The p-th root of the sum of p-th powers, 2 · window; backward, 2 for every element of a window."""
    return Counts(
        flops=results * 2 * window,
        macc=results * window,
        backward=results * 2 * window if sought else 0,
    )


def pool(kind: Callable[..., Counts], dimensions: int) -> Rule:
    """The rule of a pool with a kernel, of a module or of an operator."""

    def rule(call: Executed) -> Counts:
        kernel = call["kernel_size"] if call.module is None else call.module.kernel_size
        window = prod(repeated(kernel, dimensions))
        return kind(call.result.numel(), window, sought=needs_gradient(call.input))

    return rule


def repeated(kernel: Any, dimensions: int) -> Sequence[int]:
    """A kernel's length along every dimension, which may be given once for all."""
    lengths = [kernel] if isinstance(kernel, int) else list(kernel)
    return lengths * dimensions if len(lengths) == 1 else lengths


def adaptive(kind: Callable[..., Counts], dimensions: int) -> Rule:
    """The rule of a pool that is given its output's shape: its windows are as long as the longest."""

    def rule(call: Executed) -> Counts:
        lengths = zip(call.input.shape[-dimensions:], call.result.shape[-dimensions:], strict=True)
        window = prod(given - (wanted - 1) * given // wanted if wanted else 0 for given, wanted in lengths)
        return kind(call.result.numel(), window, sought=needs_gradient(call.input))

    return rule


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.MaxPool1d: pool(highest, 1),
    nn.MaxPool2d: pool(highest, 2),
    nn.MaxPool3d: pool(highest, 3),
    nn.FractionalMaxPool2d: pool(highest, 2),
    nn.FractionalMaxPool3d: pool(highest, 3),
    nn.AvgPool1d: pool(average, 1),
    nn.AvgPool2d: pool(average, 2),
    nn.AvgPool3d: pool(average, 3),
    nn.LPPool1d: pool(power_average, 1),
    nn.LPPool2d: pool(power_average, 2),
    nn.LPPool3d: pool(power_average, 3),
    nn.AdaptiveMaxPool1d: adaptive(highest, 1),
    nn.AdaptiveMaxPool2d: adaptive(highest, 2),
    nn.AdaptiveMaxPool3d: adaptive(highest, 3),
    nn.AdaptiveAvgPool1d: adaptive(average, 1),
    nn.AdaptiveAvgPool2d: adaptive(average, 2),
    nn.AdaptiveAvgPool3d: adaptive(average, 3),
}

OPERATORS: Mapping[str, Rule] = {
    "max_pool2d_with_indices": pool(highest, 2),
    "max_pool3d_with_indices": pool(highest, 3),
    "mkldnn_max_pool2d": pool(highest, 2),
    "mkldnn_max_pool3d": pool(highest, 3),
    "fractional_max_pool2d": pool(highest, 2),
    "fractional_max_pool3d": pool(highest, 3),
    "avg_pool1d": pool(average, 1),
    "avg_pool2d": pool(average, 2),
    "avg_pool3d": pool(average, 3),
    "adaptive_max_pool2d": adaptive(highest, 2),
    "adaptive_max_pool3d": adaptive(highest, 3),
    "_adaptive_avg_pool2d": adaptive(average, 2),
    "_adaptive_avg_pool3d": adaptive(average, 3),
    "mkldnn_adaptive_avg_pool2d": adaptive(average, 2),
}
