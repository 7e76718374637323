"""The tables of a profile."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from microbench.reports import units
from microbench.reports.case import facts
from microbench.reports.labels import relative
from microbench.reports.sweep import UNLIMITED
from microbench.results import columns as known
from microbench.results.cases import CaseResult
from microbench.results.layers import OVERHEAD, Kind
from microbench.results.profile import Entry, Profile, profile_of
from microbench.results.roofline import Peaks

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 140  # columns of a profile that is printed as text
INDENT = "  "
DISAGREEMENT = 0.05  # of the model's time, by which the sum of its calls may pass it
OF_THE_REST = ("lat", "net_lat", "share")  # what there is to say of what is in no call
OF_A_CALL = ("index", "name", "kind", "type", "in_shape", "out_shape", "dtype")
LINES_BESIDE = 8  # of the table's head and total, of the notes, and of the prompt
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
    "mem_peak": "peak",
    "mem_total": "total allocated",
    "energy": "energy (model)",
    "intensity": "FLOP/B",
    "ceiling": "ceiling FLOP/s",
    "in_shape": "input",
    "out_shape": "output",
}
LESS_WANTED = (
    "in_shape",
    "out_shape",
    "mem_peak",
    "params",
    "mem_rw",
    "mem_r",
    "flop_rate",
    "mem_w",
    "bound",
    "macc",
)
"""Columns that a narrow terminal does without, the first of them first."""


@dataclass(frozen=True, repr=False)
class ProfileTable(Profile):
    """A profile, and which view of it is shown; printed, it is a table.

    Attributes:
        shown: the view: calls, leaves, tree, types or root.
        columns: the columns; `~name` leaves one of the usual ones out; empty for the usual ones.
        depth: how deep the tree goes; None for all of it.
    """

    shown: str = "calls"
    columns: Sequence[str] = ()
    depth: int | None = None

    def __str__(self) -> str:
        file = StringIO()
        self.show(Console(file=file, width=WIDTH, highlight=False, color_system=None))
        return file.getvalue().rstrip("\n")

    __repr__ = __str__

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        entries = self.view(self.shown, self.depth)
        shown = known.chosen(self, self.shown, self.columns)
        yield table(self, self.shown, entries, _fitting(self, self.shown, entries, shown, console))
        for text in notes(self):
            yield Text(text, style="dim")

    def show(self, out: Console | None = None) -> None:
        """Print it; on a terminal, a table that is too long for it is paged."""
        show_profile(self, out or Console(highlight=False), self.shown, self.columns, self.depth)

    def to_frame(
        self, view: str | None = None, columns: Sequence[str] = ("all",), depth: int | None = None
    ) -> pd.DataFrame:
        """A view, by default the one that is shown; see `Profile.to_frame`."""
        return super().to_frame(view or self.shown, columns, self.depth if depth is None else depth)


def show_profile_case(case: CaseResult, out: Console) -> None:
    """Print the profile that a case measured, as its configuration wants it; nothing where it failed."""
    profile = profile_of(case)
    if profile is None:
        return
    first, config = case.first, case.first["config"]
    settings = f"{first['cfg_precision']}, {first['cfg_layout']}, {first['cfg_device']}"
    out.print(f"[bold]{escape(title(profile))}[/bold], {escape(settings)}")
    show_profile(profile, out, config["view"], config["columns"], config["depth"])
    if profile.timed:
        out.print(facts(case), style="dim", soft_wrap=True)
    if trace := first.get("trace"):
        out.print(
            f"trace: {escape(relative(Path(trace)))}, to open in https://ui.perfetto.dev",
            style="dim",
            soft_wrap=True,
        )


def show_profile(
    profile: Profile, out: Console, view: str = "calls", asked: Sequence[str] = (), depth: int | None = None
) -> None:
    """Print a view of a profile, a row an entry, its total, and what the times add up to."""
    entries = profile.view(view, depth)
    shown = known.chosen(profile, view, asked)
    if not asked:
        shown = _fitting(profile, view, entries, shown, out)
    found = table(profile, view, entries, shown)
    with paged(out, lines=len(entries) + LINES_BESIDE), _wide_enough(out, found):
        out.print(found)
        for text in notes(profile):
            out.print(escape(text), style="dim", soft_wrap=True)


@contextmanager
def _wide_enough(out: Console, found: Table) -> Iterator[None]:
    """Let a table that does not fit run over the terminal's edge: a number that is cut off is another one."""
    before = out.width
    out.width = max(before, _width(found, out))
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


def _fitting(
    profile: Profile, view: str, entries: Sequence[Entry], shown: list[str], out: Console
) -> list[str]:
    """The columns that a terminal has room for."""
    for name in LESS_WANTED:
        if _width(table(profile, view, entries, shown), out) <= out.width:
            break
        shown = [each for each in shown if each != name]
    return shown


def _width(found: Table, out: Console) -> int:
    """How wide a table is that nothing is cut off."""
    return Measurement.get(out, out.options.update(max_width=UNLIMITED), found).maximum


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
    if column in ("params", "calls") and value == 0:
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


def notes(profile: Profile) -> Iterable[str]:
    """What there is to say beneath the table."""
    if profile.seconds:
        yield _sum_note(profile, profile.seconds)
    if profile.peaks is not None:
        yield _peaks_note(profile.peaks)
    if profile.joules is not None:
        yield f"measured energy: {units.scaled(profile.joules, 'J')} a call of the model"


def _sum_note(profile: Profile, seconds: float) -> str:
    """What the untouched model's time is made of."""
    parts = {
        kind: sum(row.costs.net_lat or 0.0 for row in profile.calls if row.layer.kind is kind)
        for kind in (Kind.MODULE, Kind.FUNCTION)
    }
    shares = [units.share(part / seconds) for part in parts.values()]
    functions = f" + functions {shares[1]}" if profile.functions else ""
    rest = (profile.overhead or 0.0) / seconds
    doubt = "; the passes disagree by more: other load disturbed them" if rest < -DISAGREEMENT else ""
    return (
        f"untouched model {units.time(seconds)} = innermost modules {shares[0]}{functions} + overhead "
        f"{units.share(rest)} (Python and torch between them){doubt}"
    )


def _peaks_note(peaks: Peaks) -> str:
    """What the machine reaches at best."""
    rates = [rate for _, rate in peaks.bandwidths]
    parts = [
        peaks.fp32 and f"fp32 {units.scaled(peaks.fp32, 'FLOP/s')} ({peaks.fp32_by})",
        peaks.bf16 and f"bf16 {units.scaled(peaks.bf16, 'FLOP/s')} ({peaks.bf16_by})",
        rates and f"memory {units.scaled(rates[-1], 'B/s')}, caches up to {units.scaled(max(rates), 'B/s')}",
        f"a call that does nothing {units.time(peaks.call_seconds)}",
    ]
    doubt = "; other load disturbed them, so that `reached` is too high" if peaks.disturbed else ""
    return "measured peaks: " + ", ".join(str(part) for part in parts if part) + doubt


def title(profile: Profile) -> str:
    """What is profiled."""
    batch = "" if profile.batch_size is None else f", batch {profile.batch_size}"
    what = "training step's forward pass" if profile.training else "inference"
    shape = profile.rows[0].layer.in_shape
    return (
        f"{profile.name} profile{batch}, {what}"
        + ("" if profile.timed else ", on paper")
        + f", input {shape}"
    )
