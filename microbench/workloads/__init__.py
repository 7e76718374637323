"""WHAT is computed: a module, its example inputs and its objective; one module a source of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, MemberDescriptorType, ModuleType
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


ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size))
"""Types of what is often given beside tensors, and has none in it."""

HOLDS_OTHERS = (nn.Module, type, ModuleType, FunctionType, torch.SymInt, torch.SymFloat, torch.SymBool)
"""Types whose attributes are no part of a value: of code, of a module's state, of a symbol's environment."""

CONTAINERS = (tuple, list, deque, set, frozenset)
DEEPEST = 100  # containers and objects within each other: what nests deeper is no output


def tensors(output: Any) -> Iterator[Tensor]:
    """Every tensor in an output, however nested in mappings, sequences and attributes of objects.

    Modules are not searched. What an output holds twice comes twice, unless an object holds it.
    """
    if isinstance(output, Tensor):
        yield output
    else:
        yield from _search(output, (), set())


def _search(value: Any, within: tuple[int, ...], objects: set[int]) -> Iterator[Tensor]:
    """The tensors in a value that is none, which lies within others, after some objects were searched."""
    kind, key = type(value), id(value)
    if kind in ATOMS or key in within or key in objects or len(within) == DEEPEST:
        return
    within = (*within, key)
    if kind is tuple or kind is list:  # backward looks into these while it is timed
        yield from _search_each(value, within, objects)
    elif isinstance(value, Mapping):
        yield from _search_all(value.values(), value, within, objects)
    elif isinstance(value, CONTAINERS):
        yield from _search_all(value, value, within, objects)
    elif not isinstance(value, HOLDS_OTHERS):
        objects.add(key)
        yield from _search_each(_attributes(value), within, objects)


def _search_each(values: Iterable[Any], within: tuple[int, ...], objects: set[int]) -> Iterator[Tensor]:
    for each in values:
        if isinstance(each, Tensor):
            yield each
        else:
            yield from _search(each, within, objects)


def _search_all(
    items: Iterable[Any], container: Any, within: tuple[int, ...], objects: set[int]
) -> Iterator[Tensor]:
    """The tensors in a container's items, and in its attributes those that are not among them."""
    found = list(_search_each(items, within, objects))
    yield from found
    if type(container) is not dict:
        known = set(map(id, found))
        attributes = _search_each(_attributes(container), within, objects)
        yield from (each for each in attributes if id(each) not in known)


def _attributes(value: Any) -> Iterator[Any]:
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        for slot in vars(kind).values():
            if isinstance(slot, MemberDescriptorType):  # of `__slots__`
                with suppress(AttributeError):  # nothing was put there
                    yield slot.__get__(value)


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
