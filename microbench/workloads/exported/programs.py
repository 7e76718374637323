"""Files that torch writes: exported programs, TorchScript, and pickled modules."""

from __future__ import annotations

import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument
from torch.jit import optimized_execution  # type: ignore[attr-defined]
from torch.utils._pytree import tree_unflatten

from microbench.errors import UserError, first_line
from microbench.workloads.arranged import arranged
from microbench.workloads.exported.declared import ANY_SIZE, Declared


class Script(nn.Module):
    """A script that is called without TorchScript's optimizations, operator by operator, as in eager mode."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.script = script

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Call the script."""
        with optimized_execution(False):
            return self.script(*inputs, **named)


def program(path: Path, device: torch.device) -> tuple[nn.Module, list[Declared]]:
    """Load an exported program as a module that takes only tensors, and its inputs.

    Raises:
        UserError: it is something else, or cannot be loaded.
    """
    names = _entries(path)
    if not names & {"models/model.json", "serialized_exported_program.json"}:
        if any(name.startswith("data/aotinductor/") for name in names):
            raise UserError(
                f"{path.name} holds code that AOTInductor compiled; give what torch.export.save writes."
            )
        raise UserError(f"{path.name} is not what torch.export.save writes.")
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # the loader logs what it then raises
    try:
        loaded = torch.export.load(path)
    except Exception as error:
        raise _unloadable(path, error) from error
    finally:
        logging.disable(before)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        loaded = move_to_device_pass(loaded, device)
    module = loaded.module()
    for name in ("train", "eval"):  # they refuse to run, though the graph does not depend on the mode
        vars(module).pop(name, None)
    args, kwargs = tree_unflatten(_arguments(loaded), loaded.call_spec.in_spec)
    called, declared = arranged(module, args, kwargs, Declared)
    return called, declared


def _arguments(loaded: torch.export.ExportedProgram) -> list[Any]:
    """Return the arguments of a program, flat: its tensors' descriptions, and its constants."""
    values = {node.name: node.meta["val"] for node in loaded.graph.nodes if node.op == "placeholder"}
    found: list[Any] = []
    for each in loaded.graph_signature.input_specs:
        if each.kind is not InputKind.USER_INPUT:
            continue
        if isinstance(each.arg, TensorArgument):
            value = values[each.arg.name]
            shape = tuple(size if isinstance(size, int) else ANY_SIZE for size in value.shape)
            found.append(Declared(each.arg.name, value.dtype, shape))
        else:
            found.append(each.arg.value if isinstance(each.arg, ConstantArgument) else None)
    return found


def is_script(path: Path) -> bool:
    """Return whether a file is what torch.jit.save writes."""
    return "constants.pkl" in _entries(path)


def script(path: Path, device: torch.device) -> Script:
    """Load a script. Its pickles are read by TorchScript itself, which makes its own types only.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        return Script(torch.jit.load(path, map_location=device))  # type: ignore[no-untyped-call]
    except Exception as error:
        raise _unloadable(path, error) from error


def pickled(path: Path, device: torch.device, trusted: bool) -> nn.Module:
    """Load what torch.save writes, if it is a module.

    Raises:
        UserError: it is something else, may run code and is not trusted, or cannot be loaded.
    """
    try:
        found = torch.load(path, map_location=device, weights_only=not trusted)
    except Exception as error:
        if not _is_saved(path):
            raise UserError(f"{path.name} is not what torch.jit.save or torch.save writes.") from error
        if not trusted and "weights_only" in str(error).lower():
            raise untrusted(path, "is a pickle, and loading it") from error
        raise _unloadable(path, error) from error
    if not isinstance(found, nn.Module):
        is_state = isinstance(found, dict) and any(isinstance(each, Tensor) for each in found.values())
        what = (
            "weights without a model (a state dict)" if is_state else f"a {type(found).__name__}, no module"
        )
        raise UserError(
            f"{path.name} holds {what}: export the model, or give a function that makes it, as "
            "model.file=mine.py:make."
        )
    return found


def _is_saved(path: Path) -> bool:
    """Return whether a file is an archive as torch.save writes it, or else begins as a pickle does."""
    if zipfile.is_zipfile(path):
        return "data.pkl" in _entries(path)
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO


def untrusted(path: Path, what: str) -> UserError:
    """Return the error for a file that is loaded only if it is trusted."""
    return UserError(f"{path.name} {what} can run any code in it: give model.trust=true if you trust it.")


def _entries(path: Path) -> set[str]:
    """Return the names in a file that is an archive, without the archive's folder; none in any other."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2] or name for name in archive.namelist()} | set(archive.namelist())


def _unloadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path.name} cannot be loaded: {type(error).__name__}: {first_line(error)}.")
