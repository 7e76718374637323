"""What is known of a model's calls one by one: the rows of a profile, as its records tell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from statistics import median
from typing import Any

Record = Mapping[str, Any]


class Kind(StrEnum):
    """What a row is of.

    A module that calls no other (a leaf call), one of torch's operators that is called outside these, a
    module that calls others, or the time between the calls that is in none of them.
    """

    MODULE = "module"
    FUNCTION = "function"
    CONTAINER = "container"
    OVERHEAD = "overhead"


OVERHEAD = "overhead"
"""The name of the row that holds what none of the calls takes."""

PAPER = ("params", "flops", "macc", "mem_r", "mem_w")
TIMED = ("lat", "net_lat")
MEMORY = ("mem_alloc", "mem_peak", "mem_total")
UNITS = {
    "params": "1",
    "flops": "FLOP",
    "macc": "MAC",
    **dict.fromkeys(("mem_r", "mem_w", *MEMORY), "B"),
    **dict.fromkeys(TIMED, "s"),
}
"""By the metric of a layer's records, its unit."""


@dataclass(frozen=True)
class Layer:
    """Which call a record is of.

    Attributes:
        name: the module's dotted name; empty for the whole model. A function's is its caller's and its own.
        index: its place among the calls of modules without others in them and of functions, from 0; None for
            a module that calls others.
        order: its place among all calls in the order in which they begin, from 0.
        depth: how many calls it lies within.
        kind: what it is.
        type: the class's name, or the operator's.
        in_shape: the shapes of what it is given, such as `(1, 3, 224, 224)`; several are joined by commas.
        out_shape: the shapes of what it returns.
        dtype: the number format of what it returns.
    """

    name: str
    index: int | None
    order: int
    depth: int
    kind: Kind
    type: str
    in_shape: str = ""
    out_shape: str = ""
    dtype: str = ""

    def fields(self) -> dict[str, Any]:
        """The record's fields."""
        return {_field(name): value for name, value in vars(self).items()}


def _field(name: str) -> str:
    return "layer" if name == "name" else f"layer_{name}"


NO_LAYER: Mapping[str, None] = dict.fromkeys(_field(item.name) for item in fields(Layer))
"""The fields of a record that is of no layer."""


@dataclass(frozen=True)
class Costs:
    """What a row costs, on paper and in fact; None where that was not counted or measured.

    Attributes:
        params: numbers of parameters.
        flops: floating-point operations.
        macc: multiply-accumulates.
        mem_r: bytes read.
        mem_w: bytes written.
        backward: floating-point operations of the backward pass.
        lat: seconds with all calls within it.
        net_lat: seconds without them.
        mem_alloc: bytes that it allocates and leaves allocated.
        mem_peak: bytes over the level at its begin that are allocated at most.
        mem_total: bytes over the level at the model's begin that are allocated at its end.
    """

    params: int | None = None
    flops: int | None = None
    macc: int | None = None
    mem_r: int | None = None
    mem_w: int | None = None
    backward: int | None = None
    lat: float | None = None
    net_lat: float | None = None
    mem_alloc: int | None = None
    mem_peak: int | None = None
    mem_total: int | None = None

    @property
    def mem_rw(self) -> int | None:
        """Bytes read and written."""
        return None if self.mem_r is None or self.mem_w is None else self.mem_r + self.mem_w


@dataclass(frozen=True)
class Row:
    """A call, or several, with what they cost.

    Attributes:
        layer: which call; of several, the first.
        costs: what they cost together.
        calls: how many they are.
    """

    layer: Layer
    costs: Costs
    calls: int = 1


def rows_of(attempts: Iterable[Sequence[Record]]) -> list[Row]:
    """The calls that the records of a case's rounds are of, in their order, with what the rounds say of each.

    Times are the medians over rounds; what is counted is the same in each round.
    """
    found: dict[int, tuple[Layer, dict[str, list[float]]]] = {}
    for attempt in attempts:
        for record in attempt:
            if record.get("layer_order") is not None and record["median"] is not None:
                _, figures = found.setdefault(record["layer_order"], (_layer(record), {}))
                figures.setdefault(cost_of(record["phase"], record["metric"]), []).append(record["median"])
    return [
        row_of(layer, {name: median(values) for name, values in figures.items()})
        for _, (layer, figures) in sorted(found.items())
    ]


def cost_of(phase: str, metric: str) -> str:
    """The name among `Costs` of a metric in a phase."""
    return "backward" if phase == "backward" else metric


def row_of(layer: Layer, figures: Mapping[str, float]) -> Row:
    """The row of a call, of its costs' names and figures: all but times are whole numbers.

    A call with none within it takes by itself what it takes.
    """
    costs = {name: value if name in TIMED else int(value) for name, value in figures.items()}
    if layer.kind is not Kind.CONTAINER and "lat" in costs:
        costs["net_lat"] = costs["lat"]
    return Row(layer, Costs(**costs))  # type: ignore[arg-type]


def _layer(record: Record) -> Layer:
    values = {item.name: record[_field(item.name)] for item in fields(Layer)}
    return Layer(**{**values, "kind": Kind(values["kind"])})
