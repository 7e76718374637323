"""Runs the rounds of cases one after the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from microbench.errors import UserError
from microbench.records.progress import Heading, Place
from microbench.records.record import SEARCH, RoundRecord, RunInfo, Status
from microbench.records.result import Result, load
from microbench.records.store import Store
from microbench.run.budget import Budget
from microbench.run.case import Case
from microbench.run.layers import expanded
from microbench.run.order import Schedule, schedule_of
from microbench.run.pool import Pool
from microbench.run.requests import find_layers, find_place
from microbench.run.resume import before, changed, matched, shown_as
from microbench.run.round import Observer, Turn
from microbench.run.search import Search
from microbench.system import cpus, machine

Where = tuple[Any, ...]


@dataclass
class Run:
    """The measuring of at least one case.

    Attributes:
        cases: the cases, each with its place in `order`.
        store: where the records go.
        observer: is told how it goes.
        run_id: the run's id, where it is a new one.
        command_line: the command line that asks for the run; None for one from Python.
        command: the microbench command in it, such as `doctor`; empty for one that measures cases.
        completing: measure only what the store's folder has no records of, as a part of its run.
        budget: seconds that interleaved rounds may take in all; None for no limit. See `Budget`.
        records: what has been measured, in this invocation and, completing, before.
        invocation: tells the rounds measured now from those measured before.
        note: what there is to say of the records that were there before.
    """

    cases: Sequence[Case]
    store: Store
    observer: Observer
    run_id: str
    command_line: str | None = None
    command: str = ""
    completing: bool = False
    budget: float | None = None
    records: list[RoundRecord] = field(default_factory=list)
    invocation: str = field(default_factory=lambda: secrets.token_hex(4))
    note: str | None = None
    _places: dict[Where, Place] = field(init=False, default_factory=dict)
    _startup: float = field(init=False, default=0.0)

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

    @cached_property
    def _of_all(self) -> set[str]:
        """The options that all cases are given: they tell none from another."""
        return set.intersection(*(set(each.overrides) for each in self.cases))

    def _resolved(self, pool: Pool) -> list[Case]:
        """The cases with their devices and threads as they are on this machine.

        Cores are counted in this process: OpenMP may bind a worker's first thread to one (OMP_PROC_BIND).
        """
        first = {_where(case): case for case in reversed(self.cases)}
        start = time.monotonic()
        places = {where: find_place(case, pool) for where, case in first.items()}
        self._startup = time.monotonic() - start
        threads = cpus.physical_cores()
        resolved = [case.at(places[_where(case)].device, threads) for case in self.cases]
        for case, given in zip(resolved, self.cases, strict=True):
            self._places[_where(case)] = places[_where(given)]
        return resolved

    def _schedule(self, cases: Sequence[Case]) -> tuple[Schedule, set[tuple[int, int]]]:
        """What to measure in which order, and which (place, round) of it are done already."""
        there = load(self.store.path).records if self.completing and self.store.path.exists() else []
        earlier = before(there, machine.host_id())
        machines = {place.device: place.machine for place in self._places.values()}
        if earlier is not None and (changes := changed(earlier, machines)):
            self.note = f"The run that was there is of other software, and all is measured anew: {changes}."
            earlier = None
        if earlier is None:
            return schedule_of(cases, secrets.randbelow(2**32)), set()
        self.run_id = earlier.run_id
        placed, done = matched(cases, earlier)
        wanted = {case.order: case for case in placed}
        self.records += [
            shown_as(record, wanted[record.case.order].config)
            for found in earlier.cases
            for record in found.rounds.values()
            if record.case.order in wanted
        ]
        schedule = schedule_of(placed, earlier.seed)
        all_turns = len(schedule.turns())
        self.note = f"{len(done)} of {all_turns} rounds were there already." if done else None
        return schedule, done

    def _measure(self, schedule: Schedule, done: set[tuple[int, int]], pool: Pool) -> None:
        """Measure every turn that is not done, and drop the others of a case that fails at its first."""
        succeeded, failed = {order for order, _ in done}, set[int]()
        turns, last = schedule.turns(), None
        budget = Budget(self.budget if schedule.kind == "interleaved" else None)
        for index, case in enumerate(turns):
            if (case.order, case.round) in done or case.order in failed:
                continue
            if (last is None or case.round != last.round) and not budget.allows(case.round):
                self.note = (
                    f"{case.round} of {case.rounds} rounds: more would take too long. "
                    f"measure.rounds={case.rounds} measures them all"
                )
                break
            _renew(pool, last, case)
            last = case
            if self._take(case, index, len(turns), schedule, pool) is Status.OK:
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
        search = Search(
            cases[0],
            cases[1:],
            config.experiment.budget,
            schedule.seed,
            self.records,
            self._places[_where(cases[0])].emulated,
            self._startup,
        )
        last = None
        for index, case in enumerate(search.turns()):
            _renew(pool, last, case)
            last = case
            self._take(case, index, None, replace(schedule, kind=SEARCH), pool)

    def _take(self, case: Case, turn: int, turns: int | None, schedule: Schedule, pool: Pool) -> Status:
        """Measure one round of a case, and say how it ended."""
        settings = [each for each in case.settings if each not in self._of_all]
        run = RunInfo(
            id=self.run_id,
            invocation=self.invocation,
            command=self.command,
            command_line=self.command_line,
            schedule=schedule.kind,
            schedule_seed=schedule.seed,
        )
        heading = Heading(case.config, settings, turn, turns, case.round, case.rounds)
        place = self._places[_where(case)]
        record = Turn(case, place, heading, run).take(pool, self.store, self.observer, self.records)
        return record.outcome.status


def _where(case: Case) -> Where:
    """What a case's place depends on: its device, and the variables that its process is given."""
    return case.config.device.name, *sorted(case.config.env_set.items())


def _renew(pool: Pool, last: Case | None, case: Case) -> None:
    """Give a round servers of its own."""
    if last is not None and (case.round != last.round or case.order == last.order):
        pool.close()
