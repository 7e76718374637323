"""What is asked of workers: where a case runs, which layers its model has, and what measuring it gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from microbench.config import Config
from microbench.errors import SkippedError, StoppedError
from microbench.metrics import cgroups, machine
from microbench.results.record import Outcome, Place, Progress, Status, Watch
from microbench.schedule.cases import Case
from microbench.schedule.child import Describe, Extract, Measure
from microbench.schedule.layers import Extracted
from microbench.schedule.pool import Pool
from microbench.schedule.workers import WorkerDiedError, WorkerTimeoutError


class UnansweredError(Exception):
    """A worker gave no answer; the outcome says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


def ask(pool: Pool, case: Case, request: Extract | Measure, watch: Watch) -> Any:
    """The answer of a case's worker.

    Raises:
        UnansweredError: there is none: it could not start, ran out of time or memory, died, or refused.
    """
    killed = cgroups.oom_kills()
    try:
        answer = pool.of(case).ask(request, watch, case.config.timeout)
    except SkippedError as error:
        raise UnansweredError(Outcome(Status.SKIPPED, str(error))) from error
    except WorkerTimeoutError as error:
        raise UnansweredError(Outcome(Status.TIMEOUT, _too_long(case.config))) from error
    except WorkerDiedError as error:
        status = Status.OOM if cgroups.oom_kills() != killed else Status.ERROR
        raise UnansweredError(Outcome(status, error.reason, traceback=error.log or None)) from error
    if answer.error is not None:
        raise UnansweredError(Outcome(Status.ERROR, str(answer.error)))
    return answer.value


def _too_long(config: Config) -> str:
    """What to say of a case that ran out of time."""
    if config.experiment.search:
        return f"the search had {config.timeout:.0f} s left for it: raise experiment.budget"
    return f"took longer than timeout={config.timeout:g} (seconds); raise it"


def _unwatched(progress: Progress) -> None:
    """What has nothing to tell on the way."""


def find_layers(case: Case, pool: Pool) -> Extracted:
    """The layers of a case's model; where they cannot be found, how that ended."""
    try:
        found: Extracted = ask(pool, case, Extract(case.config), _unwatched)
    except UnansweredError as error:
        return error.outcome
    return found


def find_place(case: Case, pool: Pool) -> Place:
    """Where a case will run: its device resolved, the machine described.

    Raises:
        StoppedError: no worker can be started, or torch cannot be imported.
        UserError: the device cannot be used here.
    """
    plain = replace(case, config=replace(case.config, allocator="system"))
    try:
        answer = pool.of(plain).ask(Describe(case.config.device.name), _unwatched, timeout=None)
    except WorkerDiedError as error:
        last_words = error.log.strip().splitlines()[-1:] or ["It said nothing."]
        raise StoppedError(f"Cannot start a worker: {error.reason}. {last_words[0].strip()}") from error
    if answer.error is not None:
        raise answer.error
    place: Place = answer.value
    return replace(place, environment={**machine.environment(), **place.environment})
