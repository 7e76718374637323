"""A call as the rules see it: its arguments by name, and what came out."""

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
from microbench.watch.modules import has_ways_of_its_own
from microbench.watch.tensors import tensors


@dataclass(frozen=True)
class Executed:
    """One executed call of a module or of an operator.

    Attributes:
        arguments: what it was given, by the names of `forward`'s parameters or of the operator's schema,
            defaults included.
        output: what it returned.
        module: the module; None for an operator.
    """

    arguments: Mapping[str, Any]
    output: Any
    module: Any = None

    def __getitem__(self, name: str) -> Any:
        """Return an argument, else an attribute of the module, which keeps what its operator is given."""
        return self.arguments[name] if name in self.arguments else getattr(self.module, name)

    def get(self, name: str) -> Any:
        """Return the same; None where there is neither."""
        return self.arguments.get(name, getattr(self.module, name, None))

    @property
    def input(self) -> Tensor:
        """The first tensor that it was given."""
        return next(tensors(self.arguments))

    @property
    def result(self) -> Tensor:
        """The first tensor that it returned."""
        return next(tensors(self.output))

    @property
    def is_of_integers(self) -> bool:
        """Whether no number in it is a floating-point one: its arithmetic is none that is counted."""
        numbers = tensors((self.arguments, self.output))
        return not any(each.is_floating_point() or each.is_complex() for each in numbers)


Rule = Callable[[Executed], Counts]

AnyRule = TypeVar("AnyRule")


def shared(names: str, rule: AnyRule) -> dict[str, AnyRule]:
    """Part of a table of rules: one for several operators, whose names are parted by blanks."""
    return dict.fromkeys(names.split(), rule)


def of_module(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Executed:
    """A module's call."""
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
    """An operator's call."""
    declared = function._schema.arguments
    arguments = {each.name: each.default_value for each in declared if each.has_default_value()}
    arguments |= {each.name: value for each, value in zip(declared, args, strict=False)}
    return Executed(arguments | dict(kwargs), output)


def by_example(call: Executed) -> list[Executed]:
    """A call as it is; of nested tensors, whose examples are of different lengths, a call of each example."""
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
    """Each as a batch of one, whose gradient is sought where that of the whole batch is."""
    parts = [each.detach().unsqueeze(0) for each in batch.unbind()]
    return [each.requires_grad_(batch.requires_grad) for each in parts]


def goes_by_shape(tensor: Tensor) -> bool:
    """Whether a tensor's shape says what a module does with it: how many numbers there are, each apart."""
    return not (
        tensor.is_nested
        or tensor.is_quantized
        or not (tensor.layout is torch.strided or tensor.is_mkldnn)
        or has_ways_of_its_own(tensor)
    )


def is_transformed() -> bool:
    """Whether a transform of torch.func is at work, or forward differentiation.

    A module sees one example of a batch then, or a number without its derivative; only operators see it all.
    """
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def distinct(values: Iterable[Tensor]) -> list[Tensor]:
    """Each tensor once, however often it is given."""
    return list({id(tensor): tensor for tensor in values}.values())
