"""Values as nested texts that are the same in every process: tensors by shape, functions by what they do."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import Tensor

MAIN = "__main__"


def described_value(value: Any, within: frozenset[int] = frozenset()) -> Any:
    """Return what represents a value, however nested: a tensor by its shape and type.

    Args:
        value: the value.
        within: the ids of the values that contain it, which are not described again.
    """
    if isinstance(value, Tensor):
        return tuple(value.shape), str(value.dtype), value.requires_grad
    if id(value) in within:
        return type(value).__qualname__
    inside = within | {id(value)}
    if is_function(value):
        return _described_function(value, inside)
    if is_dataclass(value) and not isinstance(value, type):
        items = {each.name: getattr(value, each.name, None) for each in fields(value)}
        return type(value).__qualname__, described_value(items, inside)
    if isinstance(value, Mapping):
        return type(value).__qualname__, [(key, described_value(each, inside)) for key, each in value.items()]
    if isinstance(value, (tuple, list)):
        return type(value).__qualname__, [described_value(each, inside) for each in value]
    if isinstance(value, (set, frozenset)):
        return type(value).__qualname__, sorted(repr(described_value(each, inside)) for each in value)
    return repr(value)


def is_function(value: Any) -> bool:
    """Return whether a value is a function that Python defines, perhaps with some arguments fixed."""
    return isinstance(value, (FunctionType, MethodType, partial))


def _described_function(function: Any, within: frozenset[int]) -> Any:
    """Return what a function does: its code, its defaults, and the variables outside it that it uses.

    One that can be imported by its name is described by that name, as packages are.
    """
    if isinstance(function, partial):
        return described_value((function.func, function.args, function.keywords), within)
    if isinstance(function, MethodType):  # its object has its own description, or an address
        return described_value(function.__func__, within)
    if _is_importable(function):
        return function.__module__, function.__qualname__
    given = function.__defaults__, function.__kwdefaults__, dict(variables(function))
    return function.__qualname__, _described_code(function.__code__), described_value(given, within)


def _is_importable(function: Any) -> bool:
    """Return whether a function is what its name says, in a module that is not the main program."""
    found: Any = sys.modules.get(function.__module__ or MAIN)
    if found is None or function.__module__ == MAIN:
        return False
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _described_code(code: CodeType) -> Any:
    """Return the instructions of a function and of those within it, and the names and constants in them."""
    constants = [
        _described_code(each) if isinstance(each, CodeType) else described_value(each)
        for each in code.co_consts
    ]
    return code.co_code.hex(), code.co_names, constants


def variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables outside a function that it uses, by name: of functions around it, and global."""
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield key, cell.cell_contents
        except ValueError:  # it is empty
            continue
    for key in dict.fromkeys(_globals(function.__code__)):
        if key in function.__globals__:
            yield key, function.__globals__[key]


def _globals(code: CodeType) -> Iterator[str]:
    """Yield the names of global variables that a function uses, or a function within it."""
    for each in dis.get_instructions(code):
        if each.opname == "LOAD_GLOBAL":
            yield each.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)
