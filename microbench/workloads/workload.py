"""A workload: a module, its example inputs and its objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from microbench.workloads.objectives import Objective


@dataclass(frozen=True)
class Workload:
    """What is computed.

    Attributes:
        name: its name in tables.
        module: the module, on its device.
        inputs: the example inputs of one call, on the same device.
        objective: where the backward pass starts.
        item: the name, in the plural, of what the throughput counts: images, tokens.
        items: their number in one call; None for that of the batch.
        compared: returns what is compared of an output; by default all of it.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    objective: Objective
    item: str = "items"
    items: int | None = None
    compared: Callable[[Any], Any] | None = None

    @property
    def device_type(self) -> str:
        """Torch's name of its device: `cpu`, `cuda`."""
        return self.inputs[0].device.type

    def shape(self) -> str:
        """Return the inputs' shapes as text: `8x3x224x224`, joined by a comma for several."""
        return ", ".join("x".join(map(str, tensor.shape)) for tensor in self.inputs)


BOXES = 8
"""Boxes of an image in the training of detectors; one of COCO has 7.3 (Lin et al. 2014, section 5)."""

DEVIATION = 0.02


def draw_if_zero(weight: Tensor) -> Tensor:
    """Draw a weight that a model initializes to zero, such as ViT's last, which makes every output zero.

    Otherwise wrong answers would pass the check too. The deviation is that of ViT's other weights. As with
    functions of `torch.nn.init`, an active torch function mode may defer it.
    """
    if has_torch_function_unary(weight):
        return handle_torch_function(draw_if_zero, (weight,), weight)
    return weight if weight.any() else nn.init.trunc_normal_(weight, std=DEVIATION)


OFF = 1e-3
"""A scale below it switches off the branch that it multiplies."""


def switch_on(module: nn.Module) -> None:
    """Draw the weights that a model initializes to zero, and set its scales that are almost zero to 1.

    With such scales (of a residual block's last normalization, or of a whole branch) a model begins as little
    more than its shortcuts, and errors in everything else would pass the check.
    """
    for name, parameter in module.named_parameters():
        if "bias" in name.rpartition(".")[2]:
            continue
        if parameter.numel() != max(parameter.shape, default=1):
            draw_if_zero(parameter)
        elif parameter.min() == parameter.max() and parameter.abs().max() < OFF:
            nn.init.ones_(parameter)
