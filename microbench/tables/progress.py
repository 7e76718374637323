"""Progress while measuring: a live line on a terminal, plain lines elsewhere, or nothing.

A display is drawn only when the worker reports, between samples; nothing here runs on a timer, which would
take a CPU away from what is timed.
"""

from __future__ import annotations

import os
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from microbench.records.cases import estimate_of
from microbench.records.progress import Heading, Progress
from microbench.records.record import Role, RoundRecord
from microbench.tables import units
from microbench.tables.labels import count

STAGES = {
    "build": "building",
    "prepare": "preparing",
    "warmup": "warming up",
    "verify": "checking the answer",
}


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
    """One line when a case begins and one when it has ended, on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""

    def __enter__(self) -> Lines:
        """Do nothing: there is nothing to set up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to end."""

    def begin(self, heading: Heading) -> None:
        """Print which case begins."""
        self._title = title(heading)
        self.say(f"{self._title}: measuring")

    def progress(self, progress: Progress) -> None:
        """Do nothing: a log should have few lines."""

    def end(self, record: RoundRecord) -> None:
        """Print how the case ended."""
        self.say(f"{self._title}: {ending(record)}")

    def say(self, text: str) -> None:
        """Print a line about the run."""
        self._console.print(Text(text), soft_wrap=True)


class LiveLine:
    """A line on a terminal that follows the sampling; a line stays for each case that has ended."""

    def __init__(self, console: Console) -> None:
        self._live = Live(
            Text("starting the worker: importing torch"), console=console, auto_refresh=False, transient=True
        )
        self._title = ""

    def __enter__(self) -> LiveLine:
        """Begin to draw."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the line."""
        self._live.stop()

    def begin(self, heading: Heading) -> None:
        """Show which case begins."""
        self._title = title(heading)
        self._draw("starting")

    def progress(self, progress: Progress) -> None:
        """Show the progress."""
        self._draw(STAGES.get(progress.stage) or state(progress))

    def end(self, record: RoundRecord) -> None:
        """Leave a line that says how it ended."""
        self._live.update(Text(""))
        self._live.console.print(Text(f"{self._title}: {ending(record)}", style="dim"))

    def say(self, text: str) -> None:
        """Leave a line about the run."""
        self._live.console.print(Text(text), soft_wrap=True)

    def _draw(self, doing: str) -> None:
        self._live.update(Text.assemble((self._title, "bold"), " ", doing), refresh=True)


def display(console: Console) -> Lines | LiveLine:
    """Return a live line on a terminal; plain lines in a pipe, or if NO_COLOR is set."""
    if console.is_terminal and not console.is_dumb_terminal and not os.environ.get("NO_COLOR"):
        return LiveLine(console)
    return Lines(console)


def title(heading: Heading) -> str:
    """Return the round and the case, their place in the run, and the settings that distinguish the case."""
    config = heading.config
    model = " ".join(filter(None, (config.model.name, config.model.part)))
    about = [
        f"{model} {config.mode.name}",
        f"batch {config.batch_size}",
        config.engine.name,
        config.device.name,
    ]
    rounds = [f"round {heading.round + 1} of {heading.rounds}"] if heading.rounds > 1 else []
    if heading.turns is None:
        rounds = [f"final, round {heading.round}"] if heading.round else ["first round"]
    place = f"{heading.turn + 1}" + (f"/{heading.turns}" if heading.turns else "")
    return f"[{place}] {', '.join([*about, *heading.settings, *rounds])}"


def state(progress: Progress) -> str:
    """Return the sampling so far: phase, running median, its interval's half-width, samples, time left."""
    if progress.median is None:
        return "sampling"
    half_width = progress.half_width if progress.half_width is not None else float("inf")
    known = half_width != float("inf")
    median = units.time(progress.median, half_width * progress.median if known else None)
    width = f"±{units.share(half_width)}" if known else "± not known yet"
    return f"{progress.phase} {median} {width} · {progress.n} samples · about {progress.eta or 0:.0f} s left"


def ending(record: RoundRecord) -> str:
    """Return a finished round's result in a few words."""
    outcome = record.outcome
    if not record.ok:
        return f"{outcome.status}: {outcome.error}"
    whole = next((each for each in record.series if each.role is Role.WHOLE), None)
    if whole is None or whole.summary is None:
        return count(len(record.calls), "call")
    estimate = estimate_of({record.round: whole})
    return f"{whole.phase} {units.median_and_interval(estimate)}, {whole.summary.n} samples"
