"""A workload as the program reads it: its module traced, its inputs and its objective, as files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from microbench.engines.capture.rehearsal import EMPTY, is_empty
from microbench.errors import SkippedError, first_line
from microbench.workloads import Objective, Workload, tensors


def write(workload: Workload, training: bool, folder: Path) -> nn.Module:
    """Write a workload's files: `module.pt`, `inputs.pt` and, where training has a loss, `objective.pt`.

    Returns:
        What was traced: the module, or where that cannot be, one that puts out its tensors in a row.

    Raises:
        SkippedError: the module works, but cannot be traced, or the trace would be empty.
    """
    module = write_module(workload, training, folder)
    write_inputs(workload, folder)
    if training and workload.objective.is_loss:
        with unchanged(workload):
            output = module(*workload.inputs)
        _save(_trace(_Loss(workload.objective, module), (output,)), folder / "objective.pt")
    return module


def write_module(workload: Workload, training: bool, folder: Path) -> nn.Module:
    """Write `module.pt`: what the module does in train or eval mode; see `write`."""
    module, inputs = workload.module, workload.inputs
    with unchanged(workload), torch.set_grad_enabled(training):
        try:
            traced = _trace(module, inputs)
        except Exception as error:
            module = _Flat(module)
            module(*inputs)  # what fails untraced, too, is no matter of this engine's
            traced = _trace_or_skip(module, inputs, error)
    if is_empty(traced):
        raise SkippedError(f"engine=libtorch runs traced modules, and of this one {EMPTY}")
    _save(traced, folder / "module.pt")
    return module


def write_inputs(workload: Workload, folder: Path) -> None:
    """Write `inputs.pt`: the inputs of one call."""
    torch.save({"inputs": list(workload.inputs)}, folder / "inputs.pt")


def write_state(workload: Workload, folder: Path) -> None:
    """Write `state.pt`: the parameters and buffers that the module has, by their names."""
    module = workload.module
    state = dict(chain(module.named_parameters(), module.named_buffers()))
    values = [value.detach() for value in state.values()]
    torch.save({"names": list(state), "values": values}, folder / "state.pt")


def _trace_or_skip(module: nn.Module, inputs: tuple[Tensor, ...], first: Exception) -> torch.jit.ScriptModule:
    try:
        return _trace(module, inputs)
    except Exception as error:
        raise SkippedError(
            f"engine=libtorch runs traced modules, and this one cannot be traced: {first_line(first)}"
        ) from error


def _trace(module: nn.Module, inputs: tuple[Any, ...]) -> torch.jit.ScriptModule:
    with _no_warnings():
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, inputs, check_trace=False, strict=False
        )
    return traced


def _save(traced: torch.jit.ScriptModule, path: Path) -> None:
    with _no_warnings():
        torch.jit.save(traced, path)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep quiet that TorchScript is to go, and that values become constants, which they are here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Flat(nn.Module):
    """A module that puts out its tensors in a row: tracing stops at None, and at other things."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the module's output; how they lay in it is kept.

        Raises:
            SkippedError: there are none, or some lie where a trace does not put them back.
        """
        output = self.module(*inputs)
        self._leaves, self._form = tree_flatten(output)
        found = tuple(leaf for leaf in self._leaves if isinstance(leaf, Tensor))
        held = sum(1 for _ in tensors(output))
        if not held:
            raise SkippedError(f"engine=libtorch runs traced modules, and of this one {EMPTY}")
        if len(found) < held:
            raise SkippedError(
                f"engine=libtorch runs traced modules, and of the {held} tensors that this one puts out "
                f"{held - len(found)} would be lost, which objects hold"
            )
        return found

    def restored(self, flat: Sequence[Tensor]) -> Any:
        """The output that these tensors were in."""
        tensors = iter(flat)
        return tree_unflatten(
            [next(tensors) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves], self._form
        )


class _Loss(nn.Module):
    """An objective as a module, of what a traced module puts out."""

    def __init__(self, objective: Objective, module: nn.Module) -> None:
        super().__init__()
        self._objective: Callable[[Any], Any] = objective
        self._restored = module.restored if isinstance(module, _Flat) else None

    def forward(self, output: Any) -> Any:
        """The loss."""
        return self._objective(output if self._restored is None else self._restored(output))


def overwrites(workload: Workload, training: bool) -> bool:
    """Say whether each call changes its inputs: in training, where they are to be the same, or any more."""
    with unchanged(workload), torch.set_grad_enabled(training):
        for _ in range(1 if training else 2):
            before = [tensor.detach().clone() for tensor in workload.inputs]
            workload.module(*workload.inputs)
            if all(map(torch.equal, before, workload.inputs)):
                return False
    return True


@contextmanager
def unchanged(workload: Workload) -> Iterator[None]:
    """Put back what a call changes: running statistics, and inputs that a layer overwrites."""
    before = [(tensor, tensor._version, tensor.clone()) for tensor in _held(workload)]
    yield
    with torch.no_grad():
        for tensor, version, value in before:
            if tensor._version != version or not torch.equal(tensor, value):
                tensor.copy_(value)


def _held(workload: Workload) -> Iterator[Tensor]:
    yield from workload.module.buffers()
    yield from workload.inputs
