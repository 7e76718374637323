"""How a table is printed that is wider or longer than the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

UNLIMITED = 1000  # characters: wider than any table
GAP = 2  # characters between two columns of a table without borders
JOINT = ", "  # between the names of what one column has of several
LEAST_TEXT = 12  # characters of a column of texts that are wrapped
LINES_BESIDE = 8  # of a table's head and total, of what is said beneath it, and of the prompt


def width_of(found: Table, out: Console) -> int:
    """How wide a table is that nothing is cut off."""
    return out.measure(found, options=out.options.update(max_width=UNLIMITED)).maximum


def fits(found: Table, out: Console) -> bool:
    """Whether a table is no wider than the terminal."""
    return width_of(found, out) <= out.width


def print_fitting(out: Console, *variants: Table, less_wanted: Sequence[str] = ()) -> None:
    """Print the first variant of a table that fits, and name the columns that it lacks of the first.

    Where none fits, texts are wrapped, and of the last variant as many columns are left out as it takes to
    keep every figure whole: a figure that is cut off is another one.

    Args:
        out: where to print.
        variants: the table, and forms of it with less in them, the fullest first.
        less_wanted: the headers of columns to leave out, the first of them first; behind these come the
            others from the right. The first column stays.
    """
    found = next((each for each in variants if fits(each, out)), None)
    found = _narrowed(variants[-1], less_wanted, out) if found is None else found
    out.print(found)
    hidden = list((_names(variants[0]) - _names(found)).elements())
    if hidden:
        out.print(f"columns hidden (terminal too narrow): {', '.join(hidden)}", style="dim")


def _names(found: Table) -> Counter[str]:
    """What the columns of a table are called; one without a name is not named where it is hidden."""
    return Counter(name for column in found.columns for name in str(column.header).split(JOINT) if name)


def _narrowed(found: Table, less_wanted: Sequence[str], out: Console) -> Table:
    """A table whose texts are wrapped, with only the columns whose figures are whole beside them."""
    columns = list(found.columns)
    for column in columns:
        if _is_text(column):
            column.overflow = "fold"
        else:
            column.no_wrap = True
    wanted = [name for name in reversed(columns[1:]) if name.header not in less_wanted]
    unwanted = [column for name in less_wanted for column in columns[1:] if column.header == name]
    for least in (*unwanted, *wanted):
        if sum(_least(column, out) for column in columns) + _gaps(found, len(columns)) <= out.width:
            break
        columns = [column for column in columns if column is not least]
    return found if len(columns) == len(found.columns) else _of(found, columns)


def _is_text(column: Column) -> bool:
    """Whether a column holds texts, which may be wrapped."""
    return column.justify == "left" and not column.no_wrap


def _least(column: Column, out: Console) -> int:
    """How narrow a column can be made: to its longest line, or a text to some words."""
    texts = [out.render_str(str(each)).cell_len for each in (column.header, *column.cells)]
    return min(max(texts), LEAST_TEXT) if _is_text(column) else max(texts)


def _gaps(found: Table, columns: int) -> int:
    """How wide the spaces between so many columns of a table are."""
    _, right, _, left = found.padding
    return (max(left, right) if found.collapse_padding else left + right) * (columns - 1)


def _of(found: Table, columns: Sequence[Column]) -> Table:
    """A table with only some of its columns."""
    made = Table(
        box=found.box,
        padding=found.padding,
        pad_edge=found.pad_edge,
        collapse_padding=found.collapse_padding,
        show_header=found.show_header,
        header_style=found.header_style,
    )
    for column in columns:
        made.add_column(
            column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow
        )
    for cells, row in zip(zip(*(column.cells for column in columns), strict=True), found.rows, strict=True):
        made.add_row(*cells, style=row.style, end_section=row.end_section)
    return made


def that_fit(found: Table, names: Sequence[str], less_wanted: Sequence[str], width: int) -> list[str]:
    """Which columns of a table without borders there is room for.

    Args:
        found: the table.
        names: what its columns are called.
        less_wanted: those that it may do without, the first of them first.
        width: the room, in characters.
    """
    texts = ((str(column.header), *map(str, column.cells)) for column in found.columns)
    widths = dict(zip(names, (max(map(cell_len, each)) for each in texts), strict=True))
    for name in less_wanted:
        if sum(widths.values()) + GAP * (len(widths) - 1) <= width:
            break
        widths.pop(name, None)
    return list(widths)


@contextmanager
def wide_enough(out: Console, found: Table) -> Iterator[None]:
    """Let a table that does not fit run over the terminal's edge: a number that is cut off is another one."""
    before = out._width  # None where it follows the terminal, as it is to do again
    out.width = max(out.width, width_of(found, out))
    try:
        yield
    finally:
        out._width = before


@contextmanager
def paged(out: Console, lines: int) -> Iterator[None]:
    """Page what is printed where it has more lines than the terminal: with $PAGER, or with less."""
    pager = (os.environ.get("PAGER") or "less").split()[:1]
    is_there = bool(pager) and shutil.which(pager[0]) is not None
    if not (is_there and out.is_terminal and sys.stdin.isatty()) or lines <= out.height:
        yield
        return
    os.environ.setdefault("LESS", "FRSX")
    with out.pager(styles=out.color_system is not None):
        yield
