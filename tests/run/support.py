"""Shared by these tests: workers with prepared answers, and an observer that records its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from factory import series_of

from microbench.options.compose import from_options
from microbench.records.progress import Described, Heading, Progress, Watch
from microbench.records.record import Measured, Outcome, RoundRecord, Status
from microbench.records.result import Result
from microbench.run.case import Case
from microbench.run.protocol import Answer, Describe, Request

PLACE = Described("cpu", {"cpu": "Some CPU"})
CORES = 3  # usable by this process
SAMPLES = [0.25, 0.5]
OK = Measured(Outcome(params=1), (series_of("inference", SAMPLES),))
Act = Callable[[Watch], Measured]


def failed(status: Status = Status.ERROR, error: str = "it broke", **more: Any) -> Measured:
    """Return a worker's answer for a case that fails."""
    return Measured(Outcome(status=status, error=error, **more))


@dataclass
class Workers:
    """Workers that answer each case as the test prepares."""

    acts: list[Act]
    place: Answer = field(default_factory=lambda: Answer(PLACE))
    asked: list[Request] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    notes: Sequence[str] = ()

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        self.asked.append(request)
        self.timeouts.append(timeout)
        if isinstance(request, Describe):
            return self.place
        return Answer(self.acts.pop(0)(watch))

    def close(self) -> None:
        pass


@dataclass
class Scripted:
    """Workers that answer by the case's batch, and by how often it has been measured before.

    Attributes:
        outcome: returns the answer, or raises.
        asked: the batches, in the order in which they were measured.
    """

    outcome: Callable[[int, int], Measured] = lambda batch, times: OK
    asked: list[int] = field(default_factory=list)
    notes: Sequence[str] = ()

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        if isinstance(request, Describe):
            return Answer(PLACE)
        batch = request.config.batch_size
        self.asked.append(batch)
        return Answer(self.outcome(batch, self.asked.count(batch) - 1))

    def close(self) -> None:
        pass


class Diary:
    """An observer that records its calls."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def begin(self, heading: Heading) -> None:
        where = (heading.turn, heading.turns, heading.round, heading.rounds)
        self.told.append(("begin", (heading.config.batch_size, list(heading.settings), *where)))

    def progress(self, progress: Progress) -> None:
        self.told.append(("progress", progress.stage))

    def end(self, record: RoundRecord) -> None:
        self.told.append(("end", [series.phase for series in record.series]))

    def say(self, text: str) -> None:
        self.told.append(("say", text))


def cases(*batches: int, **options: Any) -> list[Case]:
    """Return cases that are measured once, one after the other, by default."""
    defaults = {"model": "dense", "device": "cpu", "measure.rounds": 1, "schedule": "sequential"}
    return from_options(defaults | {"batch_size": batches} | options, sweep=True)


Take = Callable[..., Result]
