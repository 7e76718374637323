"""The tensors in a value, however nested, with their shapes and types; and fake ones in their place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size))
"""Types of common arguments that contain no tensor."""


HOLDS_OTHERS = (nn.Module, type, ModuleType, FunctionType, torch.SymInt, torch.SymFloat, torch.SymBool)
"""Types whose attributes are not part of a value: code, a module's state, a symbol's environment."""


CONTAINERS = (tuple, list, deque, set, frozenset)


DEEPEST = 100  # nested containers and objects: anything deeper is no output


def tensors(output: Any) -> Iterator[Tensor]:
    """Yield every tensor in an output, however nested in mappings, sequences and attributes of objects.

    Modules are not searched. A tensor that an output holds twice comes twice, unless an object holds it.
    """
    if isinstance(output, Tensor):
        yield output
    else:
        yield from _search(output, (), set())


def _search(value: Any, within: tuple[int, ...], objects: set[int]) -> Iterator[Tensor]:
    """Yield the tensors in a value that is not one itself, given its containers and the objects searched."""
    kind, key = type(value), id(value)
    if kind in ATOMS or key in within or key in objects or len(within) == DEEPEST:
        return
    within = (*within, key)
    if kind is tuple or kind is list:  # backward searches these while it is timed
        yield from _search_each(value, within, objects)
    elif isinstance(value, Mapping):
        yield from _search_all(value.values(), value, within, objects)
    elif isinstance(value, CONTAINERS):
        yield from _search_all(value, value, within, objects)
    elif not isinstance(value, HOLDS_OTHERS):
        objects.add(key)
        yield from _search_each(_attributes(value), within, objects)


def _search_each(values: Iterable[Any], within: tuple[int, ...], objects: set[int]) -> Iterator[Tensor]:
    for each in values:
        if isinstance(each, Tensor):
            yield each
        else:
            yield from _search(each, within, objects)


def _search_all(
    items: Iterable[Any], container: Any, within: tuple[int, ...], objects: set[int]
) -> Iterator[Tensor]:
    """Yield the tensors in a container's items, and those in its attributes that are not among them."""
    found = list(_search_each(items, within, objects))
    yield from found
    if type(container) is not dict:
        known = set(map(id, found))
        attributes = _search_each(_attributes(container), within, objects)
        yield from (each for each in attributes if id(each) not in known)


def _attributes(value: Any) -> Iterator[Any]:
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        for slot in vars(kind).values():
            if isinstance(slot, MemberDescriptorType):  # of `__slots__`
                with suppress(AttributeError):  # the slot is empty
                    yield slot.__get__(value)


def shapes(values: Any) -> list[torch.Size]:
    """Return the shapes of all tensors in values."""
    return [shape(tensor) for tensor in tensors(values)]


def shape(tensor: Tensor) -> torch.Size:
    """Return a tensor's shape; a nested one's has the largest length of its examples in each dimension."""
    if not tensor.is_nested or tensor.layout is torch.jagged:
        return tensor.shape
    with _disable_current_modes():  # must not be seen as an operator that runs
        lengths = tensor._nested_tensor_size()
        return torch.Size([len(lengths), *lengths.amax(0).tolist()])


def dtype_of(*values: Any) -> str:
    """Return the type of the first tensor in values, such as `float32`; empty if there is none."""
    first: Tensor | None = next((tensor for value in values for tensor in tensors(value)), None)
    return "" if first is None else str(first.dtype).removeprefix("torch.")


def faked(mode: FakeTensorMode, values: Any) -> Any:
    """Return nested values with fake tensors, which have no memory, in place of their tensors."""
    return tree_map_only(
        Tensor, lambda each: mode.from_tensor(each).requires_grad_(each.requires_grad), values
    )
