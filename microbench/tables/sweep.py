"""The table of a sweep: one row per model and setting, one column per phase."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from rich.console import Console
from rich.table import Table

from microbench.analysis.case import Interval, PhaseTime
from microbench.analysis.sweep import Sweep, SweepRow
from microbench.tables import labels, units
from microbench.tables.escaping import escape
from microbench.tables.fitting import JOINT, print_fitting
from microbench.tables.labels import DISTURBED

EXTRAS = ("interval", "error", "disturbed", "idle", "rate", "memory", "arithmetic")
"""The columns left out on a narrow terminal, the last first."""


def show_sweep(sweep: Sweep, out: Console) -> None:
    """Print one row per model and setting, with one column per phase, its modes side by side.

    On a narrow terminal the least important columns are left out, so that the others stay whole.
    """
    variants = [_table(sweep, EXTRAS[:number]) for number in range(len(EXTRAS), -1, -1)]
    if sweep.settings:
        variants.append(_table(sweep, (), is_joined=True))
    print_fitting(out, *variants, less_wanted=sweep.parts)
    disturbed = f"disturbed: {DISTURBED}" if any(row.disturbed for row in sweep.rows) else None
    times = f"times: {' or '.join(sweep.figures)} (device.sync)" if sweep.figures else None
    idle = (
        "GPU idle: launch-bound, the GPU waits for the host" if any(row.idle for row in sweep.rows) else None
    )
    for note in filter(None, (times, idle, interval_note(sweep.intervals), error_note(sweep), disturbed)):
        out.print(note, style="dim", soft_wrap=True)


def _table(sweep: Sweep, extras: Container[str], is_joined: bool = False) -> Table:
    """Return the table with some extras; if joined, with model and settings in one column of text."""
    columns = _columns(sweep, extras)
    names = ("model", *sweep.settings)
    heads = [JOINT.join(names)] if is_joined else names
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heads[0])
    for name in (*heads[1:], *(name for name, _ in columns)):
        table.add_column(name, justify="right")
    for row in sweep.rows:
        telling = [escape(each) for each in row.key]
        table.add_row(*([JOINT.join(telling)] if is_joined else telling), *(cell(row) for _, cell in columns))
    return table


def _columns(sweep: Sweep, extras: Container[str]) -> list[tuple[str, Callable[[SweepRow], str]]]:
    """Return each column's header, and a function that formats a row's cell."""
    time = units.median_and_interval if "interval" in extras else units.median
    columns = [
        (phase, _cell(phase, lambda each: units.valid(time(each.estimate), each.is_valid)))
        for phase in sweep.phases
    ]
    if "rate" in extras:
        columns += [(f"{phase} {sweep.items}/s", _cell(phase, rate)) for phase in sweep.wholes]
    if "memory" in extras:
        columns += [(f"{phase} memory", _cell(phase, _memory)) for phase in sweep.wholes]
    if "error" in extras and any(row.error is not None for row in sweep.rows):
        columns.append(("error", lambda row: "" if row.error is None else units.error(row.error)))
    if "idle" in extras and any(row.idle for row in sweep.rows):
        columns.append(("GPU idle", lambda row: "" if row.idle is None else f"{row.idle * 100:.0f} %"))
    if "arithmetic" in extras and any(row.arithmetic for row in sweep.rows):
        columns.append(("arithmetic", lambda row: ", ".join(row.arithmetic)))
    if "disturbed" in extras and any(row.disturbed for row in sweep.rows):
        columns.append(("disturbed", lambda row: labels.disturbed(row.disturbed)))
    if any(status != "ok" for row in sweep.rows for status in row.statuses):
        columns.append(("status", lambda row: ", ".join(row.statuses)))
    return columns


def _cell(phase: str, write: Callable[[PhaseTime], str]) -> Callable[[SweepRow], str]:
    return lambda row: write(row.phases[phase]) if phase in row.phases else ""


def rate(time: PhaseTime) -> str:
    """Format a phase's items per second, with the digits that its interval supports."""
    return "" if time.rate is None else units.rate(time.rate, time.estimate.relative_half_width)


def _memory(time: PhaseTime) -> str:
    return "" if time.memory is None else units.memory(time.memory)


def interval_note(intervals: Sequence[Interval]) -> str | None:
    """Return what ± means in a table; None if no time has an interval."""
    texts = [f"the {units.level(each.confidence)} CI {_over(each)}" for each in intervals]
    return f"±: half-width of {', or '.join(texts)}, relative to the median" if texts else None


def _over(interval: Interval) -> str:
    """Return over how many rounds an interval is: one number, or a range."""
    if interval.most == 1:
        return "within a single process (measure.rounds=1)"
    least, most = interval.least, interval.most
    return f"over {least} rounds" if least == most else f"over {least} to {most} rounds"


def error_note(sweep: Sweep) -> str | None:
    """Return what the error in the table is, or that answers were not checked; None without an error."""
    if not sweep.references:
        return "answers: not checked (verify=false)" if sweep.is_unchecked else None
    wanted = " or ".join(f"{name}'s" for name in sweep.references)
    text = f"error: largest difference from {wanted} outputs, relative to the largest"
    if sweep.has_gradients:
        text += "; in training also of the gradients, relative to their norm, whichever is larger"
    return text
