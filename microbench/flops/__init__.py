"""What a call costs on paper: arithmetic and traffic of memory, by rules for modules and for functions.

A subject's file has its formulas and, in `MODULES` and `OPERATORS`, the types and operators that they
hold for; `modules` and `operators` put these tables together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch._ops import OpOverload

from microbench.flops import executed, modules, operators
from microbench.flops.amount import Counts
from microbench.watch.tensors import tensors

__all__ = ["Counts", "of_function", "of_module"]


def of_module(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> Counts | None:
    """What a call of a module costs; None where no rule knows the module's type, and its operators tell.

    They do too where shapes do not: of examples that are nested, each of its own length, of sparse or
    quantized tensors, and within a transform such as `torch.func.vmap`.
    Gradients are counted where gradients are enabled and the inputs or parameters require one.
    """
    if modules.known_type(module) is None or executed.is_transformed():
        return None
    if not all(map(executed.goes_by_shape, (*tensors((args, kwargs)), *module.parameters()))):
        return None
    return modules.count(module, executed.of_module(module, args, kwargs, output))


def of_function(function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Counts:
    """What a call of one of torch's operators costs, such as `aten.add.Tensor`; views cost nothing."""
    return operators.count(function, executed.of_operator(function, args, kwargs, output))
