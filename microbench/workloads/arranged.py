"""Modules that are called with any arguments, as modules that take only tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.export import register_dataclass
from torch.utils._pytree import SUPPORTED_NODES, TreeSpec, tree_flatten, tree_unflatten


class Applied(nn.Module):
    """A module, or a function, with its fixed arguments, which follow the inputs."""

    def __init__(self, module: Callable[..., Any], rest: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.module, self.rest, self.arguments = module, tuple(rest), dict(kwargs)
        self.training = getattr(module, "training", self.training)

    def forward(self, *inputs: Tensor) -> Any:
        """Call the module."""
        return self.module(*inputs, *self.rest, **self.arguments)

    def arguments_with(self, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the module's positional and keyword arguments."""
        return (*inputs, *self.rest), self.arguments


class Arranged(nn.Module):
    """A module whose inputs are among its arguments: in lists, in dataclasses, or by name."""

    def __init__(
        self, module: nn.Module, leaves: Sequence[Any], places: Sequence[int], tree: TreeSpec
    ) -> None:
        super().__init__()
        self.module, self.leaves, self.places, self.tree = module, list(leaves), list(places), tree
        self.training = module.training

    def forward(self, *inputs: Tensor) -> Any:
        """Call the module with the inputs in their places."""
        args, kwargs = self.arguments_with(inputs)
        return self.module(*args, **kwargs)

    def arguments_with(self, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the module's positional and keyword arguments."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, inputs, strict=True):
            leaves[place] = tensor
        args, kwargs = tree_unflatten(leaves, self.tree)
        return args, kwargs


def arranged(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], kind: type = Tensor
) -> tuple[nn.Module, list[Any]]:
    """Return a module as one that takes only those of its arguments that are of a type, and these.

    Arguments may be nested in tuples, lists, dictionaries and dataclasses. All others are fixed.

    Args:
        module: the module; it is returned itself if it already takes only such arguments.
        args: its positional arguments.
        kwargs: its keyword arguments.
        kind: the type; tensors, or what describes them.
    """
    args, kwargs = tuple(args), dict(kwargs)
    number = next((index for index, each in enumerate(args) if not isinstance(each, kind)), len(args))
    leaves, tree = _flattened((args, kwargs), kind)
    places = [index for index, leaf in enumerate(leaves) if isinstance(leaf, kind)]
    if len(places) > number:
        bare = [None if isinstance(leaf, kind) else leaf for leaf in leaves]
        return Arranged(module, bare, places, tree), [leaves[place] for place in places]
    rest = args[number:]
    return Applied(module, rest, kwargs) if rest or kwargs else module, list(args[:number])


def _flattened(values: Any, kind: type) -> tuple[list[Any], TreeSpec]:
    """Return the leaves of nested values, and their tree; dataclasses become known to torch on the way."""

    def is_new(value: Any) -> bool:
        return is_dataclass(value) and not isinstance(value, type) and type(value) not in SUPPORTED_NODES

    leaves, tree = tree_flatten(values, is_leaf=lambda value: isinstance(value, kind) or is_new(value))
    if not (new := {type(leaf) for leaf in leaves if is_new(leaf) and not isinstance(leaf, kind)}):
        return leaves, tree
    for each in new:
        register_dataclass(each)
    return _flattened(values, kind)


def unarranged(
    module: nn.Module, inputs: Sequence[Tensor]
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Return the module within one that `arranged` made, with all its arguments; any other as it is."""
    if not isinstance(module, (Applied, Arranged)) or not isinstance(module.module, nn.Module):
        return module, tuple(inputs), {}
    return module.module, *module.arguments_with(inputs)
