"""The user's own modules: what a function or class in a Python file, or in a package, makes."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import ref

import torch
from torch import nn

from microbench.config import ModelConfig
from microbench.errors import FailedAt, UserError, first_line, unknown
from microbench.system.digests import digest
from microbench.workloads import objectives
from microbench.workloads.arranged import arranged
from microbench.workloads.inputs import draw
from microbench.workloads.workload import Workload

_made: list[ref[nn.Module]] = []
"""The modules that were built in this process."""


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build what the user's function or class makes, with inputs as `config.inputs` describes them.

    Weights are those that it makes: random ones are drawn from the seed that was set.

    Raises:
        UserError: there is no such function or class, it makes no module, or the inputs are not possible.
        Exception: what it raises, caused by a FailedAt that says where.
    """
    place, code = _place(config)
    make = _callable(code, place)
    with device:
        module = _module(config, make, place, code)
        if any(each.device.type != device.type for each in chain(module.parameters(), module.buffers())):
            module.to(device)
        if config.inputs is None and not config.input_shape:
            raise _no_inputs(module)
        args, kwargs = draw(config, module, batch_size, training)
    called, inputs = arranged(module, args, kwargs | config.call_kwargs)
    objective = objectives.find(_objective(config, code), torch.initial_seed())
    return Workload(config.name, called.train(training), tuple(inputs), objective)


def _place(config: ModelConfig) -> tuple[str, ModuleType]:
    """Return how errors call the function or class, and the imported module that defines it."""
    if config.file is None:
        target = str(config.target)
        return f"model.target={target}", _package(target)
    path = Path(config.file.rpartition(":")[0])
    return f"model.file={path.name}:{_name(config)}", _file(path, f":{_name(config)}", config.code)


def _name(config: ModelConfig) -> str:
    return str(config.target if config.file is None else config.file).rpartition(":")[2]


@cache
def _file(path: Path, factory: str, code: str | None) -> ModuleType:
    """Run a Python file as a module, as `import` would, but never from compiled code kept beside it.

    Its folder becomes the first in `sys.path`, as if it were run as a script.

    Raises:
        UserError: it has changed since the run began, or it fails.
    """
    if digest(path, factory) != code:
        raise UserError(f"{path} changed after the run began: start a new run.")
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{code}"
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(path)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        with _random_numbers_kept():
            exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = error.lineno if isinstance(error, SyntaxError) else _line(error, str(path))
        where = f" in line {line}" if line else ""
        raise UserError(
            f"model.file={path.name} fails{where} when it is imported: {type(error).__name__}: "
            f"{first_line(error)}."
        ) from error
    return module


def _package(target: str) -> ModuleType:
    """Import the module of a target.

    Raises:
        UserError: it cannot be imported.
    """
    name = target.rpartition(":")[0]
    try:
        with _random_numbers_kept():
            return import_module(name)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"model.target={target}: cannot import {name} ({type(error).__name__}: {first_line(error)})."
        ) from error


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Let an import draw no random numbers from those of the weights: it happens once, builds do often."""
    with torch.random.fork_rng(devices=[]):
        yield


def _callable(code: ModuleType, place: str) -> Callable[..., Any]:
    """Return the function or class of a place.

    Raises:
        UserError: there is none; the message gives the nearest names.
    """
    where, _, name = place.partition("=")[2].rpartition(":")
    found = getattr(code, name, None)
    if isinstance(found, nn.Module):
        raise UserError(
            f"{place} is a module: give a function that makes one, because a check needs another."
        )
    if not callable(found):
        raise unknown(f"function in {where}", name, _functions(code))
    return found  # type: ignore[no-any-return]


def _functions(code: ModuleType) -> list[str]:
    """Return the names of the functions and classes that a module defines."""
    return [
        name
        for name, each in vars(code).items()
        if callable(each) and getattr(each, "__module__", None) == code.__name__
    ]


def _module(config: ModelConfig, make: Callable[..., Any], place: str, code: ModuleType) -> nn.Module:
    """Call what makes the module.

    Raises:
        UserError: it returns something else, or the same module twice.
        Exception: what it raises, caused by a FailedAt that says in which line.
    """
    try:
        made = make(*config.args, **config.kwargs)
    except UserError:
        raise
    except Exception as error:
        line = _line(error, str(code.__file__))
        where = f"in {Path(str(code.__file__)).name}, line {line}," if line else "with"
        given = f"{where} model.args={config.args} model.kwargs={config.kwargs}"
        raise error from FailedAt("", "", given if not line else where.rstrip(","))
    if not isinstance(made, nn.Module):
        raise UserError(f"{place} returns {type(made).__name__}: it must return a torch.nn.Module.")
    if any(each() is made for each in _made):
        raise UserError(f"{place} returns the same module at each call: it must make a new one.")
    _made.append(ref(made))
    return made


def _line(error: BaseException, path: str) -> int | None:
    """Return the last line of a file that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((each.lineno for each in reversed(frames) if each.filename == path), None)


def _no_inputs(module: nn.Module) -> UserError:
    """Return the error for inputs that are not given, with the names of those that the module takes."""
    signature = inspect.signature(module.forward)
    required = [name for name, each in signature.parameters.items() if each.default is each.empty]
    example = ", ".join(f"{name}: [SIZES]" for name in required)
    return UserError(
        f"{type(module).__name__} is called with {signature}: give 'model.inputs={{{example}}}', with the "
        "sizes of each without the batch."
    )


def _objective(config: ModelConfig, code: ModuleType) -> str | Callable[[Any], Any] | None:
    """Return the objective of a name: a function that the file defines, or else one of ours.

    Raises:
        UserError: there is none; the message gives the nearest names.
    """
    functions = (each for each in _functions(code) if each != _name(config))  # that makes the module
    name, own = config.objective, [each for each in functions if _takes_output(getattr(code, each))]
    if name is None or (name in objectives.NAMED and name not in own):
        return name
    if callable(found := getattr(code, name, None)):
        return found  # type: ignore[no-any-return]
    raise unknown("model.objective", name, {*objectives.NAMED, *own})


def _takes_output(function: Callable[..., Any]) -> bool:
    """Return whether a function can be an objective: it is no class, and takes one argument."""
    if isinstance(function, type):
        return False
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        return False
    return True
