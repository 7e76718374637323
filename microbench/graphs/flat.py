"""A module that can be traced whatever it puts out."""

from __future__ import annotations

from torch import Tensor, nn

from microbench.workloads import tensors


class Flat(nn.Module):
    """A module that puts out its tensors in a row: tracing stops at None, and at other things."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the module's output."""
        return tuple(tensors(self.module(*inputs)))
