"""The rules of modules: from a module's type to what a call of it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from microbench.flops import (
    convolution,
    elementwise,
    embedding,
    movement,
    normalization,
    pooling,
    products,
    recurrent,
    reductions,
    traffic,
    transformer,
)
from microbench.flops.amount import Counts
from microbench.flops.executed import Executed, Rule

#: Arithmetic; besides, inputs and parameters are read and outputs are written.
ARITHMETIC: Mapping[type[nn.Module], Rule] = {
    **convolution.MODULES,
    **products.MODULES,
    **normalization.MODULES,
    **elementwise.MODULES,
    **reductions.MODULES,
    **pooling.MODULES,
    **recurrent.MODULES,
    **transformer.MODULES,
}

#: Arithmetic and traffic.
WHOLE: Mapping[type[nn.Module], Callable[[Executed], Counts | None]] = {
    **movement.MODULES,
    **embedding.MODULES,
}


def count(module: nn.Module, call: Executed) -> Counts | None:
    """What a call costs; None where its operators know better."""
    kind = known_type(module)
    if kind is None:
        return None
    if kind in WHOLE:
        return WHOLE[kind](call)
    return ARITHMETIC[kind](call) + traffic.through(call)


def known_type(module: nn.Module) -> type[nn.Module] | None:
    """The type whose rule holds: the module's own, or one that it has `forward` from."""
    if "forward" in vars(module):
        return None
    for kind in type(module).__mro__:
        if kind in ARITHMETIC or kind in WHOLE:
            return kind if getattr(kind, "forward", None) is type(module).forward else None
    return None
