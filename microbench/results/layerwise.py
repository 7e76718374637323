"""A model's layers beside the model: how often each is called, and what it takes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DistinctLayer:
    """A layer of a model, with all others that are like it.

    Attributes:
        part: what `model.part` calls its first call.
        name: the dotted name of the module that is called first.
        index: the place of that call among all calls of layers, from 0.
        type: the class's name.
        arguments: what it was made with.
        in_shape: the shapes of what it is given, such as `(1, 3, 224, 224)`; several are joined by commas.
        count: how often the model calls it, or one like it.
        unmeasured: why it is not measured; None where it is.
    """

    part: str
    name: str
    index: int
    type: str
    arguments: str
    in_shape: str
    count: int
    unmeasured: str | None = None


FIELDS = {
    "layer": "name",
    "layer_index": "index",
    "layer_type": "type",
    "layer_arguments": "arguments",
    "layer_in_shape": "in_shape",
    "layer_count": "count",
}
"""By a record's field, the attribute that it holds."""


def fields_of(layer: DistinctLayer | None) -> Mapping[str, Any]:
    """The fields of the records of a layer's case; of another case's, all are None."""
    return {key: None if layer is None else getattr(layer, name) for key, name in FIELDS.items()}
