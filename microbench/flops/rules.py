"""The rules of modules and of torch's operators: from a type or a name to the costs of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload

from microbench.flops import (
    attention,
    elementwise,
    executed,
    movement,
    normalization,
    products,
    recurrent,
    reductions,
    sparse,
    traffic,
    windows,
)
from microbench.flops.amount import NOTHING, Counts, total
from microbench.flops.executed import Executed, Rule
from microbench.watch.modules import has_own_dispatch
from microbench.watch.tensors import tensors

#: Modules' arithmetic; their inputs and parameters are read, and their outputs written, too.
MODULES: Mapping[type[nn.Module], Rule] = {
    **products.MODULES,
    **normalization.MODULES,
    **elementwise.MODULES,
    **reductions.MODULES,
    **windows.MODULES,
    **recurrent.MODULES,
    **attention.MODULES,
}

#: Modules' arithmetic and traffic.
WHOLE_MODULES: Mapping[type[nn.Module], Callable[[Executed], Counts | None]] = movement.MODULES

#: Operators' arithmetic; their tensors are read, and their outputs written, too.
ARITHMETIC: Mapping[str, Rule] = {
    **products.OPERATORS,
    **normalization.OPERATORS,
    **elementwise.OPERATORS,
    **reductions.OPERATORS,
    **windows.OPERATORS,
    **recurrent.OPERATORS,
    **attention.OPERATORS,
}

#: Operators' arithmetic and traffic.
WHOLE: Mapping[str, Rule] = movement.OPERATORS


def of_module(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> Counts | None:
    """Count a call of a module; return None if no rule applies, so that its operators count.

    Besides types without a rule, these are calls whose shapes are not enough: with nested (of different
    lengths), sparse or quantized tensors, and within a transform such as `torch.func.vmap`.
    Gradients are counted if gradients are enabled and the inputs or parameters require one.
    """
    kind = known_type(module)
    if kind is None or executed.is_transformed():
        return None
    if not all(map(executed.goes_by_shape, (*tensors((args, kwargs)), *module.parameters()))):
        return None
    call = executed.of_module(module, args, kwargs, output)
    if kind in WHOLE_MODULES:
        return WHOLE_MODULES[kind](call)
    return MODULES[kind](call) + traffic.through(call)


def known_type(module: nn.Module) -> type[nn.Module] | None:
    """Return the type whose rule applies: the module's own, or the base that its `forward` is from."""
    if "forward" in vars(module):
        return None
    for kind in type(module).__mro__:
        if kind in MODULES or kind in WHOLE_MODULES:
            return kind if getattr(kind, "forward", None) is type(module).forward else None
    return None


def of_function(function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Counts:
    """Count a call of one of torch's operators, such as `aten.add.Tensor`; views cost nothing.

    An operator without a rule costs its traffic, and 1 per element if it is pointwise. Otherwise it counts as
    unknown, unless it computes with integers only; so do operators on tensors whose shape is not enough:
    quantized ones, or those of a class with its own dispatch.
    """
    if traffic.is_view(function):
        return NOTHING
    call, name = executed.of_operator(function, args, kwargs, output), plain_name(function)
    if name in WHOLE:
        return WHOLE[name](call)
    return _arithmetic(function, name, call) + traffic.of_operator(function, call)


def _arithmetic(function: OpOverload, name: str, call: Executed) -> Counts:
    rule = ARITHMETIC.get(name)
    if rule is None and torch.Tag.pointwise in function.tags:
        rule = elementwise.SMOOTH
    given = list(tensors((call.arguments, call.output)))
    if any(each.is_quantized or (has_own_dispatch(each) and not each.is_nested) for each in given):
        return sparse.UNKNOWN  # the class decides what runs; a nested tensor counts as its examples do
    if any(each.layout in traffic.INDICES for each in given):
        return sparse.count(name, rule, call)
    if rule is None:
        return Counts(unknown=int(not call.is_of_integers))
    return total(map(rule, executed.by_example(call)))


def plain_name(function: OpOverload) -> str:
    """Return an operator's name, without the suffix of the in-place form; with its library if not torch."""
    name = function._schema.name.removeprefix("aten::")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
