"""Runs the rounds of cases one after the other, and has each one's records on disk before the next begins."""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from microbench.config import Config
from microbench.errors import SkippedError, UserError
from microbench.host import allocator
from microbench.metrics import cgroups, cpus, machine
from microbench.results.layerwise import fields_of
from microbench.results.record import (
    SEARCH,
    Heading,
    Outcome,
    Place,
    Progress,
    Record,
    Series,
    Status,
    records_of,
    unverified,
)
from microbench.results.result import Result, load
from microbench.results.store import Store
from microbench.schedule import signals
from microbench.schedule.cases import Case
from microbench.schedule.child import Describe, Extract, Measure
from microbench.schedule.layers import Extracted, expanded, stands_for_layers
from microbench.schedule.resume import SOFTWARE, before, changed, matched, shown_as
from microbench.schedule.search import Search
from microbench.schedule.turns import Schedule, schedule_of
from microbench.schedule.workers import (
    Forked,
    Inline,
    Spawned,
    WorkerDiedError,
    Workers,
    WorkerTimeoutError,
)

UNKNOWN: Mapping[str, None] = dict.fromkeys(
    (
        "allocator",
        "threads",
        "interop_threads",
        "cpus",
        "flush_denormal",
        "engine",
        "arithmetic",
        "conversions",
        "peaks",
    )
)
"""What a worker says of its environment (`host.state`), where it did not live to say it."""


class Observer(Protocol):
    """Is told what happens, while no case is being timed."""

    def begin(self, heading: Heading) -> None:
        """A round of a case begins."""
        ...

    def progress(self, progress: Progress) -> None:
        """The round has come so far."""
        ...

    def end(self, records: Sequence[Record]) -> None:
        """The round has ended, and these records are on disk."""
        ...


class Pool:
    """The workers of each kind of case, started when first used.

    Cases share a server only where they need the same modules and the same environment: what a worker is
    forked from must not depend on which other cases a sweep holds.
    """

    def __init__(self) -> None:
        self._workers: dict[tuple[Any, ...], Workers] = {}

    def of(self, case: Case) -> Workers:
        """The workers for a case.

        Raises:
            SkippedError: what its environment needs is not installed.
        """
        isolation, modules = case.config.isolation, preloads(case)
        variables = allocator.variables(case.config.allocator)
        key = (isolation, *modules, *variables.items())
        if key not in self._workers:
            self._workers[key] = self._start(isolation, modules, variables)
        return self._workers[key]

    def _start(self, isolation: str, modules: Sequence[str], variables: Mapping[str, str]) -> Workers:
        if isolation == "inline":
            return Inline()
        return Spawned(modules, variables) if isolation == "spawn" else Forked(modules, variables)

    def close(self) -> None:
        """End every process that was started; those for the next case are new ones."""
        for workers in self._workers.values():
            workers.close()
        self._workers.clear()


def _renew(pool: Pool, last: Case | None, case: Case) -> None:
    """Give a round servers of its own."""
    if last is not None and (case.round != last.round or case.order == last.order):
        pool.close()


def _too_long(config: Config) -> str:
    """What to say of a case that ran out of time."""
    if config.experiment.search:
        return f"the search had {config.timeout:.0f} s left for it: raise experiment.budget"
    return f"took longer than timeout={config.timeout:g} (seconds); raise it"


def preloads(case: Case) -> list[str]:
    """The modules that a case's worker needs: imported once, before any is forked."""
    config = case.config
    mode = config.mode.each if stands_for_layers(case) else config.mode.name
    return [
        "microbench.worker",
        f"microbench.workloads.{config.model.source}",
        f"microbench.engines.{config.engine.name}",
        f"microbench.modes.{mode}",
    ]


