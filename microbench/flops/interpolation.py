"""Interpolation: each output is an inner product with as many neighbours as the method looks at."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule, shared

LINEAR, CUBIC = 2, 4


def interpolated(results: int, taps: int, *, sought: bool) -> Counts:
    """2 · taps − 1 and macc taps for every output; backward a product and an addition for every tap."""
    return Counts(
        flops=results * (2 * taps - 1), macc=results * taps, backward=2 * results * taps if sought else 0
    )


def sampled(neighbours: int, dimensions: int) -> Rule:
    """The rule of an operator that looks at so many neighbours along every dimension."""

    def rule(call: Executed) -> Counts:
        taps = neighbours**dimensions
        return interpolated(call.result.numel(), taps, sought=needs_gradient(call.input))

    return rule


def antialiased(neighbours: int) -> Rule:
    """Where it shrinks, it looks at as many more neighbours as it shrinks."""

    def rule(call: Executed) -> Counts:
        taps = 1
        for given, made in zip(call.input.shape[2:], call.result.shape[2:], strict=True):
            taps *= ceil(neighbours * max(given / made, 1))
        return interpolated(call.result.numel(), taps, sought=needs_gradient(call.input))

    return rule


def nearest(call: Executed) -> Counts:
    """Elements are copied; backward, each gradient is added to one element."""
    return Counts(backward=call.result.numel() if needs_gradient(call.input) else 0)


def grid(dimensions: int) -> Rule:
    """The rule of a sampling at given points: bilinear, nearest or bicubic."""

    def rule(call: Executed) -> Counts:
        neighbours = (LINEAR, 1, CUBIC)[call["interpolation_mode"]]
        return nearest(call) if neighbours == 1 else sampled(neighbours, dimensions)(call)

    return rule


def regions(call: Executed) -> Counts:
    """Means of points within a region, each bilinear; of one point where the regions' sizes say how many."""
    points = max(call["sampling_ratio"], 1) ** 2
    taps = points * LINEAR**2
    return interpolated(call.result.numel(), taps, sought=needs_gradient(call.input))


OPERATORS: Mapping[str, Rule] = {
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
