"""A profile as it is printed: the view that is asked for, and what there is to say beneath it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from microbench.analysis import columns as known
from microbench.analysis.calls import Entry
from microbench.analysis.profile import Profile, profile_of
from microbench.records.cases import CaseResult
from microbench.records.naming import PART, varying
from microbench.records.peaks import Peaks
from microbench.records.record import Kind
from microbench.tables import units
from microbench.tables.case import facts
from microbench.tables.fitting import LINES_BESIDE, paged, that_fit, wide_enough
from microbench.tables.labels import count, relative
from microbench.tables.profile_table import table

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 140  # columns of a profile that is printed as text
DISAGREEMENT = 0.05  # of the model's time, by which the sum of its calls may pass it
LESS_WANTED = (
    *("in_shape", "out_shape", "mem_peak", "params", "mem_rw", "mem_r", "mem_w"),
    *("flop_rate", "macc", "net_lat", "flops"),
)
"""Columns that a narrow terminal does without, the first of them first."""
IN_TITLE = {PART, "batch_size", "precision", "layout", "device"}  # settings that a title says


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
        found, left_out = _fitting(self, self.shown, entries, self.columns, options.max_width)
        yield found
        for text in (*left_out, *notes(self, self.shown)):
            yield Text(text, style="dim")

    def show(self, out: Console | None = None) -> None:
        """Print it; on a terminal, a table that is too long for it is paged."""
        show_profile(self, out or Console(highlight=False), self.shown, self.columns, self.depth)

    def to_frame(
        self, view: str | None = None, columns: Sequence[str] = ("all",), depth: int | None = None
    ) -> pd.DataFrame:
        """A view, by default the one that is shown; see `Profile.to_frame`."""
        return super().to_frame(view or self.shown, columns, self.depth if depth is None else depth)


def show_profiles(cases: Sequence[CaseResult], out: Console) -> None:
    """Print the profiles of cases, one after the other; each says what tells it from the others."""
    telling = {name: values for name, values in varying(cases).items() if name not in IN_TITLE}
    for index, case in enumerate(cases):
        _show_case(case, [f"{name}={values[index]}" for name, values in telling.items()], out)


def _show_case(case: CaseResult, telling: Sequence[str], out: Console) -> None:
    """Print the profile that a case measured, as its configuration wants it; nothing where it failed."""
    profile = profile_of(case)
    if profile is None:
        return
    config = case.config
    settings = ", ".join([config.precision.name, config.layout, config.device.name, *telling])
    out.print(f"[bold]{escape(title(profile))}[/bold], {escape(settings)}")
    show_profile(profile, out, config.view, config.columns, config.depth)
    if profile.timed:
        out.print(facts(case), style="dim", soft_wrap=True)
    if trace := case.first.outcome.trace:
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
    found, left_out = _fitting(profile, view, entries, asked, out.width)
    with paged(out, lines=len(entries) + LINES_BESIDE), wide_enough(out, found):
        out.print(found)
        for text in (*left_out, *notes(profile, view)):
            out.print(escape(text), style="dim", soft_wrap=True)


def _fitting(
    profile: Profile, view: str, entries: Sequence[Entry], asked: Sequence[str], width: int
) -> tuple[Table, list[str]]:
    """The table with the columns that there is room for, and a line on those that there is none for.

    Those that were asked for are all there.
    """
    shown = known.chosen(profile, view, asked)
    found = table(profile, view, entries, shown)
    fitting = shown if asked else that_fit(found, shown, LESS_WANTED, width)
    if fitting == shown:
        return found, []
    missing = ", ".join(name for name in shown if name not in fitting)
    note = f"columns hidden (terminal too narrow): {missing}; columns=[…] shows those that you choose"
    return table(profile, view, entries, fitting), [note]


def notes(profile: Profile, view: str) -> Iterable[str]:
    """What there is to say beneath the table."""
    if text := _unknown_note(profile):
        yield text
    if profile.seconds:
        yield _sum_note(profile, profile.seconds, view)
    if profile.peaks is not None:
        yield _peaks_note(profile.peaks)
    if profile.joules is not None:
        yield f"measured energy: {units.scaled(profile.joules, 'J')} a call of the model"
    yield from (f"warning: {text}" for text in profile.warnings)


def _unknown_note(profile: Profile) -> str:
    """What is missing in the FLOP; empty where nothing is."""
    calls = Counter(row.layer.type for row in profile.calls if row.costs.unknown)
    if not calls:
        return ""
    named = ", ".join(f"{name} ({count(number, 'call')})" for name, number in calls.items())
    return f"FLOPs not counted (no rule): {named}; see docs/counting.md"


def _sum_note(profile: Profile, seconds: float, view: str) -> str:
    """What the uninstrumented run's time is made of; in the tree, modules' own time is theirs."""
    parts = {
        kind: sum(row.costs.net_lat or 0.0 for row in profile.calls if row.layer.kind is kind)
        for kind in (Kind.MODULE, Kind.FUNCTION)
    }
    shares = [units.share(part / seconds) for part in parts.values()]
    functions = f" + operators {shares[1]}" if profile.functions else ""
    rest = (profile.overhead or 0.0) / seconds
    doubt = _doubt(profile, seconds, parts[Kind.MODULE]) if rest < -DISAGREEMENT else ""
    containers = ""
    if view == "tree":
        outside = (profile.outside or 0.0) / seconds
        containers = f" + containers themselves {units.share(rest - outside)}"
        rest = outside
    return (
        f"uninstrumented run {units.time(seconds)} = leaf modules {shares[0]}{functions}{containers} + "
        f"overhead {units.share(rest)} (Python and dispatch){doubt}"
    )


def _doubt(profile: Profile, seconds: float, modules: float) -> str:
    """Why the calls add up to more than the model: the pass over its modules tells whether it is these."""
    watched = profile.rows[0].costs.lat or 0.0
    if modules <= watched <= (1 + DISAGREEMENT) * seconds:
        return "; operator times are overestimated: operators are too short to time, or other load interfered"
    return "; the passes disagree by more: other load interfered"


def _peaks_note(peaks: Peaks) -> str:
    """What the machine reaches at best."""
    rates = [rate for _, rate in peaks.bandwidths]
    parts = [
        peaks.fp32 and f"fp32 {units.scaled(peaks.fp32, 'FLOP/s')} ({peaks.fp32_by})",
        peaks.bf16 and f"bf16 {units.scaled(peaks.bf16, 'FLOP/s')} ({peaks.bf16_by})",
        *(
            f"{units.format_name(name)} emulated ({units.scaled(speed, 'FLOP/s')} in small products)"
            for name, speed in peaks.emulated
        ),
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
        f"{profile.name} profile{batch}, {what}" + ("" if profile.timed else ", dry run") + f", input {shape}"
    )
