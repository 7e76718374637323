"""Runs cases one after the other, and has each one's records on disk before the next begins."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from microbench.errors import UserError
from microbench.metrics import machine
from microbench.results.record import Outcome, Place, Progress, Series, Status, records_of
from microbench.results.result import Record, Result
from microbench.results.store import Store
from microbench.schedule.cases import Case
from microbench.schedule.child import Describe, Measure
from microbench.schedule.workers import (
    Forked,
    Inline,
    Spawned,
    WorkerDiedError,
    Workers,
    WorkerTimeoutError,
)


class Observer(Protocol):
    """Is told what happens, while no case is being timed."""

    def begin(self, axes: Mapping[str, Any], settings: Sequence[str], order: int, total: int) -> None:
        """A case begins: its `cfg_*` fields, what else tells it from the others, its place among `total`."""
        ...

    def progress(self, progress: Progress) -> None:
        """The case has come so far."""
        ...

    def end(self, records: Sequence[Record]) -> None:
        """The case has ended, and these records are on disk."""
        ...


class Pool:
    """The workers of each kind of case, started when first used.

    Cases share a server only where they need the same modules: what a worker is forked from must not depend
    on which other cases a sweep holds.
    """

    def __init__(self) -> None:
        self._workers: dict[tuple[str, ...], Workers] = {}

    def of(self, case: Case) -> Workers:
        """The workers for a case."""
        isolation, modules = case.config.isolation, preloads(case)
        key = (isolation, *modules)
        if key not in self._workers:
            self._workers[key] = self._start(isolation, modules)
        return self._workers[key]

    def _start(self, isolation: str, modules: Sequence[str]) -> Workers:
        if isolation == "inline":
            return Inline()
        return Spawned(modules) if isolation == "spawn" else Forked(modules)

    def close(self) -> None:
        """End every process that was started."""
        for workers in self._workers.values():
            workers.close()


def preloads(case: Case) -> list[str]:
    """The modules that a case's worker needs: imported once, before any is forked."""
    config = case.config
    return [
        "microbench.worker",
        f"microbench.workloads.{config.model.source}",
        f"microbench.engines.{config.engine.name}",
        f"microbench.modes.{config.mode.name}",
    ]


def run(cases: Sequence[Case], store: Store, observer: Observer, run_id: str) -> Result:
    """Measure every case, a failed one included, and return all records.

    Raises:
        UserError: a device cannot be used here (before anything is measured), or the disk is full.
        KeyboardInterrupt: the user interrupted; what was measured until then is on disk.
    """
    pool = Pool()
    try:
        first = {case.config.device.name: case for case in reversed(cases)}
        places = {device: _place(case, pool) for device, case in first.items()}
        records: list[Record] = []
        shared = set(cases[0].overrides).intersection(*(case.overrides for case in cases)) if cases else set()
        for case in cases:
            place = places[case.config.device.name]
            resolved = case.at(place.device, place.threads)
            settings = [each for each in case.settings if each not in shared]
            records += _Turn(resolved, place, settings, run_id, len(cases)).take(pool, store, observer)
        return Result(records, store.path)
    finally:
        pool.close()


def _place(case: Case, pool: Pool) -> Place:
    request = Describe(case.config.device.name)
    try:
        answer = pool.of(case).ask(request, lambda progress: None, timeout=None)
    except WorkerDiedError as error:
        last_words = error.log.strip().splitlines()[-1:] or ["It said nothing."]
        raise UserError(f"Cannot start a worker: {error.reason}. {last_words[0].strip()}") from error
    if answer.user_error is not None:
        raise UserError(answer.user_error)
    place: Place = answer.value
    return place


@dataclass
class _Turn:
    """One case's turn in one round."""

    case: Case
    place: Place
    settings: Sequence[str]
    run_id: str
    total: int
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    partial: dict[str, Series] = field(default_factory=dict)

    def take(self, pool: Pool, store: Store, observer: Observer) -> list[Record]:
        """Measure the case and store its records.

        Raises:
            KeyboardInterrupt: the user interrupted; what was measured until then has been stored.
        """
        observer.begin(self.case.axes(), self.settings, self.case.order, self.total)
        interrupt: KeyboardInterrupt | None = None
        try:
            outcome = self._measure(pool.of(self.case), observer)
        except KeyboardInterrupt as error:
            interrupt = error
            outcome = Outcome(status=Status.ERROR, error="interrupted by the user (Ctrl-C)")
        if not outcome.series:
            outcome = replace(outcome, series=tuple(self.partial.values()))
        records = records_of(outcome, self._identity())
        store.append(records)
        observer.end(records)
        if interrupt is not None:
            raise interrupt
        return records

    def _measure(self, workers: Workers, observer: Observer) -> Outcome:
        def watch(progress: Progress) -> None:
            self._keep(progress)
            observer.progress(progress)

        timeout, killed = self.case.config.timeout, machine.oom_kills()
        try:
            answer = workers.ask(Measure(self.case.config), watch, timeout)
        except WorkerTimeoutError:
            return Outcome(Status.TIMEOUT, f"took longer than timeout={timeout:g} (seconds); raise it")
        except WorkerDiedError as error:
            status = Status.OOM if machine.oom_kills() != killed else Status.ERROR
            return Outcome(status, error.reason, traceback=error.log or None)
        if answer.user_error is not None:
            return Outcome(Status.ERROR, answer.user_error)
        outcome: Outcome = answer.value
        return outcome

    def _keep(self, progress: Progress) -> None:
        """Hold on to samples as they come, in case the worker does not live to summarize them."""
        for phase, fresh in progress.samples.items():
            if phase not in self.partial:
                calls = progress.calls_per_sample
                self.partial[phase] = Series(phase, progress.clock, array("d"), calls_per_sample=calls)
            self.partial[phase].samples.extend(fresh)

    def _identity(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "case_id": self.case.id,
            "host_id": machine.host_id(),
            "started_at": self.started_at,
            "round": self.case.round,
            "order": self.case.order,
            "command": self.case.command,
            **{f"cfg_{axis}": value for axis, value in self.case.axes().items()},
            "config": asdict(self.case.config),
            **{f"env_{name}": value for name, value in self.place.environment.items()},
        }
