"""Progress while measuring: a live table on a terminal, plain lines elsewhere, or nothing.

A display is drawn only between rounds, and when the worker reports, between samples; nothing here runs on a
timer, which would take a CPU away from what is timed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from microbench.analysis.case import LEAST_LOSS, case_report
from microbench.records.cases import cases_of, estimate_of
from microbench.records.progress import OPENED, SAMPLED, SAMPLING, Heading, Progress
from microbench.records.record import Role, RoundRecord
from microbench.tables import units
from microbench.tables.case import LESS_WANTED, case_table
from microbench.tables.fitting import fitted
from microbench.tables.labels import count, planned

STAGES = {
    "context": "opening the device",
    OPENED: "opening the device",
    "build": "building",
    "prepare": "preparing",
    "warmup": "warming up",
    SAMPLING: "sampling",
    "sample": "sampling",
    SAMPLED: "sampling",
    "energy": "measuring energy",
    "findings": "inspecting the calls",
    "verify": "checking the answer",
}
LINES_BESIDE = 6  # of the terminal, beside a sweep's rows: header, count, numbers (two), status, the cursor's
LEAST_NAME = 12  # characters of a case's name that a narrow terminal leaves


class Silent:
    """A display that shows nothing."""

    def begin(self, heading: Heading) -> None:
        """Do nothing."""

    def progress(self, progress: Progress) -> None:
        """Do nothing."""

    def end(self, record: RoundRecord) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


class Lines:
    """Lines on standard error: when a round begins, when it has ended, and for a case's first numbers."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title, self._order = "", 0
        self._begun: set[int] = set()

    def __enter__(self) -> Lines:
        """Do nothing: there is nothing to set up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to end."""

    def begin(self, heading: Heading) -> None:
        """Print which case begins."""
        self._title, self._order = title(heading), heading.order
        self.say(f"{self._title}: measuring")

    def progress(self, progress: Progress) -> None:
        """Print a case's first numbers, and no others: a log should have few lines."""
        if progress.medians and self._order not in self._begun:
            self._begun.add(self._order)
            self.say(f"{self._title}: {numbers(progress)}")

    def end(self, record: RoundRecord) -> None:
        """Print how the case ended."""
        self.say(f"{self._title}: {ending(record)}")

    def say(self, text: str) -> None:
        """Print a line about the run."""
        self._console.print(Text(text), soft_wrap=True)


class LiveTable:
    """What is known so far, and below it the round that is running; a line stays for a round that failed.

    A single case has the table of its report. Of several, each has a row: those that changed last, if the
    terminal is too low for all.
    """

    def __init__(self, console: Console, records: Sequence[RoundRecord]) -> None:
        """Begin with an empty table.

        Args:
            console: where to draw.
            records: all records so far; the run adds each one before `end` is called with it.
        """
        starting = Text("starting the worker: importing torch")
        self._live = Live(starting, console=console, auto_refresh=False, transient=True)
        self._records = records
        self._heading: Heading | None = None
        self._began = 0.0
        self._numbers = ""
        self._table: Table | None = None
        self._rows: dict[int, tuple[str, str, str]] = {}

    def __enter__(self) -> LiveTable:
        """Begin to draw."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the table: the report follows."""
        self._live.stop()

    def begin(self, heading: Heading) -> None:
        """Show which round begins."""
        self._heading, self._began, self._numbers = heading, time.monotonic(), ""
        self._look_at(heading)
        self._draw(heading, "starting")

    def progress(self, progress: Progress) -> None:
        """Show the progress."""
        if self._heading is not None:
            self._numbers = numbers(progress) or self._numbers
            self._draw(self._heading, STAGES.get(progress.stage, progress.stage), progress.eta)

    def end(self, record: RoundRecord) -> None:
        """Show what is known with the round that has ended; leave a line if it failed."""
        if self._heading is not None:
            if not record.ok:
                self.say(f"{title(self._heading)}: {ending(record)}")
            self._numbers = ""  # the table has those of the whole round
            self._look_at(self._heading)
            self._draw(self._heading, "done")

    def say(self, text: str) -> None:
        """Leave a line about the run."""
        self._live.console.print(Text(text), soft_wrap=True)

    def _look_at(self, heading: Heading) -> None:
        """Renew what is shown of a case, and make it the last that changed."""
        found = cases_of(each for each in self._records if each.case.order == heading.order)
        phases = case_report(found[-1]).phases if found else []
        wholes = [each for each in phases if each.estimate.role is Role.WHOLE]
        time = [units.valid(units.median_and_interval(each.estimate), each.is_valid) for each in wholes]
        rounds = len(found[-1].measured_rounds) if found else 0
        self._rows.pop(heading.order, None)
        self._rows[heading.order] = (
            planned(heading.config, heading.settings),
            ", ".join(time),
            str(rounds) if heading.turns is None else f"{rounds} of {heading.rounds}",
        )
        if found and phases and heading.cases == 1:
            table = case_table(case_report(found[-1]))
            self._table = fitted(self._live.console, table, less_wanted=LESS_WANTED)

    def _draw(self, heading: Heading, doing: str, eta: float | None = None) -> None:
        table = self._table if heading.cases == 1 else self._sweep(heading.cases)
        parts: list[RenderableType] = [] if table is None else [table]
        if self._numbers:
            parts.append(Text(self._numbers))
        parts.append(self._status(heading, doing, eta))
        self._live.update(Group(*parts), refresh=True)

    def _sweep(self, cases: int) -> Table:
        """Return one row per case that has begun, as many as the terminal has lines for."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("case", "time", "rounds"):
            table.add_column(name, justify="left" if name == "case" else "right", no_wrap=name != "case")
        last = list(self._rows)[-max(1, self._live.console.height - LINES_BESIDE) :]
        for order in sorted(last):
            name, *figures = self._rows[order]
            table.add_row(Text(name, no_wrap=True, overflow="ellipsis"), *figures)
        if (others := max(cases, len(self._rows)) - len(last)) > 0:
            table.add_row(Text(f"and {count(others, 'more case')}", style="dim"))
        return table

    def _status(self, heading: Heading, doing: str, eta: float | None) -> Text:
        """Return the running round's case, number and stage, and the time left, on one line."""
        rest = [place(heading), doing]
        if heading.eta is not None:
            eta = max(0.0, heading.eta - (time.monotonic() - self._began))
        if eta is not None:
            scope = " in this round" if heading.eta is None and heading.turns != 1 else ""
            rest.append(f"about {units.duration(eta)} left{scope}")
        tail = " · ".join(["", *filter(None, rest)])
        name = Text(planned(heading.config, heading.settings), style="bold")
        name.truncate(max(LEAST_NAME, self._live.console.width - len(tail)), overflow="ellipsis")
        return name.append(tail, style="not bold")


