"""The worker's side of the connection: one request in, progress and one answer out."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from microbench.config import Config
from microbench.errors import StoppedError, UserError, first_line
from microbench.records.progress import Progress, Watch
from microbench.records.record import Outcome


@dataclass(frozen=True)
class Describe:
    """Ask what a device is: resolve its name and describe it."""

    device: str

    def run(self, watch: Watch) -> Any:
        """What the device is and says of itself."""
        from microbench import worker

        return worker.describe(self.device)


@dataclass(frozen=True)
class Measure:
    """Ask for what a round of a case finds.

    Attributes:
        config: the case.
        is_first: it is the case's first round, in which what all share is found out.
        trace: where a trace of it goes; None for none.
        limits: by a stage of its progress, how many seconds that may take before the parent ends it.
    """

    config: Config
    is_first: bool
    trace: Path | None = None
    limits: Mapping[str, float] = field(default_factory=dict)

    def run(self, watch: Watch) -> Any:
        """What was found."""
        from microbench import worker

        return worker.measure_case(self.config, watch, self.is_first, self.trace)


@dataclass(frozen=True)
class Extract:
    """Ask for the layers of a case's model."""

    config: Config

    def run(self, watch: Watch) -> Any:
        """The layers, or the outcome that says why they cannot be told."""
        from microbench.worker.failures import explain
        from microbench.workloads.parts import distinct

        try:
            return distinct.layers_of(self.config)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            status, message = explain(error, self.config, "finding the layers of", None)
            return Outcome(status=status, error=message, traceback=traceback.format_exc())


@dataclass(frozen=True)
class FindPeaks:
    """Ask for what the device reaches at best, in a process that is in a case's state.

    Attributes:
        config: the case, with its device resolved.
        refresh: measure again what was measured before.
    """

    config: Config
    refresh: bool

    def run(self, watch: Watch) -> Any:
        """The peaks."""
        from microbench import worker

        return worker.find_peaks(self.config, self.refresh)


Request = Describe | Measure | Extract | FindPeaks


@dataclass(frozen=True)
class Answer:
    """What a request came to: a value, or what kept it from one."""

    value: Any = None
    error: UserError | None = None


def answer(connection: Connection) -> None:
    """Read one request, and write its progress and its answer.

    A report of progress waits until the parent has taken it in, so that what the parent does with it, such
    as drawing, does not run beside what is timed.
    """

    def watch(progress: Progress) -> None:
        connection.send(progress)
        connection.recv()

    request: Request = connection.recv()
    try:
        found = run(request, watch)
    except KeyboardInterrupt:  # Ctrl-C reaches the parent alone
        found = Answer(error=StoppedError("The workload's own code raised KeyboardInterrupt."))
    connection.send(found)


def run(request: Request, watch: Watch) -> Answer:
    """Carry out a request in this process."""
    try:
        return Answer(request.run(watch))
    except UserError as error:
        return Answer(error=error)
    except ImportError as error:
        return Answer(error=StoppedError(f"Cannot import what a worker needs: {first_line(error)}."))
