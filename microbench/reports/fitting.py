"""How a table is printed that is wider or longer than the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

UNLIMITED = 1000  # characters: wider than any table
GAP = 2  # characters between two columns of a table without borders
LINES_BESIDE = 8  # of a table's head and total, of what is said beneath it, and of the prompt


def width_of(found: Table, out: Console) -> int:
    """How wide a table is that nothing is cut off."""
    return out.measure(found, options=out.options.update(max_width=UNLIMITED)).maximum


def fits(found: Table, out: Console) -> bool:
    """Whether a table is no wider than the terminal."""
    return width_of(found, out) <= out.width


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
