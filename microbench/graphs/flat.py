"""A module that can be traced whatever it puts out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from microbench.errors import SkippedError
from microbench.workloads import tensors

EMPTY = "no tensor is found in what it puts out, so its graph would compute nothing"
"""Why a module is not captured as a graph."""


class Flat(nn.Module):
    """A module that puts out its tensors in a row: tracing stops at None, and at other things."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the module's output.

        Raises:
            SkippedError: there are none.
        """
        found = tuple(tensors(self.module(*inputs)))
        if not found:
            raise SkippedError(EMPTY)
        return found


def is_empty(traced: torch.jit.ScriptModule) -> bool:
    """Whether a trace puts out no tensor."""
    return not any("Tensor" in str(each.type()) for each in traced.graph.outputs())
