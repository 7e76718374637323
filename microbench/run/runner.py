"""The runner of cases' rounds, one after the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from microbench.config import OPTIONS
from microbench.errors import UserError
from microbench.records.progress import Fit, Heading, Place
from microbench.records.record import SEARCH, Outcome, RoundRecord, RunInfo, Status
from microbench.records.result import Result, load
from microbench.records.store import Store
from microbench.run.adaptive import schedule_of
from microbench.run.case import Case
from microbench.run.fit import fitted
from microbench.run.gpu import Gpus
from microbench.run.layers import Extracted, expanded
from microbench.run.order import Order, Schedule
from microbench.run.pool import Pool
from microbench.run.protocol import Extract, TryBatch
from microbench.run.resume import Before, before, changed, matched, matched_by_id, shown_as
from microbench.run.round import Observer, Round
from microbench.run.search import Search
from microbench.run.turns import Turns
from microbench.run.workers import EarlyServer
from microbench.schema import UNRESOLVED, value_of
from microbench.system import cpus, machine
from microbench.tables.labels import planned

Where = tuple[Any, ...]


@dataclass
class Run:
    """The measurement of at least one case.

    Attributes:
        cases: the cases, each with its place in `order`.
        store: where the records go.
        observer: the observer of its progress.
        run_id: the run's id, if it is a new one.
        command_line: the command line that started the run; None for one from Python.
        command: the microbench command in it, such as `doctor`; empty for one that measures cases.
        completing: whether to complete the run in the store's folder: to measure only what has no records.
        early: a server that was started before; None for none.
        records: what has been measured, in this invocation and, if completing, before.
        invocation: distinguishes the rounds measured now from those measured before.
        note: a sentence on the records that existed before, or on rounds that were left out.
    """

    cases: Sequence[Case]
    store: Store
    observer: Observer
    run_id: str
    command_line: str | None = None
    command: str = ""
    completing: bool = False
    early: EarlyServer | None = None
    records: list[RoundRecord] = field(default_factory=list)
    invocation: str = field(default_factory=lambda: secrets.token_hex(4))
    note: str | None = None
    _places: dict[Where, Place] = field(init=False, default_factory=dict)
    _startup: float = field(init=False, default=0.0)
    _number: int = field(init=False, default=1)
    _turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self._turns = Turns(self.observer.say)

    @property
    def result(self) -> Result:
        """What has been measured so far."""
        return Result(self.records, self.store.path)

    def measure(self) -> Result:
        """Measure every round of every case, failed ones included, and return all records.

        Workers are forked from one server for each kind of case, or with measure.share_server=false from one
        for each round: all that are forked from one share its memory layout. A case whose first round fails
        is not tried again.

        Raises:
            UserError: a device cannot be used here (before anything is measured), or the disk is full.
            KeyboardInterrupt: the user interrupted; everything measured until then is on disk.
        """
        pool, gpus = Pool(self.early, self.observer.say), Gpus(self.observer.say)
        try:
            resolved = list(self._fitted(self._resolved(pool), pool))
            cases = list(expanded(resolved, lambda case: self._layers(case, pool)))
            self._number = len(cases)
            is_search = self.cases[0].config.experiment.search
            order: Order = self._search(cases) if is_search else self._schedule(cases)
            last: Case | None = None
            for turn, case in order.rounds():
                if last is not None and (case.round != last.round or case.order == last.order):
                    pool.renew()
                last = case
                self._measure(case, turn, order, pool, gpus)
            self.note = order.note or self.note
            return self.result
        finally:
            pool.close()
            gpus.close()

    def _layers(self, case: Case, pool: Pool) -> Extracted:
        """Return the layers of a case's model, or the outcome that says why they cannot be found."""
        with self._turn(case):
            return pool.find(case, Extract(case.config, case.given))

    def _turn(self, case: Case) -> AbstractContextManager[None]:
        """Wait for this run's turn on a case's GPU, and keep other runs waiting meanwhile."""
        return self._turns.on(self._places[_where(case)].machine.gpu_uuid)

    @cached_property
    def _of_all(self) -> set[str]:
        """The options that all cases share, which distinguish none of them."""
        return set.intersection(*(set(each.overrides) for each in self.cases))

    def _settings(self, case: Case) -> list[str]:
        """Return the options that distinguish a case from the others."""
        return [each for each in case.settings if each not in self._of_all]

    def _resolved(self, pool: Pool) -> list[Case]:
        """Return the cases with their devices and threads resolved for this machine.

        Cores are counted in this process: OpenMP may bind a worker's first thread to one (OMP_PROC_BIND).

        Raises:
            UserError: a device cannot be used here, or every case has an option that its device lacks.
        """
        alike = dict[Where, list[Case]]()
        for case in self.cases:
            alike.setdefault(_where(case), []).append(case)
        start = time.monotonic()
        places = {where: pool.find_place(cases[0], _engines(cases)) for where, cases in alike.items()}
        self._startup = time.monotonic() - start
        threads = cpus.physical_cores()
        found = [places[_where(case)].of(case.config.engine.name) for case in self.cases]
        resolved = [_placed(case, place, threads) for case, place in zip(self.cases, found, strict=True)]
        self._places |= {_where(case): place for case, place in zip(resolved, found, strict=True)}
        reasons = [str(case.known.error) for case in resolved if case.known is not None]
        if len(reasons) == len(resolved):
            raise UserError(reasons[0])
        return resolved

    def _fitted(self, cases: Sequence[Case], pool: Pool) -> Iterator[Case]:
        """Yield the cases, those of `batch_size=max` with the most items that fit."""
        if not any(case.config.max_batch for case in cases):
            return iter(cases)

        def tried(case: Case) -> Fit | Outcome:
            with self._turn(case):
                return pool.find(case, TryBatch(case.config))

        earlier = self._earlier()
        return fitted(
            cases,
            () if earlier is None else earlier.cases,
            tried,
            lambda case, text: self.observer.say(
                f"{planned(case.config, self._settings(case), 'max')}: {text}"
            ),
        )

    def _schedule(self, cases: Sequence[Case]) -> Schedule:
        """Return the rounds of the cases, without those that the run to complete already has."""
        earlier = self._earlier()
        if earlier is None:
            return schedule_of(cases, secrets.randbelow(2**32), self.records, self._startup)
        placed = matched(cases, earlier)
        wanted = {case.order: case for case in placed}
        self.records += [
            shown_as(record, wanted[record.case.order].config)
            for found in earlier.cases
            for record in found.rounds.values()
            if record.case.order in wanted
        ]
        schedule = schedule_of(placed, earlier.seed, self.records)
        done = sum(record.ok for record in self.records)
        self.note = f"{done} of {schedule.total} rounds were already measured." if done else None
        return schedule

    def _earlier(self) -> Before | None:
        """Return the run to complete, whose id this one takes; None for a new run."""
        there = load(self.store.path).records if self.completing and self.store.path.exists() else []
        earlier = before(there, machine.host_id())
        machines = {label: place.machine for (label, *_), place in self._places.items()}
        if earlier is not None and (changes := changed(earlier, machines)):
            self.note = f"The earlier run used another GPU or software, so all is measured again: {changes}."
            return None
        if earlier is not None:
            self.run_id = earlier.run_id
        return earlier

    def _search(self, cases: Sequence[Case]) -> Search:
        """Return the search for the best of the cases, without what the search to complete has measured.

        The first case is the baseline.

        Raises:
            UserError: the folder holds records of another run.
        """
        earlier, config = self._earlier(), cases[0].config
        seed = secrets.randbelow(2**32) if config.schedule_seed is None else config.schedule_seed
        done: list[RoundRecord] = []
        if earlier is not None:
            first = earlier.cases[0]
            if first.run.schedule != SEARCH or first.spec.id != cases[0].id:
                raise UserError(f"{self.store.path} holds another run: give this search a folder of its own.")
            seed, cases = earlier.seed, matched_by_id(cases, earlier)
            done = [record for found in earlier.cases for record in found.rounds.values()]
            self.records += [each for each in done if not _is_replaced(each)]
            self.note = f"Rounds that were already measured or left out: {len(self.records)}."
        budget, places = config.experiment.budget, self._places.values()
        return Search(
            cases[0],
            cases[1:],
            budget,
            seed,
            self.records,
            config.objective,
            {each.device: each.emulated for each in places},
            {each.device: each.slow for each in places},
            spent=sum(each.seconds or 0.0 for each in done if each.case.config.experiment.budget == budget),
            startup=0.0 if config.measure.share_server else self._startup,
            now=self._turns.now,
        )

    def _measure(self, case: Case, turn: int, order: Order, pool: Pool, gpus: Gpus) -> None:
        """Measure one round of a case."""
        run = RunInfo(
            id=self.run_id,
            invocation=self.invocation,
            command=self.command,
            command_line=self.command_line,
            schedule=order.kind,
            schedule_seed=order.seed,
            cases=self._number,
        )
        heading = Heading(
            case.config,
            self._settings(case),
            turn,
            None if order.total is None else max(order.total, turn + 1),
            case.round,
            case.rounds if case.plan is None else max(case.plan.rounds, case.round + 1),
            order.eta(),
            case.order,
            self._number,
        )
        place = self._places[_where(case)]
        with self._turns.on(place.machine.gpu_uuid if case.known is None else None):
            watched = gpus.watch(place.machine.gpu_uuid)
            Round(case, place, heading, run, gpu=watched).measure(
                pool, self.store, self.observer, self.records
            )


def _is_replaced(record: RoundRecord) -> bool:
    """Return whether a search that is completed measures another round, with its own number, in its place."""
    return record.round > 0 and record.outcome.status is Status.INTERRUPTED


def _placed(case: Case, place: Place, threads: int) -> Case:
    """Return a case at its place; known as skipped if the device that `auto` took lacks one of its options.

    Raises:
        UserError: the device that the user gave lacks one.
    """
    placed = case.at(place.device, threads)
    try:
        for each in OPTIONS.values():
            if "device.name" in each.of:
                each.check_owner(value_of(placed.config, each.key), {"device.name": place.device})
    except UserError as error:
        if case.config.device.name != UNRESOLVED:
            raise
        return replace(placed, known=Outcome(status=Status.SKIPPED, error=str(error)))
    return placed


def _engines(cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the engines of some cases."""
    return tuple(dict.fromkeys(each.config.engine.name for each in cases))


def _where(case: Case) -> Where:
    """Return what a case's place depends on: its device, and the environment variables of its process."""
    return case.config.device.label, *sorted(case.config.env_set.items())
