"""How a table is printed that is wider or longer than the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from microbench.reports.sweep import UNLIMITED

LINES_BESIDE = 8  # of a table's head and total, of what is said beneath it, and of the prompt


def width_of(found: Table, out: Console) -> int:
    """How wide a table is that nothing is cut off."""
    return Measurement.get(out, out.options.update(max_width=UNLIMITED), found).maximum


@contextmanager
def wide_enough(out: Console, found: Table) -> Iterator[None]:
    """Let a table that does not fit run over the terminal's edge: a number that is cut off is another one."""
    before = out.width
    out.width = max(before, width_of(found, out))
    try:
        yield
    finally:
        out.width = before


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
