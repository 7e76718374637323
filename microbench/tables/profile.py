"""A profile as printed: the requested view, and the notes below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from microbench.analysis.profile import Profile, ProfileReport, Shares, View, ViewRow
from microbench.records.peaks import Peaks
from microbench.records.record import Kind
from microbench.tables import units
from microbench.tables.case import facts_text
from microbench.tables.escaping import escape
from microbench.tables.fitting import LINES_BESIDE, paged, print_table, printed, that_fit, wide_enough
from microbench.tables.labels import count, relative

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 140  # columns of a profile that is printed as text
EXCESS = {
    "operators": (
        "operator times are overestimated: operators are too short to time, or other load interfered"
    ),
    "passes": "the passes disagree: other load interfered",
}
"""Why calls add up to more than the model."""
LESS_WANTED = (
    *("in_shape", "out_shape", "mem_peak", "params", "mem_rw", "mem_r", "mem_w"),
    *("flop_rate", "macc", "net_lat", "flops"),
)
"""Columns to hide on a narrow terminal, in this order."""
OF_OVERHEAD = ("lat", "net_lat", "share")  # columns of the overhead's row
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
TEXTS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(
        ("params", "flops", "backward", "macc", "flop_rate", "ceiling"), lambda value: units.scaled(value, "")
    ),
    **dict.fromkeys(("mem_r", "mem_w", "mem_rw", "mem_alloc", "mem_peak", "mem_total"), units.memory),
    **dict.fromkeys(("lat", "net_lat"), units.time),
    **dict.fromkeys(("share", "reached"), units.share),
    "byte_rate": lambda value: units.scaled(value, "B/s"),
    "intensity": lambda value: f"{value:.3g}",
    "energy": lambda picojoules: units.scaled(picojoules * 1e-12, "J"),
}
"""The format of a column's figures; the other columns are texts."""


@dataclass(frozen=True, repr=False)
class ProfileTable(Profile):
    """A profile, and the view of it that is shown; it prints as a table.

    Attributes:
        shown: the view: calls, leaves, tree, types or root.
        columns: the columns; `~name` leaves out one of the usual ones; empty for the usual ones.
        depth: the depth of the tree; None for all of it.
    """

    shown: str = "calls"
    columns: Sequence[str] = ()
    depth: int | None = None

    def __str__(self) -> str:
        return printed(self.show, WIDTH)

    __repr__ = __str__

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view = self.view(self.shown, self.columns, self.depth)
        found, hidden = _fitting(view, not self.columns, options.max_width)
        yield found
        for text in (*hidden, *notes(self, view)):
            yield Text(text, style="dim")

    def show(self, out: Console | None = None) -> None:
        """Print the profile; a table that is too long for the terminal is paged."""
        view = self.view(self.shown, self.columns, self.depth)
        show_view(self, view, out or Console(highlight=False), may_hide=not self.columns)

    def to_frame(
        self, view: str | None = None, columns: Sequence[str] = ("all",), depth: int | None = None
    ) -> pd.DataFrame:
        """Return a view, by default the one shown; see `Profile.to_frame`."""
        return super().to_frame(view or self.shown, columns, self.depth if depth is None else depth)


def show_profiles(reports: Sequence[ProfileReport], out: Console) -> None:
    """Print profiles, one after the other, each with how it was measured."""
    for each in reports:
        settings = ", ".join(each.settings)
        out.print(f"[bold]{escape(title(each.profile))}[/bold], {escape(settings)}")
        show_view(each.profile, each.view, out, each.may_hide)
        if each.facts is not None:
            out.print(facts_text(each.facts), style="dim", soft_wrap=True)
        if each.trace is not None:
            trace = escape(relative(Path(each.trace)))
            out.print(f"trace: {trace}, to open in https://ui.perfetto.dev", style="dim", soft_wrap=True)


def show_view(profile: Profile, view: View, out: Console, may_hide: bool) -> None:
    """Print a view of a profile, its overhead and total, and the parts of the time.

    Args:
        profile: the profile.
        view: the view of it.
        out: where to print.
        may_hide: whether to hide columns that do not fit.
    """
    found, hidden = _fitting(view, may_hide, out.width)
    with paged(out, lines=len(view.rows) + LINES_BESIDE), wide_enough(out, found):
        print_table(out, found)
        for text in (*hidden, *notes(profile, view)):
            out.print(escape(text), style="dim", soft_wrap=True)


