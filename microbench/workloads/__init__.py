"""WHAT is computed: a module, its example inputs and its objective; one module a source of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from microbench import registry
from microbench.config import ModelConfig


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


def tensors(output: Any) -> Iterator[Tensor]:
    """Every tensor in an output, however nested in dictionaries, tuples, lists and dataclasses."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from tensors(item)
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from tensors(item)
    elif is_dataclass(output) and not isinstance(output, type):
        for each in fields(output):
            yield from tensors(getattr(output, each.name))


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


Build = Callable[[ModelConfig, int, torch.device, bool], Workload]


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool, seed: int) -> Workload:
    """Build a workload with random weights and inputs, drawn from `seed`.

    Where the configuration names a part of a model, that part is the workload.

    Raises:
        UserError: the configuration describes no workload.
    """
    torch.manual_seed(seed)
    if config.part is not None:
        from microbench.profile import parts  # which builds the whole by the functions of this room

        return parts.build(config, batch_size, device, training, seed)
    make: Build = registry.find("workloads", config.source).build
    return make(config, batch_size, device, training)
