"""Pools and interpolation: each output is computed from a window of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

from torch import nn

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule, shared


@dataclass(frozen=True)
class Kind:
    """The work on a window of w elements, macc w: flops `each` · w − `once`.

    Attributes:
        each: operations per element.
        once: operations fewer per window.
        backward: operations per element.
        to_one: backward, each gradient goes to one element of a window instead.
    """

    each: int
    once: int
    backward: int = 0
    to_one: bool = False

    def count(self, call: Executed, window: int) -> Counts:
        """Count a call with windows of `window` elements."""
        results = call.result.numel()
        backward = self.backward * window + self.to_one
        return Counts(
            flops=results * (self.each * window - self.once),
            macc=results * window,
            backward=results * backward if needs_gradient(call.input) else 0,
        )


HIGHEST = Kind(each=1, once=1, to_one=True)  # comparisons
AVERAGE = Kind(each=2, once=1, backward=1)  # an inner product with 1 / w; backward, each gets a share
POWER_AVERAGE = Kind(each=2, once=0, backward=2)  # the p-th root of the sum of p-th powers
INTERPOLATION = Kind(each=2, once=1, backward=2)  # an inner product; backward, a product and an addition

LINEAR, CUBIC = 2, 4  # neighbours per dimension


def pool(kind: Kind, dimensions: int) -> Rule:
    """Return the rule of a pool with a kernel, whose length may be given once for all dimensions."""

    def rule(call: Executed) -> Counts:
        kernel = call["kernel_size"]
        lengths = [kernel] if isinstance(kernel, int) else list(kernel)
        return kind.count(call, prod(lengths * dimensions if len(lengths) == 1 else lengths))

    return rule


def adaptive(kind: Kind, dimensions: int) -> Rule:
    """Return the rule of a pool with a given output shape: all windows count with the longest's length."""

    def rule(call: Executed) -> Counts:
        lengths = zip(call.input.shape[-dimensions:], call.result.shape[-dimensions:], strict=True)
        return kind.count(
            call, prod(given - (wanted - 1) * given // wanted if wanted else 0 for given, wanted in lengths)
        )

    return rule


def sampled(neighbours: int, dimensions: int) -> Rule:
    """Return the rule of an operator that reads `neighbours` elements per dimension."""
    return lambda call: INTERPOLATION.count(call, neighbours**dimensions)


def antialiased(neighbours: int) -> Rule:
    """Return the rule of antialiasing: it reads more neighbours in proportion to the shrinkage."""

    def rule(call: Executed) -> Counts:
        lengths = zip(call.input.shape[2:], call.result.shape[2:], strict=True)
        return INTERPOLATION.count(
            call, prod(ceil(neighbours * max(given / made, 1)) for given, made in lengths)
        )

    return rule


def nearest(call: Executed) -> Counts:
    """Count copied elements: nothing; backward, each gradient is added to one element."""
    return Counts(backward=call.result.numel() if needs_gradient(call.input) else 0)


def grid(dimensions: int) -> Rule:
    """Return the rule of a sampling at given points: bilinear, nearest or bicubic."""

    def rule(call: Executed) -> Counts:
        neighbours = (LINEAR, 1, CUBIC)[call["interpolation_mode"]]
        return nearest(call) if neighbours == 1 else sampled(neighbours, dimensions)(call)

    return rule


def regions(call: Executed) -> Counts:
    """Count means of bilinear points per region; one point, if the regions' sizes determine their number."""
    return INTERPOLATION.count(call, max(call["sampling_ratio"], 1) ** 2 * LINEAR**2)


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.MaxPool1d: pool(HIGHEST, 1),
    **dict.fromkeys((nn.MaxPool2d, nn.FractionalMaxPool2d), pool(HIGHEST, 2)),
    **dict.fromkeys((nn.MaxPool3d, nn.FractionalMaxPool3d), pool(HIGHEST, 3)),
    nn.AvgPool1d: pool(AVERAGE, 1),
    nn.AvgPool2d: pool(AVERAGE, 2),
    nn.AvgPool3d: pool(AVERAGE, 3),
    nn.LPPool1d: pool(POWER_AVERAGE, 1),
    nn.LPPool2d: pool(POWER_AVERAGE, 2),
    nn.LPPool3d: pool(POWER_AVERAGE, 3),
    nn.AdaptiveMaxPool1d: adaptive(HIGHEST, 1),
    nn.AdaptiveMaxPool2d: adaptive(HIGHEST, 2),
    nn.AdaptiveMaxPool3d: adaptive(HIGHEST, 3),
    nn.AdaptiveAvgPool1d: adaptive(AVERAGE, 1),
    nn.AdaptiveAvgPool2d: adaptive(AVERAGE, 2),
    nn.AdaptiveAvgPool3d: adaptive(AVERAGE, 3),
}

OPERATORS: Mapping[str, Rule] = {
    **shared("max_pool2d_with_indices mkldnn_max_pool2d fractional_max_pool2d", pool(HIGHEST, 2)),
    **shared("max_pool3d_with_indices mkldnn_max_pool3d fractional_max_pool3d", pool(HIGHEST, 3)),
    "avg_pool1d": pool(AVERAGE, 1),
    "avg_pool2d": pool(AVERAGE, 2),
    "avg_pool3d": pool(AVERAGE, 3),
    "adaptive_max_pool2d": adaptive(HIGHEST, 2),
    "adaptive_max_pool3d": adaptive(HIGHEST, 3),
    **shared("_adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d", adaptive(AVERAGE, 2)),
    "_adaptive_avg_pool3d": adaptive(AVERAGE, 3),
    **shared("upsample_nearest1d upsample_nearest2d upsample_nearest3d", nearest),
    **shared("_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d", nearest),
    "upsample_linear1d": sampled(LINEAR, 1),
    "upsample_bilinear2d": sampled(LINEAR, 2),
    "upsample_trilinear3d": sampled(LINEAR, 3),
    "upsample_bicubic2d": sampled(CUBIC, 2),
    "_upsample_bilinear2d_aa": antialiased(LINEAR),
    "_upsample_bicubic2d_aa": antialiased(CUBIC),
    "grid_sampler_2d": grid(2),
    "_grid_sampler_2d_cpu_fallback": grid(2),
    "grid_sampler_3d": grid(3),
    "torchvision::roi_align": regions,
}
