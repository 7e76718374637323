"""The table of a view of a profile: a row an entry, each figure as people read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from microbench.analysis import columns as known
from microbench.analysis.calls import OVERHEAD, Entry
from microbench.analysis.profile import Profile
from microbench.records.record import Kind
from microbench.tables import units

INDENT = "  "
OF_THE_REST = ("lat", "net_lat", "share")  # what there is to say of what is in no call
OF_A_CALL = ("index", "name", "kind", "type", "in_shape", "out_shape", "dtype")
HEADERS = {
    "flops": "FLOP",
    "backward": "FLOP backward",
    "macc": "MAC",
    "mem_r": "read",
    "mem_w": "written",
    "mem_rw": "read + written",
    "lat": "time",
    "net_lat": "own time",
    "flop_rate": "FLOP/s",
    "byte_rate": "B/s",
    "mem_alloc": "allocated",
    "mem_peak": "peak memory",
    "mem_total": "total allocated",
    "energy": "energy (model)",
    "intensity": "FLOP/B",
    "ceiling": "ceiling FLOP/s",
    "in_shape": "input",
    "out_shape": "output",
}


def table(profile: Profile, view: str, entries: Sequence[Entry], shown: Sequence[str]) -> Table:
    """A row an entry, what is in none of them, and the whole."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        is_text = name in ("name", "type", "kind", "in_shape", "out_shape", "dtype", "bound")
        found.add_column(
            HEADERS.get(name, name), justify="left" if is_text else "right", no_wrap=name != "in_shape"
        )
    callers: list[str] = []  # the names of the modules that an entry of the tree lies within
    for entry in entries:
        cells = _cells(entry, profile, shown)
        if view == "tree":
            del callers[entry.layer.depth :]
            cells["name"] = INDENT * len(callers) + _own_name(entry, profile, callers)
            callers.append(entry.layer.name)
        elif view != "types" and not entry.layer.name:
            cells["name"] = profile.name
        found.add_row(*(escape(cells[name]) for name in shown), style=_style(entry, view))
    if view != "root":
        rest = profile.rest(view)
        if rest is not None:
            found.add_row(*_named(OVERHEAD, rest, profile, shown), style="dim")
        found.add_section()
        found.add_row(*_named("total", profile.total, profile, shown), style="bold")
    return found


def _style(entry: Entry, view: str) -> str | None:
    if entry.layer.kind is Kind.FUNCTION:
        return "cyan"
    return "bold" if view == "tree" and entry.layer.kind is Kind.CONTAINER else None


def _own_name(entry: Entry, profile: Profile, callers: Sequence[str]) -> str:
    """A call's name within that of its caller."""
    name = entry.layer.name
    return name.removeprefix(f"{callers[-1]}.") if callers and callers[-1] else name or profile.name


def _cells(entry: Entry, profile: Profile, shown: Sequence[str]) -> dict[str, str]:
    """By column, an entry's text."""
    cells = {name: text_of(name, value) for name, value in known.values(entry, profile, shown).items()}
    if entry.layer.kind is Kind.FUNCTION and "type" in cells:
        cells["type"] += "()"
    return cells


def _named(name: str, entry: Entry, profile: Profile, shown: Sequence[str]) -> list[str]:
    """An entry that is no call, with its own name in the first column where that is a text."""
    cells = _cells(entry, profile, shown)
    cells |= {each: "" for each in OF_A_CALL if each in cells}
    if entry.layer.kind is Kind.OVERHEAD:
        cells |= {each: "" for each in cells if each not in OF_THE_REST}
    if shown[0] in OF_A_CALL:
        cells[shown[0]] = name
    return [escape(cells[each]) for each in shown]


def text_of(column: str, value: Any) -> str:
    """A figure of a column as people read it."""
    if value is None:
        return ""
    if column in ("params", "calls", "unknown") and value == 0:
        return ""
    return TEXTS[column](value) if column in TEXTS else str(value)


def _energy(picojoules: float) -> str:
    return units.scaled(picojoules * 1e-12, "J")


def _count(value: float) -> str:
    return units.scaled(value, "").strip()


TEXTS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("params", "flops", "backward", "macc", "flop_rate", "ceiling"), _count),
    **dict.fromkeys(("mem_r", "mem_w", "mem_rw", "mem_alloc", "mem_peak", "mem_total"), units.memory),
    **dict.fromkeys(("lat", "net_lat"), units.time),
    **dict.fromkeys(("share", "reached"), units.share),
    "byte_rate": lambda value: units.scaled(value, "B/s"),
    "intensity": lambda value: f"{value:.3g}",
    "energy": _energy,
}
"""By the column, how its figures are written; the others are texts."""
