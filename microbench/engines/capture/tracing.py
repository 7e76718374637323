"""A module's call traced to TorchScript, whatever its output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from microbench.errors import SkippedError, first_line
from microbench.watch.tensors import tensors

EMPTY = "has no tensor in its output, so its graph would compute nothing"
"""Why a module is not captured as a graph."""

REHEARSALS = {"infer": 2, "train": 3}
"""Calls until optimized code runs: TorchScript watches a graph's first call and optimizes it at the second,
and reaches the backward pass's graph one step later."""


class Flat(nn.Module):
    """A module that returns its output's tensors as a flat tuple: tracing fails on None and other values."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the module's output.

        Raises:
            SkippedError: there are none, or the trace would lose some of them.
        """
        output = self.module(*inputs)
        if not any(True for _ in tensors(output)):
            raise SkippedError(EMPTY)
        return self.flat(output)

    def flat(self, output: Any) -> tuple[Tensor, ...]:
        """Return the tensors of an output."""
        return tuple(tensors(output))


def trace(module: nn.Module, inputs: Sequence[Any]) -> torch.jit.ScriptModule:
    """Trace a module's call, without the warnings on TorchScript's deprecation and on constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, tuple(inputs), check_trace=False, strict=False
        )
    return script


def trace_or_skip(
    engine: str, module: nn.Module, inputs: Sequence[Tensor], flat: Callable[[nn.Module], nn.Module] = Flat
) -> tuple[torch.jit.ScriptModule, nn.Module]:
    """Trace a module's call, or if its output cannot be traced, a module that returns only its tensors.

    Args:
        engine: the engine that runs the trace.
        module: the module.
        inputs: its inputs.
        flat: makes the module that returns only tensors.

    Returns:
        The trace, and the traced module.

    Raises:
        SkippedError: the module works, but cannot be traced, or the trace would be empty.
    """
    skipped = f"engine={engine} runs traced modules; this one "
    try:
        script = trace(module, inputs)
    except Exception as first:
        module(*inputs)  # raises what fails untraced too
        module = flat(module)
        try:
            script = trace(module, inputs)
        except SkippedError as error:
            raise SkippedError(f"{skipped}{error}") from error
        except Exception as error:
            raise SkippedError(f"{skipped}cannot be traced: {first_line(first)}") from error
    if not any("Tensor" in str(each.type()) for each in script.graph.outputs()):
        raise SkippedError(f"{skipped}{EMPTY}")
    return script, module
