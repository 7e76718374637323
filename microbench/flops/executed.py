"""A call as the rules see it: its arguments by name, and its output."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

from microbench.flops.amount import Counts
from microbench.watch.modules import has_own_dispatch
from microbench.watch.tensors import tensors


@dataclass(frozen=True)
class Executed:
    """One executed call of a module or of an operator.

    Attributes:
        arguments: its arguments, by the names of `forward`'s parameters or of the operator's schema,
            including defaults.
        output: its return value.
        module: the module; None for an operator.
    """

    arguments: Mapping[str, Any]
    output: Any
    module: Any = None

    def __getitem__(self, name: str) -> Any:
        """Return an argument, or else an attribute of the module, which holds its operator's arguments."""
        return self.arguments[name] if name in self.arguments else getattr(self.module, name)

    def get(self, name: str) -> Any:
        """Return the same; None if there is neither."""
        return self.arguments.get(name, getattr(self.module, name, None))

    @property
    def input(self) -> Tensor:
        """The first tensor in its arguments."""
        return next(tensors(self.arguments))

    @property
    def result(self) -> Tensor:
        """The first tensor in its output."""
        return next(tensors(self.output))

    @property
    def is_of_integers(self) -> bool:
        """Whether all its tensors are of integers, whose arithmetic is not counted."""
        numbers = tensors((self.arguments, self.output))
        return not any(each.is_floating_point() or each.is_complex() for each in numbers)


Rule = Callable[[Executed], Counts]

AnyRule = TypeVar("AnyRule")


def shared(names: str, rule: AnyRule) -> dict[str, AnyRule]:
    """Return part of a table of rules: one for several operators, whose names are separated by spaces."""
    return dict.fromkeys(names.split(), rule)


def of_module(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Executed:
    """Return a module's call."""
    bound = _signature(type(module).forward).bind(module, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    arguments.pop("self")
    return Executed(arguments, output, module)


@cache
def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(forward)


def of_operator(
    function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> Executed:
    """Return an operator's call."""
    declared = function._schema.arguments
    arguments = {each.name: each.default_value for each in declared if each.has_default_value()}
    arguments |= {each.name: value for each, value in zip(declared, args, strict=False)}
    return Executed(arguments | dict(kwargs), output)


def by_example(call: Executed) -> list[Executed]:
    """Return the call; for nested tensors, whose examples differ in length, one call per example."""
    nested = [each for each in tensors((call.arguments, call.output)) if each.is_nested]
    if not nested:
        return [call]
    parts: dict[int, list[Tensor]] = {id(each): _examples(each) for each in nested}

    def of(number: int, values: Any) -> Any:
        return tree_map_only(
            Tensor, lambda each: parts[id(each)][number] if id(each) in parts else each, values
        )

    return [
        Executed(of(number, dict(call.arguments)), of(number, call.output), call.module)
        for number in range(len(parts[id(nested[0])]))
    ]


def _examples(batch: Tensor) -> list[Tensor]:
    """Return each example as a batch of one, which requires a gradient if the whole batch does."""
    parts = [each.detach().unsqueeze(0) for each in batch.unbind()]
    return [each.requires_grad_(batch.requires_grad) for each in parts]


def goes_by_shape(tensor: Tensor) -> bool:
    """Return whether a tensor's shape determines a module's work on it: dense, not quantized or nested."""
    return not (
        tensor.is_nested
        or tensor.is_quantized
        or not (tensor.layout is torch.strided or tensor.is_mkldnn)
        or has_own_dispatch(tensor)
    )


def is_transformed() -> bool:
    """Return whether a transform of torch.func, or forward differentiation, is active.

    A module then sees one example of a batch, or a number without its derivative; only operators see all.
    """
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def distinct(values: Iterable[Tensor]) -> list[Tensor]:
    """Return each tensor once, in order."""
    return list({id(tensor): tensor for tensor in values}.values())
