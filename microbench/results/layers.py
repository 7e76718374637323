"""What is known of a model's calls one by one: the rows of a profile, as its records tell them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import chain
from typing import Any

from microbench.results.typical import mean_at, middle_half

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
TIME = "lat"
TIMED = (TIME, "net_lat")
MEMORY = ("mem_alloc", "mem_peak", "mem_total")
UNITS = {
    "params": "1",
    "flops": "FLOP",
    "macc": "MAC",
    "unknown": "1",
    **dict.fromkeys(("mem_r", "mem_w", *MEMORY), "B"),
    TIME: "s",
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
        unknown: operators that no rule knows, whose operations are missing; None where there are none.
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
    unknown: int | None = None
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
    """A call, with what it costs.

    Attributes:
        layer: which call.
        costs: what it costs.
    """

    layer: Layer
    costs: Costs


@dataclass(frozen=True)
class Figures:
    """What is known of a call.

    Attributes:
        layer: which call.
        counted: by the name among `Costs`, what was counted of it.
        samples: its times in seconds with all calls within it, one a pass; none where it was not timed.
    """

    layer: Layer
    counted: Mapping[str, float]
    samples: Sequence[float] = ()


def rows_of(figures: Sequence[Figures]) -> list[Row]:
    """A row for each of a model's calls, given in the order in which they begin.

    Times are means over the middle half of the passes, see `typical`: of modules by the model's time in their
    pass, of functions, which have a pass of their own, by the time of all of them.
    """
    of_modules = _middle([figures[0].samples] if figures else [])
    of_functions = _middle([each.samples for each in figures if each.layer.kind is Kind.FUNCTION])
    lat = [
        mean_at(each.samples, of_functions if each.layer.kind is Kind.FUNCTION else of_modules)
        if each.samples
        else None
        for each in figures
    ]
    inner = _inner([each.layer.depth for each in figures], lat)
    return [
        Row(
            each.layer,
            Costs(
                **{name: int(value) for name, value in each.counted.items()},
                lat=total,
                net_lat=None if total is None else total - within,
            ),
        )
        for each, total, within in zip(figures, lat, inner, strict=True)
    ]


def _middle(samples: Sequence[Sequence[float]]) -> list[int]:
    """The middle half of the passes by the sum of the calls' times in each."""
    return middle_half([sum(times) for times in zip(*samples, strict=True)])


def _inner(depths: Sequence[int], lat: Sequence[float | None]) -> list[float]:
    """By call, the time of the calls that it makes itself, given in the order in which they begin."""
    found, open_calls = [0.0] * len(lat), list[int]()
    for place, depth in enumerate(depths):
        del open_calls[depth:]
        if open_calls:
            found[open_calls[-1]] += lat[place] or 0.0
        open_calls.append(place)
    return found


def figures_of(attempts: Iterable[Sequence[Record]]) -> list[Figures]:
    """What the records of a case's rounds say of its calls, in the order in which they begin.

    What is counted is the same in each round; times are those of all rounds, one after the other.
    """
    layers: dict[int, Layer] = {}
    counted: defaultdict[int, dict[str, float]] = defaultdict(dict)
    samples: defaultdict[int, list[float]] = defaultdict(list)
    for record in chain.from_iterable(attempts):
        order = record.get("layer_order")
        if order is None or record["median"] is None:
            continue
        layers.setdefault(order, _layer(record))
        if record["metric"] == TIME:
            samples[order] += record["samples"]
        else:
            counted[order][cost_of(record["phase"], record["metric"])] = record["median"]
    return [Figures(layers[order], counted[order], samples[order]) for order in sorted(layers)]


def cost_of(phase: str, metric: str) -> str:
    """The name among `Costs` of a metric in a phase."""
    return "backward" if phase == "backward" else metric


def _layer(record: Record) -> Layer:
    values = {item.name: record[_field(item.name)] for item in fields(Layer)}
    return Layer(**{**values, "kind": Kind(values["kind"])})
