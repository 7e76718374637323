"""The rules of torch's operators: from an operator's name to what a call of it costs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch._ops import OpOverload

from microbench.flops import (
    attention,
    convolution,
    elementwise,
    embedding,
    interpolation,
    losses,
    movement,
    normalization,
    pooling,
    products,
    recurrent,
    reductions,
    sparse,
    traffic,
    transformer,
)
from microbench.flops.amount import NOTHING, Counts, total
from microbench.flops.executed import Executed, Rule, by_example, decides_itself
from microbench.watch.tensors import tensors

#: Arithmetic; besides, tensors are read and outputs are written.
ARITHMETIC: Mapping[str, Rule] = {
    **convolution.OPERATORS,
    **products.OPERATORS,
    **normalization.OPERATORS,
    **elementwise.OPERATORS,
    **reductions.OPERATORS,
    **pooling.OPERATORS,
    **interpolation.OPERATORS,
    **recurrent.OPERATORS,
    **attention.OPERATORS,
    **transformer.OPERATORS,
    **losses.OPERATORS,
}

#: Arithmetic and traffic.
WHOLE: Mapping[str, Rule] = {
    **movement.OPERATORS,
    **embedding.OPERATORS,
}


def count(function: OpOverload, call: Executed) -> Counts:
    """What a call costs; of an operator without a rule, its traffic, and 1 per element if it is pointwise.

    One that is not pointwise is counted as unknown, unless it computes with integers alone, and so is
    whatever computes with tensors whose shape does not say how: quantized, or of a class of their own.
    """
    if traffic.is_view(function):
        return NOTHING
    name = plain_name(function)
    if name in WHOLE:
        return WHOLE[name](call)
    return _arithmetic(function, name, call) + traffic.of_operator(function, call)


def _arithmetic(function: OpOverload, name: str, call: Executed) -> Counts:
    rule = ARITHMETIC.get(name)
    if rule is None and torch.Tag.pointwise in function.tags:
        rule = elementwise.SMOOTH
    given = list(tensors((call.arguments, call.output)))
    if any(each.is_quantized or decides_itself(each) for each in given):
        return sparse.UNKNOWN
    if any(each.layout in traffic.INDICES for each in given):
        return sparse.count(name, rule, call)
    if rule is None:
        return Counts(unknown=int(not call.is_of_integers))
    return total(map(rule, by_example(call)))


def plain_name(function: OpOverload) -> str:
    """An operator's name, the same in place; with their library's, of those that are not torch's own."""
    name = function._schema.name.removeprefix("aten::")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
