"""Which axes of a table are its rows, and which its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from microbench.analysis.axes import FACTS, HOST, in_order, telling, value_on
from microbench.analysis.selection import VALUE, Entry, Selection
from microbench.errors import UserError
from microbench.records.naming import PART
from microbench.records.settings import is_configuration

OF_ROWS = ("model", PART, HOST)
"""The axes that are rows unless they are asked for as columns."""


@dataclass(frozen=True)
class Layout:
    """The axes of a table.

    Attributes:
        rows: those of its rows.
        columns: those of its columns.
        remarks: what to say of axes that were not asked for.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    remarks: Sequence[str]

    @property
    def movable(self) -> list[str]:
        """The axes of the columns that could be rows."""
        return [axis for axis in self.columns if axis != VALUE]

    def moved(self, number: int) -> Layout:
        """Return the layout with so many of the columns' axes, from the last, in the rows."""
        moving = self.movable[len(self.movable) - number :]
        columns = [axis for axis in self.columns if axis not in moving]
        return replace(self, rows=[*self.rows, *moving], columns=columns)

    def row_of(self, entry: Entry) -> tuple[str, ...]:
        """Return a value's row: its values on the rows' axes."""
        return tuple(_on(entry, axis) for axis in self.rows)

    def column_of(self, entry: Entry) -> tuple[str, ...]:
        """Return a value's column."""
        return tuple(_on(entry, axis) for axis in self.columns)


def layout(selection: Selection) -> Layout:
    """Return the layout that is asked for, completed by the other axes that vary: no cell has two cases.

    Axes that were not asked for are columns if no column was asked for, otherwise rows.

    Raises:
        UserError: an axis is asked for twice.
    """
    request, several = selection.request, len(selection.request.values) > 1
    for axis, times in Counter([*request.rows, *request.columns]).items():
        if times > 1:
            raise UserError(f"Axis {axis} is given {times} times: give each once, in rows or columns.")
    left = [axis for axis in telling(selection.cases) if axis not in (*request.rows, *request.columns)]
    rows = list(request.rows) or [axis for axis in OF_ROWS if axis in left]
    if not rows and "model" not in request.columns:
        rows = ["model"]
    left = [axis for axis in left if axis not in rows]
    columns = list(request.columns)
    if not columns:
        columns, left = sorted(left, key=_place), []
    if several and VALUE not in (*rows, *columns):
        columns = [*columns, VALUE]
    told = "varies too, and is" if len(left) == 1 else "vary too, and are"
    remark = f"{', '.join(left)} {told} in the rows: cases are not averaged"
    return Layout([*rows, *left], columns, [remark] if left and request.rows else [])


def _on(entry: Entry, axis: str) -> str:
    return entry.quantity.name if axis == VALUE else value_on(entry.case, axis)


def _place(axis: str) -> int:
    """Return the place of an axis among the columns: alternatives stand next to each other, engines first."""
    if axis == "mode":
        return 3
    return 0 if axis == "engine" else 1 if axis in FACTS or is_configuration(axis) else 2


def ordered(keys: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the distinct keys in the order of their values."""
    if not keys or not keys[0]:
        return [()]
    orders = [in_order(values) for values in zip(*keys, strict=True)]
    return sorted(
        set(keys), key=lambda key: [order.index(value) for order, value in zip(orders, key, strict=True)]
    )
