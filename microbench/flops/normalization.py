"""Normalizations: mean and variance over groups of elements, and their application.

If groups of m elements share one mean and variance:

- mean 2m − 1 and variance 3m per group, if they are computed from the data, macc 3 per element;
- normalizing 2 per element (macc 1), weight 1, bias 1 (together macc 1).

Work that is done once per group or channel (roots, running averages) is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule, shared


def normalized(input: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int | None) -> Counts:  # noqa: A002
    """Count a normalization.

    Args:
        input: the data, n elements.
        weight: the factor, if any.
        bias: the summand, if any.
        groups: number of means and variances computed from the data; None if they are already known.

    Returns:
        Flops 2n, n for the weight, n for the bias, 5n − groups for statistics. Backward: 5n if the gradients
        of weight or bias, or of statistics, are sought (x̂ 2n, its products with the gradient and two sums
        3n); for the input's gradient, n with known statistics, 4n with those of the data.
    """
    n = input.numel()
    affine = [each for each in (weight, bias) if each is not None]
    own, sought = groups is not None, needs_gradient(input)
    backward = 5 * n if needs_gradient(*affine) or (own and sought) else 0
    return Counts(
        flops=(2 + len(affine)) * n + (5 * n - groups if groups is not None else 0),
        macc=(1 + bool(affine)) * n + (3 * n if own else 0),
        backward=backward + ((4 if own else 1) * n if sought else 0),
    )


def scaled(input: Tensor, weight: Tensor | None) -> Counts:  # noqa: A002
    """Count a division by the root mean square: mean of squares 2n, quotient n, weight n.

    Backward: 3n for the gradients' products with x̂ and their sum, 3n more for the input's gradient.
    """
    n = input.numel()
    weights = int(weight is not None)
    sought = needs_gradient(input)
    return Counts(
        flops=(3 + weights) * n,
        macc=(2 + weights) * n,
        backward=(3 * n if sought or needs_gradient(weight) else 0) + (3 * n if sought else 0),
    )


def batch_norm(call: Executed) -> Counts:
    """Count statistics per channel, which are known in eval; an operator trains by default."""
    own = call.get("training") is not False or call.get("running_mean") is None
    return normalized(call.input, call["weight"], call["bias"], call.input.shape[1] if own else None)


def known_statistics(call: Executed) -> Counts:
    """Count batch norm in eval."""
    return normalized(call.input, call["weight"], call["bias"], None)


def instance_norm(dimensions: int) -> Rule:
    """Return the rule: statistics per channel of each example, known only if tracked and in eval."""

    def rule(call: Executed) -> Counts:
        own = call["training"] or not call["track_running_stats"]
        groups = call.input.shape[:-dimensions].numel() if own else None
        return normalized(call.input, call["weight"], call["bias"], groups)

    return rule


def layer_norm(call: Executed) -> Counts:
    """Count statistics per row of `normalized_shape`."""
    data = call.input
    rows = data.shape[: data.dim() - len(call["normalized_shape"])].numel()
    return normalized(data, call["weight"], call["bias"], rows)


def group_norm(groups: str) -> Rule:
    """Return the rule: statistics per group of channels of each example; `groups` names their number."""
    return lambda call: normalized(
        call.input, call["weight"], call["bias"], call.input.shape[0] * call[groups]
    )


def rms_norm(call: Executed) -> Counts:
    """Count the mean of squares per row."""
    return scaled(call.input, call["weight"])


MODULES: Mapping[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), batch_norm),
    nn.InstanceNorm1d: instance_norm(1),
    nn.InstanceNorm2d: instance_norm(2),
    nn.InstanceNorm3d: instance_norm(3),
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm("num_groups"),
    nn.RMSNorm: rms_norm,
}

OPERATORS: Mapping[str, Rule] = {
    **shared(
        "native_batch_norm _native_batch_norm_legit _batch_norm_with_update cudnn_batch_norm "
        "miopen_batch_norm",
        batch_norm,
    ),
    **shared("_native_batch_norm_legit_no_training _batch_norm_no_update", known_statistics),
    "native_layer_norm": layer_norm,
    "native_group_norm": group_norm("group"),
    "_fused_rms_norm": rms_norm,
}
