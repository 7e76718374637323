"""The columns of a profile: which exist, which a profile can fill, and which a view shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from microbench.errors import UserError, unknown

ALL = "all"
"""The name that selects every column."""

COLUMNS = (
    *("index", "name", "kind", "type", "calls", "in_shape", "out_shape", "dtype"),
    *("params", "flops", "backward", "unknown", "macc", "mem_r", "mem_w", "mem_rw"),
    *("lat", "net_lat", "share", "flop_rate", "byte_rate", "mem_alloc", "mem_peak", "mem_total"),
    *("energy", "intensity", "ceiling", "reached", "bound"),
)
"""Every column, in display order; docs/profile.md gives the meaning and unit of each."""

WITH_TIMING = ("lat", "net_lat", "share", "flop_rate", "byte_rate", "ceiling", "reached", "bound")
MEMORY = ("mem_alloc", "mem_peak", "mem_total")
BACKWARD = "backward"

DRY_RUN = {
    "calls": ("name", "type", "in_shape", "out_shape", "params", "flops", "macc", "mem_r", "mem_w"),
    "leaves": ("name", "type", "calls", "out_shape", "params", "flops", "macc", "mem_r", "mem_w"),
    "tree": ("name", "type", "out_shape", "params", "flops", "macc", "mem_rw"),
    "types": ("type", "calls", "params", "flops", "macc", "mem_r", "mem_w", "energy"),
    "root": ("type", "calls", "params", "flops", "macc", "mem_r", "mem_w", "energy"),
}
"""The columns that each view shows of a dry run."""

TIMED = {
    "calls": ("name", "type", "out_shape", "params", "flops", "mem_rw"),
    "leaves": ("name", "type", "calls", "params", "flops", "mem_rw"),
    "tree": ("name", "type", "params", "flops", "mem_rw"),
    "types": ("type", "calls", "params", "flops", "mem_rw"),
    "root": ("type", "calls", "params", "flops", "mem_rw"),
}
"""The columns that each view shows of a timed profile, before the times."""

TIMES = {
    "tree": ("lat", "net_lat", "share", "flop_rate", "reached", "bound"),
    "root": ("lat", "flop_rate", "byte_rate", "energy", "intensity", "reached", "bound"),
}
USUAL_TIMES = ("lat", "share", "flop_rate", "reached", "bound")


def available(timed: bool, memory: bool, training: bool) -> list[str]:
    """Return the columns that a profile can fill, in any view.

    Args:
        timed: whether its calls were timed.
        memory: whether their memory was tracked.
        training: whether their backward pass was counted.
    """
    missing = {
        *(() if timed else WITH_TIMING),
        *(() if memory else MEMORY),
        *(() if training else (BACKWARD,)),
    }
    return [name for name in COLUMNS if name not in missing]


def chosen(view: str, asked: Sequence[str], filled: Sequence[str]) -> list[str]:
    """Return the columns to show: the requested ones in their order, or the usual ones.

    Args:
        view: the name of the view.
        asked: the requested columns; those after a `~` are left out.
        filled: the columns that the profile can fill, see `available`.

    Raises:
        UserError: there is no such column, this profile cannot fill it, or none is left.
    """
    check(asked, filled)
    struck = {name.removeprefix("~") for name in asked if name.startswith("~")}
    picked = [name for name in asked if not name.startswith("~")]
    if ALL in picked:
        picked = list(filled)
    shown = [name for name in picked or _usual(view, filled) if name not in struck]
    if not shown:
        raise UserError(f"columns={_spelled(asked)} leaves no column to show.")
    return shown


def _usual(view: str, filled: Sequence[str]) -> list[str]:
    """Return the columns that a view shows unless others are requested."""
    timed = "lat" in filled
    front = TIMED[view] if timed else DRY_RUN[view]
    wanted = {*front, *(TIMES.get(view, USUAL_TIMES) if timed else ()), BACKWARD, "mem_peak"}
    return [name for name in filled if name in wanted]


def names_of(asked: Any) -> list[str]:
    """Return the columns that a user requests: a list of names, or a string of names separated by commas.

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
    """Reject a column that does not exist, or that a profile cannot fill.

    Args:
        asked: the requested columns; those after a `~` are left out, and may be any.
        filled: the columns that the profile can fill, see `available`.

    Raises:
        UserError: there is such a column, or none is left.
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
    return "track memory, with memory=true" if name in MEMORY else "count it, with mode.training=true"
