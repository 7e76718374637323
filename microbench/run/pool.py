"""The workers of a run: which cases share them, what they import, and their requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, overload

from microbench import registry
from microbench.errors import SkippedError, StoppedError
from microbench.host import allocator
from microbench.records.peaks import Peaks
from microbench.records.progress import Described, Fit, Place, Progress, Watch
from microbench.records.record import Outcome, Status
from microbench.run.case import Case
from microbench.run.layers import Extracted, stands_for_layers
from microbench.run.patience import GivenUpError
from microbench.run.protocol import Answer, Describe, Extract, FindPeaks, Measure, Request, TryBatch
from microbench.run.workers import (
    WORKER,
    EarlyServer,
    Forked,
    Inline,
    Spawned,
    WorkerDiedError,
    Workers,
    WorkerTimeoutError,
)
from microbench.schema import UNRESOLVED
from microbench.system import cgroups, driver, machine

MOST = 8  # servers at once: each takes a few hundred megabytes, and sleeps while another is used

Key = tuple[Any, ...]
"""Whether rounds share the workers' server, and what they need."""


class UnansweredError(Exception):
    """A worker did not answer; the outcome says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


def _unheard(text: str) -> None:
    """Ignore what is said."""


def _unwatched(progress: Progress) -> None:
    """Ignore progress."""


class Pool:
    """The workers of each kind of case, started on first use.

    Cases share a server only if they need the same modules and the same environment: the process that a
    worker is forked from must not depend on the other cases of a sweep. Those of a search share one that has
    not imported their engines; their workers import them, because starting a server for each takes longer
    than measuring.
    """

    def __init__(self, early: EarlyServer | None = None, say: Callable[[str], None] = _unheard) -> None:
        """Begin without workers.

        Args:
            early: a server that was started before, for the first kind of case that can use it.
            say: called with each sentence on the workers that the user should know, once.
        """
        self._workers: dict[Key, Workers] = {}
        self._early = early
        self.say_once = cache(say)

    def of(self, case: Case) -> Workers:
        """Return the workers for a case.

        Raises:
            SkippedError: something that its environment needs is not installed.
            UserError: there is no GPU of that number.
        """
        isolation, modules = case.config.isolation, preloads(case)
        given = case.config.env_set
        inherited = os.environ | given
        variables = given | driver.variables_for(case.config.device.label, inherited)
        variables |= allocator.variables(case.config.allocator, inherited)
        key = (case.config.measure.share_server, isolation, *modules, *variables.items())
        found = self._workers.pop(key, None)
        if found is None:
            while len(self._workers) >= MOST:
                self._workers.pop(next(iter(self._workers))).close()
            if isolation == "inline":
                found = Inline()
            else:
                found = (Spawned if isolation == "spawn" else Forked)(modules, variables, self._early)
        self._workers[key] = found  # last: the first is the one that was not used for longest
        return found

    def ask(self, case: Case, request: Extract | Measure | FindPeaks | TryBatch, watch: Watch) -> Any:
        """Return the answer of a case's worker.

        Raises:
            UnansweredError: the worker could not start, ran out of time or memory, died, or had an error.
        """
        killed = cgroups.oom_kills()
        try:
            answer = self._asked(case, request, watch, _timeout(case))
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

    def _asked(self, case: Case, request: Request, watch: Watch, timeout: float | None) -> Answer:
        """Ask a case's workers, and say what the user should know of them."""
        workers = self.of(case)
        try:
            return workers.ask(request, watch, timeout)
        finally:
            for each in workers.notes:
                self.say_once(each)

    @overload
    def find(self, case: Case, request: Extract) -> Extracted: ...

    @overload
    def find(self, case: Case, request: FindPeaks) -> Peaks | Outcome: ...

    @overload
    def find(self, case: Case, request: TryBatch) -> Fit | Outcome: ...

    def find(self, case: Case, request: Extract | FindPeaks | TryBatch) -> Any:
        """Return what a case's worker finds, or the outcome that says why it found nothing."""
        try:
            return self.ask(case, request, _unwatched)
        except UnansweredError as error:
            return error.outcome

    def find_place(self, case: Case, engines: Sequence[str] = ()) -> Place:
        """Return where a case will run: its device resolved, the machine described.

        Args:
            case: the case.
            engines: the engines to resolve `auto` for, if that is its device.

        Raises:
            StoppedError: no worker can be started, or torch cannot be imported.
            UserError: there is no such device, or it cannot be used here.
        """
        plain = replace(case, config=replace(case.config, allocator="system"))
        try:
            name = case.config.device.name
            request = Describe(name, tuple(engines) if name == UNRESOLVED else ())
            answer = self._asked(plain, request, _unwatched, timeout=None)
        except WorkerDiedError as error:
            last_words = error.log.strip().splitlines()[-1:] or ["It printed nothing."]
            raise StoppedError(f"Cannot start a worker: {error.reason}. {last_words[0].strip()}") from error
        if answer.error is not None:
            raise answer.error
        found: Described = answer.value
        for each in (found, *found.by_engine.values()):
            for note in each.notes:
                self.say_once(note)
        return _place(found, case.config.env_set)

    def renew(self) -> None:
        """End the servers that no two rounds share; the next round starts new ones."""
        for key in [each for each in self._workers if not each[0]]:
            self._workers.pop(key).close()

    def close(self) -> None:
        """End every process that was started; the next case starts new ones."""
        for workers in self._workers.values():
            workers.close()
        self._workers.clear()


def _place(found: Described, variables: Mapping[str, str]) -> Place:
    """Return the place of a described device, with these environment variables."""
    others = {name: _place(each, variables) for name, each in found.by_engine.items()}
    described = machine.described(found.facts, variables)
    return Place(found.device, described, found.emulated, found.slow, others)


def preloads(case: Case) -> list[str]:
    """Return the modules that a case's workers need, imported once before they are forked."""
    config = case.config
    engine = "eager" if config.experiment.search else config.engine.name
    mode = config.mode.each if stands_for_layers(case) else config.mode.name
    return [
        WORKER,
        registry.module_of("workloads", config.model.source),
        registry.module_of("engines", engine),
        registry.module_of("modes", mode),
        *(case.given.modules if case.given is not None else ()),
    ]


def _timeout(case: Case) -> float | None:
    """Return the seconds that a round of a case may take; None for no limit."""
    given, patience = case.config.timeout, case.patience
    if patience is None:
        return given
    return patience.whole if given is None else min(given, patience.whole)


def _too_long(case: Case, stage: str | None) -> Outcome:
    """Return the outcome of a case that exceeded a time limit: that of a stage, or of the round."""
    timeout, patience = case.config.timeout, case.patience
    if patience is not None and (stage is not None or timeout is None or patience.whole < timeout):
        return Outcome(status=Status.GIVEN_UP, error=patience.overdrawn(stage))
    return Outcome(status=Status.TIMEOUT, error=f"took longer than timeout={timeout:g} (seconds); raise it")
