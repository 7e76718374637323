"""A workload: a module, its example inputs and its objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary


class Objective(Protocol):
    """Where the backward pass starts.

    Attributes:
        is_loss: calling it computes a loss, which is then a phase of its own.
    """

    is_loss: bool

    def __call__(self, output: Any) -> Any:
        """What the backward pass starts from, given the module's output."""
        ...

    def backward(self, root: Any) -> None:
        """Compute the gradients of everything that `root` depends on."""
        ...


@dataclass(frozen=True)
class Workload:
    """What is computed.

    Attributes:
        name: what the tables call it.
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
        """Torch's name of what it lies on: `cpu`, `cuda`."""
        return self.inputs[0].device.type

    def shape(self) -> str:
        """The inputs' shapes as text: `8x3x224x224`, joined by a comma for several."""
        return ", ".join("x".join(map(str, tensor.shape)) for tensor in self.inputs)


DEVIATION = 0.02


def draw_if_zero(weight: Tensor) -> Tensor:
    """Draw a weight that a model leaves at zero, to be trained: ViT's last, which makes every output zero.

    Wrong answers would be right then too. The deviation is that of ViT's other weights. As with functions of
    `torch.nn.init`, an active mode of torch's may put it off.
    """
    if has_torch_function_unary(weight):
        return handle_torch_function(draw_if_zero, (weight,), weight)
    return weight if weight.any() else nn.init.trunc_normal_(weight, std=DEVIATION)
