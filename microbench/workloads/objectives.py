"""Where the backward pass starts: a loss, or the output itself."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from microbench.errors import UserError
from microbench.watch.tensors import tensors


class Objective(Protocol):
    """Where the backward pass starts.

    Attributes:
        is_loss: whether calling it computes a loss, which is then a phase of its own.
    """

    is_loss: bool

    def __call__(self, output: Any) -> Any:
        """Return the value that the backward pass starts from, given the module's output."""
        ...

    def backward(self, root: Any) -> None:
        """Compute the gradients of everything that `root` depends on."""
        ...


class Loss:
    """A loss, a scalar that is computed from the output; what it is, a subclass says."""

    is_loss = True

    def __call__(self, output: Any) -> Tensor:
        """Return the loss."""
        raise NotImplementedError

    def backward(self, root: Tensor) -> None:
        """Backpropagate from the loss."""
        root.backward()  # type: ignore[no-untyped-call]


class OnesGradient:
    """The gradient of the sum of all outputs: backward starts from ones of each output's shape."""

    is_loss = False

    def __init__(self) -> None:
        self._ones: list[Tensor] = []

    def __call__(self, output: Any) -> Any:
        """Return the output itself."""
        return output

    def backward(self, root: Any) -> None:
        """Backpropagate ones; they are made at the first call and reused."""
        outputs = [root] if isinstance(root, Tensor) else [t for t in tensors(root) if t.requires_grad]
        if not self._ones:
            if not any(tensor.requires_grad for tensor in outputs):
                raise UserError("nothing in the output requires a gradient, so the layer cannot train")
            self._ones = [torch.ones_like(tensor) for tensor in outputs]
        torch.autograd.backward(outputs, self._ones)
