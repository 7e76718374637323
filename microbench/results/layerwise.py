"""A model's layers beside the model: how often each is called, and what it takes alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A distinct layer of a model.

    Attributes:
        part: what `model.part` calls its first call.
        name: the dotted name of the module that is called first.
        index: the place of that call among all calls of layers, from 0.
        type: the class's name.
        arguments: what it was made with.
        inputs: the shapes of its inputs, such as `8x64x56x56`.
        count: how often the model calls it, or one like it.
        unmeasured: why it is not measured; None where it is.
    """

    part: str
    name: str
    index: int
    type: str
    arguments: str
    inputs: str
    count: int
    unmeasured: str | None = None