@dataclass
class Run:
    """The measuring of at least one case.

    Attributes:
        cases: the cases, each with its place in `order`.
        store: where the records go.
        observer: is told how it goes.
        run_id: the run's id, where it is a new one.
        command: the command line that asks for the run; None for one from Python.
        completing: measure only what the store's folder has no records of, as a part of its run.
        records: what has been measured, in this invocation and, completing, before.
        invocation: tells the rounds measured now from those measured before.
        note: what there is to say of the records that were there before.
    """

    cases: Sequence[Case]
    store: Store
    observer: Observer
    run_id: str
    command: str | None = None
    completing: bool = False
    records: list[Record] = field(default_factory=list)
    invocation: str = field(default_factory=lambda: secrets.token_hex(4))
    note: str | None = None
    _places: dict[str, Place] = field(init=False, default_factory=dict)

    @property
    def result(self) -> Result:
        """What has been measured so far."""
        return Result(self.records, self.store.path)

    def measure(self) -> Result:
        """Measure every round of every case, failed ones included, and return all records.

        Each round has workers forked from a server of its own, for all that are forked from one share how its
        memory is laid out. A case whose first round fails is not tried again.

        Raises:
            UserError: a device cannot be used here (before anything is measured), or the disk is full.
            KeyboardInterrupt: the user interrupted; what was measured until then is on disk.
        """
        pool = Pool()
        try:
            cases = expanded(self._resolved(pool), lambda case: find_layers(case, pool))
            if self.cases[0].config.experiment.search:
                self._search(cases, pool)
            else:
                self._measure(*self._schedule(cases), pool)
            return self.result
        finally:
            pool.close()

    def _resolved(self, pool: Pool) -> list[Case]:
        """The cases with their devices and threads as they are on this machine.

        Cores are counted in this process: OpenMP may bind a worker's first thread to one (OMP_PROC_BIND).
        """
        first = {case.config.device.name: case for case in reversed(self.cases)}
        places = {device: find_place(case, pool) for device, case in first.items()}
        self._places = {place.device: place for place in places.values()}
        threads = cpus.physical_cores()
        return [case.at(places[case.config.device.name].device, threads) for case in self.cases]

    def _schedule(self, cases: Sequence[Case]) -> tuple[Schedule, set[tuple[int, int]]]:
        """What to measure in which order, and which (place, round) of it are done already."""
        there = load(self.store.path).records if self.completing and self.store.path.exists() else []
        earlier = before(there, machine.host_id())
        if earlier is not None and (changes := changed(earlier, self._software())):
            self.note = f"The run that was there is of other software, and all is measured anew: {changes}."
            earlier = None
        if earlier is None:
            return schedule_of(cases, secrets.randbelow(2**32)), set()
        self.run_id = earlier.run_id
        placed, done = matched(cases, earlier)
        wanted = {case.order: case for case in placed}
        self.records += [
            shown_as(record, wanted[record["order"]].config)
            for found in earlier.cases
            for attempt in found.rounds.values()
            for record in attempt
            if record["order"] in wanted
        ]
        schedule = schedule_of(placed, earlier.seed)
        all_turns = len(schedule.turns())
        self.note = f"{len(done)} of {all_turns} rounds were there already." if done else None
        return schedule, done

    def _software(self) -> dict[str, Any]:
        """The versions that a run's rounds share: `env_*` fields."""
        environment = {
            key: value for place in self._places.values() for key, value in place.environment.items()
        }
        return {f"env_{name}": environment.get(name) for name in SOFTWARE}

    def _measure(self, schedule: Schedule, done: set[tuple[int, int]], pool: Pool) -> None:
        """Measure every turn that is not done, and drop the others of a case that fails at its first."""
        succeeded, failed = {order for order, _ in done}, set[int]()
        turns, last = schedule.turns(), None
        for index, case in enumerate(turns):
            if (case.order, case.round) in done or case.order in failed:
                continue
            _renew(pool, last, case)
            last = case
            if self._take(case, index, len(turns), schedule, pool) == Status.OK:
                succeeded.add(case.order)
            elif case.order not in succeeded:
                failed.add(case.order)

    def _search(self, cases: Sequence[Case], pool: Pool) -> None:
        """Measure what the search for the fastest of the cases asks for; the first is the baseline.

        Raises:
            UserError: the folder holds records already.
        """
        if self.store.written:
            raise UserError(f"{self.store.path} is there already: give a search a folder of its own.")
        config = cases[0].config
        schedule = schedule_of(cases, secrets.randbelow(2**32))
        search = Search(cases[0], cases[1:], config.experiment.budget, schedule.seed, self.records)
        last = None
        for index, case in enumerate(search.turns()):
            _renew(pool, last, case)
            last = case
            self._take(case, index, None, replace(schedule, kind=SEARCH), pool)

    def _take(self, case: Case, turn: int, turns: int | None, schedule: Schedule, pool: Pool) -> str:
        """Measure one round of a case, and say how it ended."""
        shared = set.intersection(*(set(each.overrides) for each in self.cases))
        settings = [each for each in case.settings if each not in shared]
        of_run = {
            "run_id": self.run_id,
            "run_command": self.command,
            "invocation": self.invocation,
            "turn": turn,
            "schedule": schedule.kind,
            "schedule_seed": schedule.seed,
        }
        heading = Heading(case.axes(), settings, turn, turns, case.round, case.rounds)
        place = self._places[case.config.device.name]
        records = _Turn(case, place, heading, of_run).take(pool, self.store, self.observer, self.records)
        return str(records[0]["status"])


