"""The inputs of an exported model, as its file declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microbench.config import ModelConfig
from microbench.errors import UserError, unknown
from microbench.workloads.inputs import are_sizes, draws_numbers, tensor
from microbench.workloads.unused import refuse

ANY_SIZE = "?"
BYTE = 256
"""How many values uint8 has: images of bytes are drawn from all of them."""


@dataclass(frozen=True)
class Declared:
    """An input as a file declares it.

    Attributes:
        name: its name.
        dtype: its type.
        shape: its sizes, the batch first; a dynamic one is its name or `?`. None if the file does not say.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...] | None

    @property
    def is_dynamic(self) -> bool:
        """Whether a size besides the batch is not known."""
        return self.shape is None or not all(isinstance(size, int) for size in self.shape[1:])

    def __str__(self) -> str:
        return f"{self.name} of shape {'?' if self.shape is None else _text(self.shape)}"


def draw(file: str, declared: Sequence[Declared], config: ModelConfig, batch_size: int) -> list[Tensor]:
    """Draw the inputs that a file declares, on the current default device.

    Args:
        file: the file's name, for errors.
        declared: its inputs.
        config: sizes that the file leaves open, and how to draw.
        batch_size: items in the batch.

    Raises:
        UserError: the file has another batch, or leaves something open that the configuration does not say,
            or the configuration says what no input leaves open.
    """
    if not declared:
        raise UserError(f"{file} has no inputs, so there is nothing to measure.")
    _check_batch(file, declared, batch_size)
    given = _given(file, declared, config.inputs)
    takes_shape = [each for each in declared if _takes_shape(each, given, len(declared) == 1)]
    if not takes_shape:
        refuse(config, "input_shape", why=f"has no effect, because {file} leaves no other sizes open")
    if not any(_needs_bound(each, given.get(each.name, {})) for each in declared):
        refuse(config, "input_high", why=f"has no effect, because {file} takes no other indices")
    return [_drawn(file, each, given, config, batch_size, each in takes_shape) for each in declared]


def _takes_shape(each: Declared, given: Mapping[str, dict[str, Any]], is_only: bool) -> bool:
    """Return whether `model.input_shape` is about an input."""
    return "shape" not in given.get(each.name, {}) and (each.is_dynamic or is_only)


def _needs_bound(each: Declared, fields: Mapping[str, Any]) -> bool:
    """Return whether `model.input_high` is about an input with these fields."""
    return not draws_numbers(each.dtype) and "high" not in fields and "fill" not in fields


def _check_batch(file: str, declared: Sequence[Declared], batch_size: int) -> None:
    """Raise a UserError if all batches are fixed, the first at another size: throughput is per item."""
    shapes = [each.shape for each in declared if each.shape != ()]
    firsts = [ANY_SIZE if shape is None else shape[0] for shape in shapes]
    if firsts and firsts[0] != batch_size and all(isinstance(size, int) for size in firsts):
        raise UserError(
            f"{file} was exported for a batch of {firsts[0]}: give batch_size={firsts[0]} (got {batch_size})."
        )


def _given(file: str, declared: Sequence[Declared], inputs: Any) -> dict[str, dict[str, Any]]:
    """Return the fields that `model.inputs` gives, by the name of the input.

    Raises:
        UserError: the file has no such input.
    """
    if inputs is None:
        return {}
    names = [each.name for each in declared]
    if not isinstance(inputs, Mapping):
        listed = [inputs] if are_sizes(inputs) else inputs
        if not isinstance(listed, Sequence) or len(listed) > len(names):
            raise UserError(f"model.inputs={inputs} is not possible: {file} takes {', '.join(names)}.")
        inputs = dict(zip(names, listed, strict=False))
    for name, each in inputs.items():
        if name not in names:
            raise unknown(f"input of {file}", str(name), names)
        if not isinstance(each, Mapping) and not are_sizes(each):
            raise UserError(
                f"model.inputs.{name}={each} is not possible: give sizes without the batch, such as "
                "[3,224,224], or fields, such as {high: 1000}."
            )
    return {
        name: dict(each) if isinstance(each, Mapping) else {"shape": each} for name, each in inputs.items()
    }


def _drawn(
    file: str,
    each: Declared,
    given: Mapping[str, dict[str, Any]],
    config: ModelConfig,
    batch_size: int,
    takes_shape: bool,
) -> Tensor:
    fields = {"dtype": str(each.dtype).removeprefix("torch."), **given.get(each.name, {})}
    option = f"model.inputs.{each.name}"
    if "shape" not in fields:
        is_meant = config.input_shape and takes_shape
        option = "model.input_shape" if is_meant else option
        fields |= {"shape": config.input_shape} if is_meant else _own_shape(file, each, batch_size)
    found = tensor(f"model.inputs.{each.name}", _bounded(file, each, fields, config), batch_size)
    if found.dtype != each.dtype or not _fits(found.shape, each.shape):
        what = f"{str(found.dtype).removeprefix('torch.')} of shape {_text(found.shape)}"
        raise UserError(
            f"{option} makes {each.name} {what}, and {file} takes "
            f"{str(each.dtype).removeprefix('torch.')} of shape {_text(each.shape or (ANY_SIZE,))}."
        )
    return found


def _own_shape(file: str, each: Declared, batch_size: int) -> dict[str, Any]:
    """Return the fields of a shape that the file alone determines.

    Raises:
        UserError: it leaves sizes besides the batch open.
    """
    if each.shape is None or each.is_dynamic:
        sizes = (ANY_SIZE,) if each.shape is None else each.shape[1:]
        example = ",".join(str(size) if isinstance(size, int) else "SIZE" for size in sizes)
        raise UserError(
            f"{file} leaves open the sizes of {each}: give model.input_shape=[{example}], without the batch."
        )
    has_batch = bool(each.shape) and (isinstance(each.shape[0], str) or each.shape[0] == batch_size)
    return {"shape": list(each.shape[1:] if has_batch else each.shape), "batch": has_batch}


def _bounded(file: str, each: Declared, fields: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Return an input's fields with the bound that integers need.

    Raises:
        UserError: none is given.
    """
    if not _needs_bound(each, fields):
        return fields
    high = BYTE if config.input_high is None and each.dtype is torch.uint8 else config.input_high
    if high is None:
        raise UserError(
            f"{file} takes indices as {each.name} ({fields['dtype']}): give model.input_high=N, the "
            f"exclusive upper bound, or 'model.inputs={{{each.name}: {{high: N}}}}', or fill: 1 for a mask."
        )
    return fields | {"high": high}


def _fits(shape: Sequence[int], declared: Sequence[int | str] | None) -> bool:
    return declared is None or (
        len(shape) == len(declared)
        and all(isinstance(other, str) or size == other for size, other in zip(shape, declared, strict=True))
    )


def _text(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"
