"""What is asked of workers: where a case runs, which layers its model has, and what measuring it gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from microbench.errors import SkippedError, StoppedError
from microbench.records.peaks import Peaks
from microbench.records.progress import Described, Place, Progress, Watch
from microbench.records.record import Outcome, Status
from microbench.run.case import Case
from microbench.run.layers import Extracted
from microbench.run.patience import GivenUpError
from microbench.run.pool import Pool
from microbench.run.protocol import Describe, Extract, FindPeaks, Measure
from microbench.run.workers import WorkerDiedError, WorkerTimeoutError
from microbench.system import cgroups, machine


class UnansweredError(Exception):
    """A worker gave no answer; the outcome says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


def ask(pool: Pool, case: Case, request: Extract | Measure | FindPeaks, watch: Watch) -> Any:
    """The answer of a case's worker.

    Raises:
        UnansweredError: there is none: it could not start, ran out of time or memory, died, or refused.
    """
    killed = cgroups.oom_kills()
    try:
        answer = pool.of(case).ask(request, watch, _timeout(case))
    except SkippedError as error:
        raise UnansweredError(Outcome(status=Status.SKIPPED, error=str(error))) from error
    except WorkerTimeoutError as error:
        raise UnansweredError(_too_long(case, error.stage)) from error
    except GivenUpError as error:
        raise UnansweredError(Outcome(status=Status.GIVEN_UP, error=str(error))) from error
    except WorkerDiedError as error:
        status = Status.OOM if cgroups.oom_kills() != killed else Status.ERROR
        raise UnansweredError(
            Outcome(status=status, error=error.reason, traceback=error.log or None)
        ) from error
    if answer.error is not None:
        raise UnansweredError(Outcome(status=Status.ERROR, error=str(answer.error)))
    return answer.value


def _timeout(case: Case) -> float | None:
    """Seconds that a round of a case may take; None for no limit."""
    given, patience = case.config.timeout, case.patience
    if patience is None:
        return given
    return patience.whole if given is None else min(given, patience.whole)


def _too_long(case: Case, stage: str | None) -> Outcome:
    """How a case ended that ran out of time, in a stage or in all."""
    timeout, patience = case.config.timeout, case.patience
    if patience is not None and (stage is not None or timeout is None or patience.whole < timeout):
        return Outcome(status=Status.GIVEN_UP, error=patience.overdrawn(stage))
    return Outcome(status=Status.TIMEOUT, error=f"took longer than timeout={timeout:g} (seconds); raise it")


def _unwatched(progress: Progress) -> None:
    """What has nothing to tell on the way."""


def find_layers(case: Case, pool: Pool) -> Extracted:
    """The layers of a case's model; where they cannot be found, how that ended."""
    try:
        found: Extracted = ask(pool, case, Extract(case.config), _unwatched)
    except UnansweredError as error:
        return error.outcome
    return found


def find_peaks(case: Case, pool: Pool, refresh: bool) -> Peaks | Outcome:
    """What the device of a case reaches at best; where that cannot be found, how that ended.

    Args:
        case: the case, with its device and threads resolved.
        pool: whose worker measures.
        refresh: measure again what was measured before.
    """
    try:
        found: Peaks = ask(pool, case, FindPeaks(case.config, refresh), _unwatched)
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
    found: Described = answer.value
    return Place(found.device, machine.described(found.facts, case.config.env_set), found.emulated)
