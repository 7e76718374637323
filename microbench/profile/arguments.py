"""A user's module and its arguments, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from microbench.errors import UserError
from microbench.watch.tensors import tensors

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arguments:
    """A module's arguments."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def check(model: Any) -> None:
    """Reject a model that is not a module, or not ready to be called.

    Raises:
        UserError: it is such a model.
    """
    if not isinstance(model, nn.Module):
        kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise UserError(f"model must be a torch.nn.Module, not {kind}.")
    if not hasattr(model, "_modules"):
        raise UserError(
            f"{type(model).__name__} is not initialized: call super().__init__() in its __init__."
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise UserError("The module is lazy, and its shapes are not known yet: call it once first.")


def check_layers(model: nn.Module) -> None:
    """Reject a module whose layers do not run one by one.

    Raises:
        UserError: it, or one within it, is compiled.
    """
    if hasattr(model, "_orig_mod"):
        raise UserError("A compiled module does not run its layers one by one: profile model._orig_mod.")
    for name, each in model.named_modules():
        if is_compiled(each):
            raise UserError(
                f"{name or 'The module'} is compiled, and does not run its layers one by one: profile the "
                "model without compiling it."
            )


def is_compiled(module: nn.Module) -> bool:
    """Return whether a module was compiled, by torch.compile or in place."""
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None


def home(model: nn.Module) -> torch.device | None:
    """Return the device of a module's parameters and buffers; None if it has none."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return None if first is None else first.device


def place_of(model: nn.Module, inputs: Any) -> torch.device:
    """Return the device where a module runs: that of its parameters, else of its inputs, else the default."""
    first = next(chain(model.parameters(), model.buffers(), tensors(inputs)), torch.empty(0))
    return first.device


def arguments_of(
    model: nn.Module,
    place: torch.device,
    inputs: Any,
    input_shape: Sequence[Any] | None,
    batch_size: int | None,
) -> Arguments:
    """Return the module's arguments: the given inputs, or standard normal ones of a shape.

    Args:
        model: the module.
        place: the device where it runs.
        inputs: the inputs.
        input_shape: instead, the shape of an input, or a list of such shapes.
        batch_size: items in the batch, which the shapes are then without.

    Raises:
        UserError: neither is given, or both, or the inputs are on another device.
    """
    if inputs is not None and input_shape is not None:
        raise UserError("Give inputs or input_shape, not both.")
    if inputs is None and input_shape is None:
        raise UserError("Give inputs=TENSORS, or input_shape=SIZES with the batch, such as (1, 3, 224, 224).")
    if inputs is None:
        return Arguments(_drawn(model, place, input_shape, batch_size))
    if batch_size is not None:
        raise UserError("batch_size is for input_shape: inputs have their own.")
    found = (
        Arguments(inputs)
        if type(inputs) is tuple  # a named one, such as a PackedSequence, is one argument
        else Arguments(kwargs=inputs)
        if isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs)
        else Arguments((inputs,))
    )
    places = {each.device for each in tensors((tuple(found.args), dict(found.kwargs)))}
    usual = {place, CPU} if place in places else {place}  # torch requires lengths of sequences on the CPU
    if strange := places - usual:
        raise UserError(
            f"An input is on {min(map(str, strange))} and the module on {place}: move it there with "
            f"inputs.to({str(place)!r})."
        )
    return found


def _drawn(
    model: nn.Module, place: torch.device, input_shape: Any, batch_size: int | None
) -> tuple[torch.Tensor, ...]:
    """Draw standard normal inputs of one or several shapes, in the type of the module's parameters."""
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise UserError(f"batch_size={batch_size} is not possible: give an integer of at least 1.")
    batch = () if batch_size is None else (batch_size,)
    shapes = [input_shape] if _is_shape(input_shape) else list(input_shape) if _is_list(input_shape) else []
    if not shapes or not all(_is_shape(shape) for shape in shapes):
        example = "(3, 224, 224) without the batch" if batch else "(1, 3, 224, 224) with the batch"
        raise UserError(
            f"input_shape={input_shape!r} is not possible: give sizes of at least 1, such as {example}, or a "
            "list of such shapes."
        )
    formats = [each.dtype for each in model.parameters() if each.is_floating_point()]
    dtype = formats[0] if formats else torch.get_default_dtype()
    return tuple(torch.randn((*batch, *shape), device=place, dtype=dtype) for shape in shapes)


def _is_list(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def _is_shape(value: Any) -> bool:
    return _is_list(value) and all(isinstance(size, int) and size > 0 for size in value)
