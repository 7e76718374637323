"""What a profile can say of a row: its columns, with their units, and which of them a view shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from microbench.analysis.calls import MEMORY, TIMED, Entry
from microbench.analysis.limits import Limits
from microbench.errors import UserError, unknown
from microbench.records.record import Kind

ALL = "all"
"""Stands for every column."""


class Profile(Protocol):
    """What columns need to know of a profile; see `analysis.profile`."""

    @property
    def seconds(self) -> float | None:
        """What the uninstrumented model takes."""
        ...

    @property
    def timed(self) -> bool:
        """Whether the calls were timed."""
        ...

    @property
    def training(self) -> bool:
        """Whether the calls are those of a training step."""
        ...

    @property
    def total(self) -> Entry:
        """The whole model."""
        ...

    def limits(self, entry: Entry) -> Limits:
        """How near an entry's calls come to what the machine's peaks allow."""
        ...

    def energy_of(self, entry: Entry) -> float | None:
        """An estimate of the energy that an entry's calls take, in pJ."""
        ...


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        unit: of its figures; empty where they have none.
        meaning: what it says, in a few words.
        value: what it says of an entry of a profile; None where that is not known.
    """

    unit: str
    meaning: str
    value: Callable[[Entry, Profile], Any]


def _of_layer(name: str) -> Callable[[Entry, Profile], Any]:
    return lambda entry, profile: getattr(entry.layer, name)


def _cost(name: str) -> Callable[[Entry, Profile], Any]:
    return lambda entry, profile: getattr(entry.costs, name)


def _rate(amount: str) -> Callable[[Entry, Profile], float | None]:
    def value(entry: Entry, profile: Profile) -> float | None:
        seconds, number = entry.costs.lat, getattr(entry.costs, amount)
        return number / seconds if number and seconds and seconds > 0 else None

    return value


def _limit(name: str) -> Callable[[Entry, Profile], Any]:
    return lambda entry, profile: getattr(profile.limits(entry), name)


def _share(entry: Entry, profile: Profile) -> float | None:
    """With what is within it: shares of calls that do not lie within each other add up to 1."""
    lat = entry.costs.lat
    return None if lat is None or not profile.seconds else lat / profile.seconds


COLUMNS: dict[str, Column] = {
    "index": Column("", "place in the order of execution", _of_layer("index")),
    "name": Column(
        "", "the module's dotted name; a function's is its caller's and its own", _of_layer("name")
    ),
    "kind": Column("", "module, function, container (calls other modules) or overhead", _of_layer("kind")),
    "type": Column("", "the class, or the operator", _of_layer("type")),
    "calls": Column("", "how many calls the row stands for", lambda entry, profile: len(entry.parts)),
    "in_shape": Column("", "shapes of the tensors given", _of_layer("in_shape")),
    "out_shape": Column("", "shapes of the tensors returned", _of_layer("out_shape")),
    "dtype": Column("", "number format of what is returned", _of_layer("dtype")),
    "params": Column("1", "numbers that the module's parameters hold", _cost("params")),
    "flops": Column("FLOP", "floating-point operations", _cost("flops")),
    "backward": Column("FLOP", "those of the backward pass", _cost("backward")),
    "unknown": Column(
        "1",
        "operators in it that no rule knows: their operations are missing",
        lambda entry, profile: entry.costs.unknown or 0,
    ),
    "macc": Column("MAC", "multiply-accumulates", _cost("macc")),
    "mem_r": Column("B", "bytes read: inputs and parameters", _cost("mem_r")),
    "mem_w": Column("B", "bytes written: outputs", _cost("mem_w")),
    "mem_rw": Column("B", "bytes read and written", _cost("mem_rw")),
    "lat": Column("s", "time with all calls within", _cost("lat")),
    "net_lat": Column("s", "time without the calls within", _cost("net_lat")),
    "share": Column("1", "lat as a share of the uninstrumented run's time", _share),
    "flop_rate": Column("FLOP/s", "flops over lat", _rate("flops")),
    "byte_rate": Column("B/s", "mem_rw over lat", _rate("mem_rw")),
    "mem_alloc": Column("B", "allocated by the call, and still at its end", _cost("mem_alloc")),
    "mem_peak": Column("B", "allocated at most, over the level at its begin", _cost("mem_peak")),
    "mem_total": Column("B", "allocated at its end, over the model's begin", _cost("mem_total")),
    "energy": Column(
        "pJ", "a model's estimate, not measured", lambda entry, profile: profile.energy_of(entry)
    ),
    "intensity": Column("FLOP/B", "flops over mem_rw", lambda entry, profile: entry.intensity),
    "ceiling": Column("FLOP/s", "what the machine's peaks allow", _limit("ceiling")),
    "reached": Column("1", "the least time that the peaks allow, over the time taken", _limit("reached")),
    "bound": Column("", "what that least time goes into: compute, memory or overhead", _limit("bound")),
}
"""Every column, in the order in which they stand."""

WITH_TIMING = (*TIMED, "share", "flop_rate", "byte_rate", "ceiling", "reached", "bound")
BACKWARD = "backward"

PAPER = {
    "calls": ("name", "type", "in_shape", "out_shape", "params", "flops", "macc", "mem_r", "mem_w"),
    "leaves": ("name", "type", "calls", "out_shape", "params", "flops", "macc", "mem_r", "mem_w"),
    "tree": ("name", "type", "out_shape", "params", "flops", "macc", "mem_rw"),
    "types": ("type", "calls", "params", "flops", "macc", "mem_r", "mem_w", "energy"),
    "root": ("type", "calls", "params", "flops", "macc", "mem_r", "mem_w", "energy"),
}
"""By the view, the columns shown of a profile on paper."""

FACT = {
    "calls": ("name", "type", "out_shape", "params", "flops", "mem_rw"),
    "leaves": ("name", "type", "calls", "params", "flops", "mem_rw"),
    "tree": ("name", "type", "params", "flops", "mem_rw"),
    "types": ("type", "calls", "params", "flops", "mem_rw"),
    "root": ("type", "calls", "params", "flops", "mem_rw"),
}
"""By the view, those shown of one that was timed, before the times."""

TIMES = {
    "tree": ("lat", "net_lat", "share", "flop_rate", "reached", "bound"),
    "root": ("lat", "flop_rate", "byte_rate", "energy", "intensity", "reached", "bound"),
}
USUAL_TIMES = ("lat", "share", "flop_rate", "reached", "bound")


def available(timed: bool, memory: bool, training: bool) -> list[str]:
    """The columns that a profile can fill, whichever the view.

    Args:
        timed: its calls were timed.
        memory: the memory that they allocate was followed.
        training: their backward pass was counted.
    """
    missing = {
        *(() if timed else WITH_TIMING),
        *(() if memory else MEMORY),
        *(() if training else (BACKWARD,)),
    }
    return [name for name in COLUMNS if name not in missing]


def _filled(profile: Profile) -> list[str]:
    return available(profile.timed, profile.total.costs.mem_alloc is not None, profile.training)


def usual(profile: Profile, view: str) -> list[str]:
    """The columns that a view of a profile shows, unless others are asked for."""
    front = FACT[view] if profile.timed else PAPER[view]
    wanted = {*front, *(TIMES.get(view, USUAL_TIMES) if profile.timed else ()), BACKWARD, "mem_peak"}
    return [name for name in _filled(profile) if name in wanted]


def chosen(profile: Profile, view: str, asked: Sequence[str]) -> list[str]:
    """The columns to show: those asked for in their order, or the usual ones; without those struck by a `~`.

    Raises:
        UserError: there is no such column, this profile cannot fill it, or none is left.
    """
    filled = _filled(profile)
    check(asked, filled)
    struck = {name.removeprefix("~") for name in asked if name.startswith("~")}
    picked = [name for name in asked if not name.startswith("~")]
    if ALL in picked:
        picked = filled
    shown = [name for name in picked or usual(profile, view) if name not in struck]
    if not shown:
        raise UserError(f"columns={_spelled(asked)} leaves no column to show.")
    return shown


def names_of(asked: Any) -> list[str]:
    """The columns that a user asks for: names in a row, or in a text, parted by commas.

    Raises:
        UserError: it is neither.
    """
    found = asked.split(",") if isinstance(asked, str) else asked
    names = list(found) if isinstance(found, Iterable) else [found]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"columns={asked!r} is not possible: give names, such as ['name', 'flops'].")
    return [name.strip() for name in names if name.strip()]


def _spelled(asked: Sequence[str]) -> str:
    return f"[{','.join(asked)}]"


def check(asked: Sequence[str], filled: Sequence[str]) -> None:
    """Refuse a column that does not exist, or that a profile cannot fill.

    Args:
        asked: the columns asked for; those after a `~` are left out, and may be any.
        filled: what the profile can fill, see `available`.

    Raises:
        UserError: there is such a name.
    """
    kept = [name for name in asked if f"~{name}" not in asked and not name.startswith("~")]
    if f"~{ALL}" in asked or (not kept and any(not name.startswith("~") for name in asked)):
        raise UserError(f"columns={_spelled(asked)} leaves no column to show.")
    for name in asked:
        if name.removeprefix("~") not in COLUMNS and name != ALL:
            raise unknown("column", name.removeprefix("~"), [*COLUMNS, ALL], see="docs/profile.md")
        if name in COLUMNS and name not in filled:
            raise UserError(f"columns={name}: this profile does not have it; {_remedy(name)}.")


def _remedy(name: str) -> str:
    if name in WITH_TIMING:
        return "time it, with timing=true"
    return "follow memory, with memory=true" if name in MEMORY else "count it, with mode.training=true"


def values(entry: Entry, profile: Profile, columns: Sequence[str]) -> dict[str, Any]:
    """What columns say of an entry."""
    return {name: _plain(COLUMNS[name].value(entry, profile)) for name in columns}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Kind) else value
