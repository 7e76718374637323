"""A workload: a module, its example inputs and its objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

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


@dataclass(frozen=True)
class Workload:
    """What is computed.

    Attributes:
        name: its name in tables.
        module: the module, on its device.
        inputs: the example inputs of one call, on the same device.
        objective: where the backward pass starts.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    objective: Objective

    @property
    def device_type(self) -> str:
        """Torch's name of its device: `cpu`, `cuda`."""
        return self.inputs[0].device.type

    def shape(self) -> str:
        """Return the inputs' shapes as text: `8x3x224x224`, joined by a comma for several."""
        return ", ".join("x".join(map(str, tensor.shape)) for tensor in self.inputs)


DEVIATION = 0.02


def draw_if_zero(weight: Tensor) -> Tensor:
    """Draw a weight that a model initializes to zero, such as ViT's last, which makes every output zero.

    Otherwise wrong answers would pass the check too. The deviation is that of ViT's other weights. As with
    functions of `torch.nn.init`, an active torch function mode may defer it.
    """
    if has_torch_function_unary(weight):
        return handle_torch_function(draw_if_zero, (weight,), weight)
    return weight if weight.any() else nn.init.trunc_normal_(weight, std=DEVIATION)


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
