"""Example inputs, drawn at random as a configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from microbench.config import ModelConfig
from microbench.errors import UserError, unknown
from microbench.watch.tensors import tensors
from microbench.workloads.unused import refuse

DTYPES = (
    *("float32", "float64", "bfloat16", "float16"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)
FIELDS = ("shape", "dtype", "low", "high", "fill", "batch")
"""The fields of an input's description; see docs/workloads.md."""

ALIKE = ("input_shape", "input_count", "input_shared", "input_dtype", "input_high")
"""The options of inputs that are all alike."""


def draw(
    config: ModelConfig, module: nn.Module, batch_size: int, training: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Draw a module's positional and keyword arguments, on the current default device.

    In training, floating-point inputs require a gradient if no parameter does, unless the configuration says
    otherwise.

    Raises:
        UserError: the description is not possible, an option has no effect, or in training there is nothing
            to differentiate.
    """
    args: list[Any]
    kwargs: dict[str, Any]
    if config.inputs is None:
        args, kwargs = _alike(config, batch_size), {}
    else:
        refuse(config, *ALIKE, why="has no effect, because model.inputs describes each argument")
        args, kwargs = _described(config.inputs, batch_size)
    learns = any(parameter.requires_grad for parameter in module.parameters())
    wants_gradient = not learns if config.input_grad is None else config.input_grad
    numbers = [each for each in tensors((args, kwargs)) if each.is_floating_point()]
    if training and not (learns or (wants_gradient and numbers)):
        mended = "indices have no gradient" if wants_gradient else "leave out model.input_grad=false"
        raise UserError(f"{config.name} has no parameters, so there is nothing to differentiate: {mended}.")
    for each in numbers:
        each.requires_grad_(training and wants_gradient)
    return args, kwargs


def _alike(config: ModelConfig, batch_size: int) -> list[Any]:
    """Draw inputs that all have the shape `config.input_shape`."""
    if config.input_dtype not in DTYPES:
        raise unknown("model.input_dtype", config.input_dtype, DTYPES)
    shape, dtype = (batch_size, *config.input_shape), getattr(torch, config.input_dtype)
    if not draws_numbers(dtype) and config.input_high is None:
        raise UserError(f"model.input_dtype={config.input_dtype} draws indices: give model.input_high=N.")
    count = 1 if config.input_shared else config.input_count
    drawn = [_random(shape, dtype, None, config.input_high) for _ in range(count)]
    return drawn * (config.input_count // count)


def _described(inputs: Any, batch_size: int) -> tuple[list[Any], dict[str, Any]]:
    """Draw the arguments that `model.inputs` describes: by name, in a list, or one alone by its sizes."""
    if isinstance(inputs, Mapping):
        return [], {name: tensor(f"model.inputs.{name}", each, batch_size) for name, each in inputs.items()}
    if are_sizes(inputs):
        return [tensor("model.inputs", inputs, batch_size)], {}
    return [tensor(f"model.inputs[{place}]", each, batch_size) for place, each in enumerate(inputs)], {}


def tensor(key: str, described: Any, batch_size: int) -> Tensor:
    """Draw one tensor.

    Args:
        key: its key, for errors.
        described: its sizes without the batch, or its fields.
        batch_size: items in the batch.
    """
    fields = {"shape": described} if are_sizes(described) else described
    if not isinstance(fields, Mapping):
        raise UserError(
            f"{key}={described} is not possible: give sizes without the batch, such as [3,224,224], or "
            "fields, such as {shape: [128], dtype: int64, high: 1000}; constants are model.call_kwargs."
        )
    for name in fields:
        if name not in FIELDS:
            raise unknown(f"field of {key}", str(name), FIELDS)
    sizes: Any = fields.get("shape")
    if not are_sizes(sizes):
        raise UserError(f"{key}.shape={sizes} is not possible: give sizes of at least 1 without the batch.")
    if (name := fields.get("dtype", "float32")) not in DTYPES:
        raise unknown(f"{key}.dtype", str(name), DTYPES)
    dtype: torch.dtype = getattr(torch, name)
    shape = (batch_size, *sizes) if fields.get("batch", True) else tuple(sizes)
    low, high, fill = (fields.get(each) for each in ("low", "high", "fill"))
    for field, value in {"low": low, "high": high, "fill": fill}.items():
        if value is not None and not isinstance(value, (int, float)):
            raise UserError(f"{key}.{field}={value} is not possible: give a number.")
    if fill is not None:
        return torch.full(shape, fill, dtype=dtype)
    if not draws_numbers(dtype) and high is None:
        raise UserError(f"{key} draws indices of {name}: give high, the exclusive upper bound, or fill.")
    if high is not None and high <= (low or 0):
        raise UserError(f"{key}.high={high} is not possible: give a number above low={low or 0}.")
    return _random(shape, dtype, low, high)


def _random(shape: tuple[int, ...], dtype: torch.dtype, low: float | None, high: float | None) -> Tensor:
    """Draw numbers: uniform from [low, high) if given; else standard normal, or for truth values, evenly."""
    if dtype is torch.bool:
        return torch.randint(2, shape).bool()
    if not dtype.is_floating_point:
        assert high is not None
        return torch.randint(int(low or 0), int(high), shape, dtype=dtype)
    if low is None and high is None:
        return torch.randn(shape, dtype=dtype)
    low, high = low or 0.0, 1.0 if high is None else high
    return torch.rand(shape, dtype=dtype) * (high - low) + low


def draws_numbers(dtype: torch.dtype) -> bool:
    """Return whether values can be drawn without a bound."""
    return dtype.is_floating_point or dtype is torch.bool


def are_sizes(value: Any) -> bool:
    """Return whether a value is a list of sizes of at least 1."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and all(type(size) is int and size >= 1 for size in value)
