"""Kernels of losses; losses without one are the sum of their operators.

The reduction to one number adds n − 1, and 1 for the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule

MEAN = 1


@dataclass(frozen=True)
class Loss:
    """The rule of a loss of n elements.

    Attributes:
        flops: of one element.
        backward: of one element, the product with the gradient included.
    """

    flops: int
    backward: int

    def __call__(self, call: Executed) -> Counts:
        """Count it."""
        n, results = call.input.numel(), call.result.numel()
        flops = self.flops * n + (n - results) + (call["reduction"] == MEAN)
        backward = self.backward * n if needs_gradient(call.input) else 0
        return Counts(flops=flops, macc=(flops + 1) // 2, backward=backward)


def picked(call: Executed) -> Counts:
    """The negative logarithm of each target's probability, picked and weighted; their sum or mean."""
    n, results = call["target"].numel(), call.result.numel()
    weights = n if call.get("weight") is not None else 0
    flops = n + weights + (n - results) + (call["reduction"] == MEAN)
    backward = n if needs_gradient(call.input) else 0
    return Counts(flops=flops, macc=(flops + 1) // 2, backward=backward)


OPERATORS: Mapping[str, Rule] = {
    "mse_loss": Loss(flops=2, backward=2),
    "smooth_l1_loss": Loss(flops=4, backward=3),
    "huber_loss": Loss(flops=4, backward=3),
    "soft_margin_loss": Loss(flops=4, backward=4),
    "binary_cross_entropy": Loss(flops=6, backward=4),
    "binary_cross_entropy_with_logits": Loss(flops=6, backward=3),
    "nll_loss_forward": picked,
    "nll_loss2d_forward": picked,
}
