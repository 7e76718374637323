"""What distinguishes the work of one module object from that of another: not the values of its weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from microbench.errors import UserError
from microbench.watch.tensors import tensors
from microbench.workloads.given import Given
from microbench.workloads.given.described import described_value, is_function

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def identity(given: Given) -> str:
    """Return twelve hexadecimal digits, the same in every process, for what a module object computes.

    They depend on the module's structure as its repr shows it, the shapes and types of its parameters,
    buffers and inputs, its other arguments, the objective, and what the functions among all these do: those
    that its modules hold, and their hooks. The code of its classes does not count.
    """
    module, objective = given.module, given.objective
    state = (*module.named_parameters(), *module.named_buffers())
    described = (
        repr(module),
        [(name, described_value(each)) for name, each in state],
        [described_value(each) for each in (tuple(given.args), dict(given.kwargs))],
        getattr(objective, "__qualname__", repr(objective)),
        [described_value(each) for each in (*_functions(module), *_functions(objective))],
    )
    return hashlib.sha256(ADDRESS.sub("", repr(described)).encode()).hexdigest()[:12]


def _functions(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the functions that a value is or holds, each with its place; all attributes of another object."""
    if isinstance(value, nn.Module):
        for name, module in value.named_modules():
            for key, held in vars(module).items():
                yield from ((f"{name}.{key}", each) for each in _functions_in(held))
    elif is_function(value):
        yield "", value
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield "", vars(value)


def _functions_in(value: Any) -> Iterator[Any]:
    """Yield the functions in containers, such as hooks."""
    if is_function(value):
        yield value
    elif isinstance(value, (Mapping, tuple, list)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _functions_in(each)


def batch_size_of(given: Given, asked: Any = None) -> int:
    """Return how many items the inputs of a module object hold: the size of their common first dimension.

    If they have none, or are in a list, as images of several sizes are, it is what is asked for, or 1: a call
    counts as one item.

    Args:
        given: the module object.
        asked: the size of the batch that the user gives; None for none.

    Raises:
        UserError: the inputs are no batch of that size, or hold no tensor.
    """
    inputs = _inputs(given)
    if not inputs:
        raise UserError("inputs= holds no tensor: give a tensor, or a tuple or dictionary of arguments.")
    first = {each.shape[0] for each in inputs if each.dim()}
    lists = list(_lists((given.args, given.kwargs)))
    common = first.pop() if len(first) == 1 and not lists else None
    if asked is None or (asked == common and not isinstance(asked, bool)):
        return common or 1
    if common is not None:
        raise UserError(
            f"batch_size={asked} is not possible: the inputs hold {common}, by their first dimension. Leave "
            "it out, and give other inputs for another batch."
        )
    sizes = {*(size for each in inputs for size in each.shape), *map(len, lists)}
    if not isinstance(asked, int) or isinstance(asked, bool) or asked not in sizes:
        raise UserError(
            f"batch_size={asked} is not possible: no dimension or list of the inputs has that size."
        )
    return asked


def input_shape_of(given: Given) -> list[int]:
    """Return the shape of the only input without its batch; empty for several inputs, or for one number."""
    inputs = _inputs(given)
    sizes = list(inputs[0].shape[1:]) if len(inputs) == 1 else []
    return sizes if all(sizes) else []


def _lists(value: Any) -> Iterator[list[Any]]:
    """Yield the lists in nested arguments that hold tensors."""
    if isinstance(value, list) and any(isinstance(each, Tensor) for each in value):
        yield value
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name, None) for each in fields(value)}
    inner = value.values() if isinstance(value, Mapping) else value
    for each in inner if isinstance(value, (Mapping, tuple, list)) else ():
        yield from _lists(each)


def _inputs(given: Given) -> list[Tensor]:
    found: Iterable[Tensor] = tensors((tuple(given.args), dict(given.kwargs)))
    return list(found)
