"""The worker's side of the connection: one request in, progress and one answer out."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microbench.config import Config
from microbench.errors import StoppedError, UserError, first_line
from microbench.records.progress import Progress, Watch
from microbench.records.record import Outcome, Plan

if TYPE_CHECKING:
    from microbench.workloads.given import Given, Sent


def _holding(given: Given | Sent | None) -> AbstractContextManager[None]:
    """Let workloads be built from a module object, if there is one."""
    if given is None:
        return nullcontext()
    from microbench.workloads.given import held

    return held(given)


@dataclass(frozen=True)
class Describe:
    """A request for a device: resolve its name and describe it.

    Attributes:
        device: its name.
        engines: if that is `auto`, the engines to resolve it for as well.
    """

    device: str
    engines: tuple[str, ...] = ()

    def run(self, watch: Watch) -> Any:
        """Return the resolved device and its description."""
        from microbench import worker

        return worker.describe(self.device, self.engines)


@dataclass(frozen=True)
class Measure:
    """A request to measure a round of a case.

    Attributes:
        config: the case.
        is_first: whether it is the case's first round, which determines what all rounds share.
        trace: where to write a trace; None for none.
        limits: seconds that a stage of its progress may take before the parent ends it, by stage.
        plan: what the round is granted; None for no limit.
        given: the module object that is measured; None for a model that has a name.
    """

    config: Config
    is_first: bool
    trace: Path | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    plan: Plan | None = None
    given: Given | Sent | None = None

    def run(self, watch: Watch) -> Any:
        """Return what was measured."""
        from microbench import worker

        with _holding(self.given):
            return worker.measure_case(self.config, watch, self.is_first, self.trace, self.plan)


@dataclass(frozen=True)
class Extract:
    """A request for the layers of a case's model.

    Attributes:
        config: the case.
        given: the module object that is the model; None for a model that has a name.
    """

    config: Config
    given: Given | Sent | None = None

    def run(self, watch: Watch) -> Any:
        """Return the layers, or the outcome that says why they cannot be found."""
        from microbench.worker.failures import explain
        from microbench.workloads.parts import distinct

        try:
            with _holding(self.given):
                return distinct.layers_of(self.config)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            status, message = explain(error, self.config, "finding the layers of", None)
            return Outcome(status=status, error=message, traceback=traceback.format_exc())


@dataclass(frozen=True)
class FindPeaks:
    """A request for the device's peaks, measured in a process with a case's state.

    Attributes:
        config: the case, with its device resolved.
        refresh: whether to measure again what was measured before.
    """

    config: Config
    refresh: bool

    def run(self, watch: Watch) -> Any:
        """Return the peaks."""
        from microbench import worker

        return worker.find_peaks(self.config, self.refresh)


@dataclass(frozen=True)
class TryBatch:
    """A request for what a case needs with its batch.

    Attributes:
        config: the case.
    """

    config: Config

    def run(self, watch: Watch) -> Any:
        """Return what it needs."""
        from microbench.worker.fit import fit

        return fit(self.config, watch)


Request = Describe | Measure | Extract | FindPeaks | TryBatch


@dataclass(frozen=True)
class Answer:
    """The result of a request: a value, or an error."""

    value: Any = None
    error: UserError | None = None


def answer(connection: Connection) -> None:
    """Read one request, and write its progress and its answer.

    A report of progress waits until the parent has processed it, so that the parent's work, such as drawing,
    does not run at the same time as what is timed.
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
    """Run a request in this process."""
    try:
        return Answer(request.run(watch))
    except UserError as error:
        return Answer(error=error)
    except ImportError as error:
        return Answer(error=StoppedError(f"Cannot import what a worker needs: {first_line(error)}."))
