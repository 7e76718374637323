"""A workload as the program reads it: its module traced, its inputs and its objective, as files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from microbench.errors import SkippedError, first_line
from microbench.workloads import Objective, Workload


def write(workload: Workload, training: bool, folder: Path) -> list[str]:
    """Write a workload's files: `module.pt`, `inputs.pt` and, where training has a loss, `objective.pt`.

    Returns:
        The names of the module's parameters there, in their order.

    Raises:
        SkippedError: the module works, but cannot be traced.
    """
    module = write_module(workload, training, folder)
    torch.save({"inputs": list(workload.inputs)}, folder / "inputs.pt")
    if training and workload.objective.is_loss:
        with unchanged(module):
            output = module(*workload.inputs)
        _save(_trace(_Loss(workload.objective, module), (output,)), folder / "objective.pt")
    return [name for name, _ in module.named_parameters()]


def write_module(workload: Workload, training: bool, folder: Path) -> nn.Module:
    """Write `module.pt`: what the module does in train or eval mode.

    Returns:
        What was traced: the module, or where that cannot be, one that puts out its tensors in a row.

    Raises:
        SkippedError: it works, but cannot be traced.
    """
    module, inputs = workload.module, workload.inputs
    with unchanged(module), torch.set_grad_enabled(training):
        try:
            traced = _trace(module, inputs)
        except Exception as error:
            module = _Flat(module)
            module(*inputs)  # what fails untraced, too, is no matter of this engine's
            traced = _trace_or_skip(module, inputs, error)
    _save(traced, folder / "module.pt")
    return module


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
        """The tensors of the module's output; how they lay in it is kept."""
        self._leaves, self._form = tree_flatten(self.module(*inputs))
        return tuple(leaf for leaf in self._leaves if isinstance(leaf, Tensor))

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


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Put back the buffers that a call changes, such as the running statistics of batch normalization."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
