"""A round of a case: measured by a worker, and on disk before the next begins."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from microbench.metrics import machine
from microbench.results.cases import WHOLE
from microbench.results.layerwise import fields_of
from microbench.results.record import (
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
from microbench.results.store import Store
from microbench.schedule import signals
from microbench.schedule.asking import UnansweredError, ask
from microbench.schedule.cases import Case
from microbench.schedule.child import Measure
from microbench.schedule.patience import GivenUpError
from microbench.schedule.pool import Pool

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
        "input_grad",
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


@dataclass
class Turn:
    """One case's turn in one round.

    Attributes:
        case: the case.
        place: where it runs.
        heading: what the observer is told of it.
        of_run: the fields of its records that say which run they are of.
        started_at: when, in UTC.
        partial: by phase, the samples that have come so far.
        measured: the outcome before its answer was checked; None until then.
    """

    case: Case
    place: Place
    heading: Heading
    of_run: Mapping[str, Any]
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    partial: dict[str, Series] = field(default_factory=dict)
    measured: Outcome | None = None

    def take(self, pool: Pool, store: Store, observer: Observer, found: list[Record]) -> list[Record]:
        """Measure the case and store its records, adding them to those `found` before.

        The observer is told nothing of a case that is known to be skipped.

        Raises:
            KeyboardInterrupt: the user interrupted; what was measured until then has been stored.
        """
        is_told = self.case.known is None or self.case.known.status is not Status.SKIPPED
        if is_told:
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
        if is_told:
            observer.end(records)
        if interrupt is not None:
            raise interrupt
        return records

    def _measure(self, pool: Pool, store: Store, observer: Observer) -> Outcome:
        def watch(progress: Progress) -> None:
            self._keep(progress)
            self._give_up_if_lost()
            observer.progress(progress)

        config, is_first, patience = self.case.config, self.case.round == 0, self.case.patience
        trace = store.path.with_name(f"trace-{self.case.id}.json").resolve()
        limits = {} if patience is None else {"prepare": patience.prepare}
        request = Measure(config, is_first, trace if config.trace and is_first else None, limits)
        try:
            outcome: Outcome = ask(pool, self.case, request, watch)
        except UnansweredError as error:
            return self._cut_short(error.outcome)
        return outcome

    def _cut_short(self, outcome: Outcome) -> Outcome:
        """The outcome of a worker that did not answer: all that it measured, if it ended at the check."""
        if self.measured is None:
            return outcome
        if outcome.status is Status.GIVEN_UP:
            return replace(self.measured, status=outcome.status, error=outcome.error)
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

    def _give_up_if_lost(self) -> None:
        """Stop measuring a case of a search whose samples are certain to lose.

        Raises:
            GivenUpError: they are, and why.
        """
        patience = self.case.patience
        whole = next((self.partial[phase].samples for phase in WHOLE if phase in self.partial), None)
        if patience is not None and whole is not None and (why := patience.lost(whole)):
            raise GivenUpError(why)

    def _identity(self, outcome: Outcome) -> dict[str, Any]:
        environment = {
            **self.place.environment,
            **UNKNOWN,
            **self.case.environment,
            **outcome.environment,
        }
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
