"""Module objects written to a file for the processes that measure them."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn

from microbench.errors import StoppedError, UserError, first_line
from microbench.workloads.given import Given, Sent
from microbench.workloads.given.described import variables

PROTOCOL = 5
DEEPEST = 50  # objects within objects


def sent(given: Given, path: Path) -> Sent:
    """Write a module object to a file: classes and functions of the main program with their code.

    Raises:
        UserError: something in it cannot be pickled; says what, and what to do instead.
        StoppedError: the file cannot be written.
    """
    try:
        _Pickler(io.BytesIO()).dump(given)
    except Exception as error:
        raise _unpicklable(given, error) from error
    try:
        torch.save(given, path, pickle_module=cloudpickle, pickle_protocol=PROTOCOL)
    except OSError as error:
        raise StoppedError(f"Cannot write {path}: {error.strerror}. Set TMPDIR to another folder.") from error
    except Exception as error:
        raise _unpicklable(given, error) from error
    return Sent(path, _modules_of(given.module))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that leaves out the tensors' values."""

    def persistent_id(self, obj: Any) -> str | None:
        """Return a reference in place of a tensor."""
        return "tensor" if isinstance(obj, Tensor) else None


def _modules_of(module: nn.Module) -> tuple[str, ...]:
    """Return the Python modules that define the classes within a module and that can be imported."""
    names = {type(each).__module__ for each in module.modules()} - {"__main__"}
    return tuple(sorted(each for each in names if getattr(sys.modules.get(each), "__spec__", None)))


def _unpicklable(given: Given, error: Exception) -> UserError:
    """Return the error that names what cannot be pickled."""
    name = type(given.module).__name__
    parts = {name: given.module, "inputs": (given.args, given.kwargs), "objective": given.objective}
    culprits = [(key, each) for key, each in parts.items() if not _is_picklable(each)]
    where, what = _innermost(*culprits[0]) if culprits else (name, given.module)
    return UserError(
        f"{name} cannot be sent to a process of its own, because {where} ({type(what).__name__}) cannot be "
        f"pickled: {first_line(error).removesuffix('.')}. Give isolation='inline', which measures a copy in "
        "this process, or the function that builds it, with model.file."
    )


def _innermost(name: str, value: Any) -> tuple[str, Any]:
    """Return what within a value cannot be pickled, with its dotted name."""
    for _ in range(DEEPEST):
        inner = next((each for each in _within(name, value) if not _is_picklable(each[1])), None)
        if inner is None:
            break
        name, value = inner
    return name, value


def _within(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds, each with its dotted name."""
    if isinstance(value, Mapping):
        yield from ((f"{name}[{key!r}]", each) for key, each in value.items())
    elif isinstance(value, (tuple, list)):
        yield from ((f"{name}[{index}]", each) for index, each in enumerate(value))
    elif isinstance(value, nn.Module):
        inner = {**vars(value), **value._modules}  # the modules by their own names
        yield from (
            (f"{name}.{key}", each) for key, each in inner.items() if key not in ("_modules", "_parameters")
        )
    elif isinstance(value, FunctionType):
        yield from ((f"{name}: {key}", each) for key, each in variables(value))
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from ((f"{name}.{key}", each) for key, each in vars(value).items())


def _is_picklable(value: Any) -> bool:
    try:
        _Pickler(io.BytesIO()).dump(value)
    except Exception:
        return False
    return True