def _fitting(view: View, may_hide: bool, width: int) -> tuple[Table, list[str]]:
    """Return the table with the columns that fit, and a line that names the others."""
    found = table(view, view.columns)
    fitting = that_fit(found, view.columns, LESS_WANTED, width) if may_hide else view.columns
    missing = ", ".join(name for name in view.columns if name not in fitting)
    if not missing:
        return found, []
    note = f"columns hidden (terminal too narrow): {missing}; columns=[…] selects others"
    return table(view, fitting), [note]


def table(view: View, shown: Sequence[str]) -> Table:
    """Return the table of a view's rows, the overhead, and the whole."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        is_text = name in ("name", "type", "kind", "in_shape", "out_shape", "dtype", "bound")
        found.add_column(
            HEADERS.get(name, name), justify="left" if is_text else "right", no_wrap=name != "in_shape"
        )
    for row in view.rows:
        is_bold = view.name == "tree" and row.kind is Kind.CONTAINER
        style = "cyan" if row.kind is Kind.FUNCTION else "bold" if is_bold else None
        cells = _cells(row, shown) | {"name": "  " * row.level + row.label}
        found.add_row(*(escape(cells[name]) for name in shown), style=style)
    for last, style in ((view.overhead, "dim"), (view.total, "bold")):
        if last is not None:
            cells = _cells(last, shown) | dict.fromkeys(OF_A_CALL, "")
            if shown[0] in OF_A_CALL:
                cells[shown[0]] = last.label
            found.add_row(*(escape(cells[name]) for name in shown), style=style)
    return found


def _cells(row: ViewRow, shown: Sequence[str]) -> dict[str, str]:
    """Return a row's formatted figures by column; a zero of a plain count is empty."""
    cells = {}
    for name in shown:
        value = row.values[name]
        is_empty = value is None or (name in ("params", "calls", "unknown") and value == 0)
        is_empty |= row.kind is Kind.OVERHEAD and name not in OF_OVERHEAD
        cells[name] = "" if is_empty else TEXTS.get(name, str)(value)
    if row.kind is Kind.FUNCTION and "type" in cells:
        cells["type"] += "()"
    return cells


def notes(profile: Profile, view: View) -> Iterable[str]:
    """Yield the notes below the table."""
    if view.uncounted:
        named = ", ".join(f"{name} ({count(calls, 'call')})" for name, calls in view.uncounted.items())
        yield f"FLOPs not counted (no rule): {named}; see docs/counting.md"
    if profile.seconds is not None and view.shares is not None:
        run = f"uninstrumented run {units.time(profile.seconds)} (interquartile mean)"
        yield f"{run} = {_shares_text(view.shares)}"
    if profile.peaks is not None:
        yield _peaks_note(profile.peaks)
    if profile.joules is not None:
        yield f"measured energy: {units.scaled(profile.joules, 'J')} per call of the model"
    yield from (f"warning: {text}" for text in profile.warnings)


def _shares_text(shares: Shares) -> str:
    parts = {
        "leaf modules": shares.modules,
        "operators": shares.operators,
        "containers themselves": shares.containers,
        "overhead": shares.overhead,
    }
    texts = [f"{name} {units.share(part)}" for name, part in parts.items() if part is not None]
    excess = f"; {EXCESS[shares.excess]}" if shares.excess else ""
    return f"{' + '.join(texts)} (Python and dispatch){excess}"


def _peaks_note(peaks: Peaks) -> str:
    """Return the machine's peaks, in a sentence."""
    rates = [rate for _, rate in peaks.bandwidths]
    parts = [
        *(rate and f"{name} {units.scaled(rate, 'FLOP/s')} ({by})" for name, rate, by in peaks.products),
        *(
            f"{units.format_name(name)} emulated ({units.scaled(speed, 'FLOP/s')} in small products)"
            for name, speed in peaks.emulated
        ),
        rates and f"memory {units.scaled(rates[-1], 'B/s')}, caches up to {units.scaled(max(rates), 'B/s')}",
        f"a call that does nothing {units.time(peaks.call_seconds)}",
    ]
    warning = "; other load disturbed them, so that `reached` is too high" if peaks.disturbed else ""
    return "measured peaks: " + ", ".join(str(part) for part in parts if part) + warning


def title(profile: Profile) -> str:
    """Return the profile's title."""
    batch = "" if profile.batch_size is None else f", batch {profile.batch_size}"
    what = "training step's forward pass" if profile.training else "inference"
    shape = profile.rows[0].in_shape
    return (
        f"{profile.name} profile{batch}, {what}" + ("" if profile.timed else ", dry run") + f", input {shape}"
    )
