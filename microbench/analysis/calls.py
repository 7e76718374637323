"""A profile's calls as rows: what each of them is, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain

from msgspec.structs import replace

from microbench.analysis.typical import mean_at, middle_half
from microbench.records.record import Call, Kind

OVERHEAD = "overhead"
"""The name of the row that holds what none of the calls takes."""

PAPER = ("params", "flops", "macc", "mem_r", "mem_w")
TIMED = ("lat", "net_lat")
MEMORY = ("mem_alloc", "mem_peak", "mem_total")


@dataclass(frozen=True)
class Layer:
    """Which call a row is of; see the fields of the same names of `Call`."""

    name: str
    index: int | None
    order: int
    depth: int
    kind: Kind
    type: str
    in_shape: str = ""
    out_shape: str = ""
    dtype: str = ""


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
class Entry:
    """A row of a view.

    Attributes:
        layer: which call; of several, the first, with the shapes and number format that they have in common.
        costs: what it stands for costs, together.
        parts: the calls that it stands for: those of modules without others in them, and of functions.
    """

    layer: Layer
    costs: Costs
    parts: Sequence[Row]

    @property
    def intensity(self) -> float | None:
        """FLOP per byte read or written; None without bytes."""
        flops, size = self.costs.flops, self.costs.mem_rw
        return flops / size if flops is not None and size else None


def rows_of(calls: Sequence[Call]) -> list[Row]:
    """A row for each of a model's calls, given in the order in which they begin.

    Times are means over the middle half of the passes, see `typical`: of modules by the model's time in their
    pass, of operators, which have a pass of their own, by the time of all of them.
    """
    of_modules = _middle([calls[0].times] if calls else [])
    of_operators = _middle([call.times for call in calls if call.kind is Kind.FUNCTION])
    lat = [
        mean_at(call.times, of_operators if call.kind is Kind.FUNCTION else of_modules)
        if call.times
        else None
        for call in calls
    ]
    inner = _inner([call.depth for call in calls], lat)
    return [
        Row(
            Layer(**{item.name: getattr(call, item.name) for item in fields(Layer)}),
            Costs(
                **{item.name: getattr(call, item.name) for item in fields(Costs) if item.name not in TIMED},
                lat=total,
                net_lat=None if total is None else total - within,
            ),
        )
        for call, total, within in zip(calls, lat, inner, strict=True)
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


def merged(rounds: Iterable[Sequence[Call]]) -> list[Call]:
    """The calls of a case, from those of its rounds: what was counted in the first, the times of all."""
    first, *others = rounds
    return [
        replace(call, times=list(chain(call.times, *(each[place].times for each in others))))
        for place, call in enumerate(first)
    ]