def display(console: Console, records: Sequence[RoundRecord]) -> Lines | LiveTable:
    """Return a live table on a terminal; plain lines in a pipe, or if NO_COLOR is set."""
    if console.is_terminal and not console.is_dumb_terminal and not os.environ.get("NO_COLOR"):
        return LiveTable(console, records)
    return Lines(console)


def title(heading: Heading) -> str:
    """Return the round and the case, their place in the run, and the settings that distinguish the case."""
    turn = f"{heading.turn + 1}" + (f"/{heading.turns}" if heading.turns else "")
    return f"[{turn}] {', '.join(filter(None, [planned(heading.config, heading.settings), place(heading)]))}"


def place(heading: Heading) -> str:
    """Return a round's place among its case's; empty for the only one."""
    if heading.turns is None:
        return "further round" if heading.round else "first round"
    return f"round {heading.round + 1} of {heading.rounds}" if heading.rounds > 1 else ""


def numbers(progress: Progress) -> str:
    """Return each phase's running median, and how well it is known; empty before the first sample.

    If the sampling is to find a percentile, it is that instead.
    """
    medians, percent = progress.medians, progress.percentile
    half_width = progress.half_width if progress.half_width is not None else math.inf
    is_known = math.isfinite(half_width)
    at = "" if percent is None else f" p{percent:g}"
    times = [
        f"{phase}{at} {units.time(median, half_width * median if is_known else None)}"
        for phase, median in medians.items()
        if phase != "loss" or median > LEAST_LOSS * medians.get("total", 0.0)
    ]
    if not times:
        return ""
    samples = count(progress.n, "sample")
    if not is_known:
        return f"{', '.join(times)} · {samples}, no interval yet"
    return (
        f"{', '.join(times)} · {'at most ' if len(times) > 1 else ''}±{units.share(half_width)} · {samples}"
    )


def ending(record: RoundRecord) -> str:
    """Return a finished round's result in a few words."""
    outcome = record.outcome
    if not record.ok:
        return f"{outcome.status}: {outcome.error}"
    whole = next((each for each in record.series if each.role is Role.WHOLE), None)
    if whole is None or whole.summary is None:
        return count(len(record.calls), "call")
    samples = count(whole.summary.n, "sample")
    if (percent := record.case.config.measure.percentile) is not None:
        return f"{whole.phase} p{percent:g} {_at(percent, whole.samples)}, {samples}"
    estimate = estimate_of({record.round: whole})
    return f"{whole.phase} {units.median_and_interval(estimate)}, {samples}"


def _at(percent: float, samples: Sequence[float]) -> str:
    """Return a percentile of a round's samples, and the half-width of its interval if they have one."""
    from microbench.stats.median import relative_half_width  # brings numpy

    value, half_width = relative_half_width(samples, percent / 100)
    if not math.isfinite(half_width):
        return units.time(value)
    return f"{units.time(value, half_width * value)} ±{units.share(half_width)}"
