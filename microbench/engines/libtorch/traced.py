"""A workload as the files that the program reads: the traced module, its inputs and its objective."""

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

from microbench.engines.capture.tracing import Flat, trace, trace_or_skip
from microbench.errors import SkippedError
from microbench.watch.tensors import tensors
from microbench.workloads import Objective, Workload


def write(workload: Workload, training: bool, folder: Path) -> nn.Module:
    """Write a workload's files: `module.pt`, `inputs.pt` and, if training has a loss, `objective.pt`.

    Returns:
        What was traced: the module, or if that is not possible, one that returns its tensors as a flat tuple.

    Raises:
        SkippedError: the module works but cannot be traced, or the trace would be empty.
    """
    module = write_module(workload, training, folder)
    write_inputs(workload, folder)
    if training and workload.objective.is_loss:
        with unchanged(workload):
            output = module(*workload.inputs)
        loss = _Loss(workload.objective, module)
        loss(output)  # an objective may draw its targets at its first call
        _save(trace(loss, (output,)), folder / "objective.pt")
    return module


def write_module(workload: Workload, training: bool, folder: Path) -> nn.Module:
    """Write `module.pt`: the module's trace in train or eval mode; see `write`."""
    with unchanged(workload), torch.set_grad_enabled(training):
        traced, module = trace_or_skip("libtorch", workload.module, workload.inputs, _Restorable)
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


def _save(traced: torch.jit.ScriptModule, path: Path) -> None:
    with warnings.catch_warnings():  # the warning that TorchScript is deprecated
        warnings.simplefilter("ignore")
        torch.jit.save(traced, path)


class _Restorable(Flat):
    """A module that returns its output's tensors as a flat tuple, and remembers the output's structure."""

    def flat(self, output: Any) -> tuple[Tensor, ...]:
        """Return the tensors of an output.

        Raises:
            SkippedError: some are in objects that a trace does not restore.
        """
        self._leaves, self._form = tree_flatten(output)
        found = tuple(leaf for leaf in self._leaves if isinstance(leaf, Tensor))
        held = sum(1 for _ in tensors(output))
        if len(found) < held:
            raise SkippedError(
                f"returns {held} tensors, {held - len(found)} of which would be lost: objects hold them"
            )
        return found

    def restored(self, flat: Sequence[Tensor]) -> Any:
        """Return the output with these tensors in their places."""
        tensors = iter(flat)
        return tree_unflatten(
            [next(tensors) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves], self._form
        )


class _Loss(nn.Module):
    """An objective as a module that takes a traced module's output."""

    def __init__(self, objective: Objective, module: nn.Module) -> None:
        super().__init__()
        self._objective: Callable[[Any], Any] = objective
        self._restored = module.restored if isinstance(module, _Restorable) else None

    def forward(self, output: Any) -> Any:
        """Compute the loss."""
        return self._objective(output if self._restored is None else self._restored(output))


def overwrites(workload: Workload, training: bool) -> bool:
    """Return whether calls change their inputs: in training, the first call; otherwise, the second too."""
    with unchanged(workload), torch.set_grad_enabled(training):
        for _ in range(1 if training else 2):
            before = [tensor.detach().clone() for tensor in workload.inputs]
            workload.module(*workload.inputs)
            if all(map(torch.equal, before, workload.inputs)):
                return False
    return True


@contextmanager
def unchanged(workload: Workload) -> Iterator[None]:
    """Restore what a call changes: running statistics, and inputs that a layer overwrites."""
    held = (*workload.module.buffers(), *workload.inputs)
    before = [(tensor, tensor._version, tensor.clone()) for tensor in held]
    yield
    with torch.no_grad():
        for tensor, version, value in before:
            if tensor._version != version or not torch.equal(tensor, value):
                tensor.copy_(value)
