"""What these tests share: workers that answer as they are told, an observer that notes what it is told."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from microbench.compose import from_options
from microbench.measure.summary import summarize
from microbench.results.record import Heading, Outcome, Place, Progress, Record, Series, Watch
from microbench.results.result import Result
from microbench.schedule.cases import Case
from microbench.schedule.child import Answer, Describe, Request

PLACE = Place("cpu", environment={"cpu": "Some CPU"})
CORES = 3  # that this process may use
SAMPLES = array("d", [0.25, 0.5])
OK = Outcome(series=(Series("inference", "fake", SAMPLES, summary=summarize(SAMPLES)),), cost={"params": 1})
Act = Callable[[Watch], Outcome]


@dataclass
class Workers:
    """Answers each case with what the test has written down for it."""

    acts: list[Act]
    place: Answer = field(default_factory=lambda: Answer(PLACE))
    asked: list[Request] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)

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
    """Answers each measuring by the case's batch and how often it has been asked for it before.

    Attributes:
        outcome: what comes of it, or what is raised.
        asked: the batches, in the order in which they were measured.
    """

    outcome: Callable[[int, int], Outcome] = lambda batch, times: OK
    asked: list[int] = field(default_factory=list)

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        if isinstance(request, Describe):
            return Answer(PLACE)
        batch = request.config.batch_size
        self.asked.append(batch)
        return Answer(self.outcome(batch, self.asked.count(batch) - 1))

    def close(self) -> None:
        pass


class Diary:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def begin(self, heading: Heading) -> None:
        where = (heading.turn, heading.turns, heading.round, heading.rounds)
        self.told.append(("begin", (heading.axes["batch_size"], list(heading.settings), *where)))

    def progress(self, progress: Progress) -> None:
        self.told.append(("progress", progress.stage))

    def end(self, records: Sequence[Record]) -> None:
        self.told.append(("end", [record["phase"] for record in records]))


def cases(*batches: int, **options: Any) -> list[Case]:
    """Cases that are measured once, one after the other, if not said otherwise."""
    defaults = {"model": "dense", "device": "cpu", "measure.rounds": 1, "schedule": "sequential"}
    return from_options(defaults | {"batch_size": batches} | options, sweep=True)


Take = Callable[..., Result]