def find_place(case: Case, pool: Pool) -> Place:
    """Where a case will run: its device resolved, the machine described.

    Raises:
        UserError: no worker can be started, or the device cannot be used here.
    """
    plain = replace(case, config=replace(case.config, allocator="system"))
    try:
        answer = pool.of(plain).ask(Describe(case.config.device.name), lambda progress: None, timeout=None)
    except WorkerDiedError as error:
        last_words = error.log.strip().splitlines()[-1:] or ["It said nothing."]
        raise UserError(f"Cannot start a worker: {error.reason}. {last_words[0].strip()}") from error
    if answer.user_error is not None:
        raise UserError(answer.user_error)
    place: Place = answer.value
    return replace(place, environment={**machine.environment(), **place.environment})


def find_layers(case: Case, pool: Pool) -> Extracted:
    """The layers of a case's model; where they cannot be found, how that ended."""
    try:
        answer = pool.of(case).ask(Extract(case.config), lambda progress: None, case.config.timeout)
    except SkippedError as error:
        return Outcome(Status.SKIPPED, str(error))
    except WorkerTimeoutError:
        return Outcome(Status.TIMEOUT, _too_long(case.config))
    except WorkerDiedError as error:
        return Outcome(Status.ERROR, error.reason, traceback=error.log or None)
    if answer.user_error is not None:
        return Outcome(Status.ERROR, answer.user_error)
    found: Extracted = answer.value
    return found


@dataclass
class _Turn:
    """One case's turn in one round."""

    case: Case
    place: Place
    heading: Heading
    of_run: Mapping[str, Any]
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    partial: dict[str, Series] = field(default_factory=dict)
    measured: Outcome | None = None

    def take(self, pool: Pool, store: Store, observer: Observer, found: list[Record]) -> list[Record]:
        """Measure the case and store its records, adding them to those `found` before.

        Raises:
            KeyboardInterrupt: the user interrupted; what was measured until then has been stored.
        """
        observer.begin(self.heading)
        interrupt: KeyboardInterrupt | None = None
        try:
            outcome = self.case.known or self._measure(pool, store, observer)
        except KeyboardInterrupt as error:
            interrupt = error
            outcome = Outcome(status=Status.ERROR, error=str(error) or "interrupted (Ctrl-C)")
        with signals.held():
            if not outcome.series:
                outcome = replace(outcome, series=tuple(self.partial.values()))
            records = records_of(outcome, self._identity(outcome))
            found += records
            store.append(records)
        observer.end(records)
        if interrupt is not None:
            raise interrupt
        return records

    def _measure(self, pool: Pool, store: Store, observer: Observer) -> Outcome:
        def watch(progress: Progress) -> None:
            self._keep(progress)
            observer.progress(progress)

        config, is_first = self.case.config, self.case.round == 0
        trace = store.path.with_name(f"trace-{self.case.id}.json").resolve()
        request = Measure(config, is_first, trace if config.trace and is_first else None)
        timeout, killed = config.timeout, cgroups.oom_kills()
        try:
            answer = pool.of(self.case).ask(request, watch, timeout)
        except SkippedError as error:
            return Outcome(Status.SKIPPED, str(error))
        except WorkerTimeoutError:
            return self._cut_short(Outcome(Status.TIMEOUT, _too_long(self.case.config)))
        except WorkerDiedError as error:
            status = Status.OOM if cgroups.oom_kills() != killed else Status.ERROR
            return self._cut_short(Outcome(status, error.reason, traceback=error.log or None))
        if answer.user_error is not None:
            return Outcome(Status.ERROR, answer.user_error)
        outcome: Outcome = answer.value
        return outcome

    def _cut_short(self, outcome: Outcome) -> Outcome:
        """The outcome of a worker that did not answer: all that it measured, if it ended at the check."""
        if self.measured is None:
            return outcome
        return unverified(self.measured, f"Checking the answer failed: {outcome.error}")

    def _keep(self, progress: Progress) -> None:
        """Hold on to samples as they come, in case the worker does not live to summarize them."""
        self.measured = progress.outcome
        for phase, fresh in progress.samples.items():
            if phase not in self.partial:
                calls = progress.calls_per_sample
                self.partial[phase] = Series(
                    phase,
                    progress.clock,
                    array("d"),
                    calls_per_sample=calls,
                    sampled=progress.stage == "sample",
                )
            self.partial[phase].samples.extend(fresh)

    def _identity(self, outcome: Outcome) -> dict[str, Any]:
        environment = {**self.place.environment, **UNKNOWN, **outcome.environment}
        return {
            **self.of_run,
            "case_id": self.case.id,
            "host_id": machine.host_id(),
            "started_at": self.started_at,
            "round": self.case.round,
            "order": self.case.order,
            "command": self.case.command,
            **{f"cfg_{axis}": value for axis, value in self.case.axes().items()},
            "config": asdict(self.case.config),
            **fields_of(self.case.layer),
            **{f"env_{name}": value for name, value in environment.items()},
        }
