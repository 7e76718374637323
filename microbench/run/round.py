"""A round of a case: measured by a worker, and on disk before the next begins."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import replace

from microbench.records.progress import Heading, Place, Progress
from microbench.records.record import (
    Measured,
    Outcome,
    Role,
    RoundRecord,
    RunInfo,
    Series,
    Status,
    unverified,
)
from microbench.records.store import Store
from microbench.run import signals
from microbench.run.case import Case
from microbench.run.gpu import GpuRound
from microbench.run.patience import GivenUpError
from microbench.run.plan import overrun, starts_anew
from microbench.run.pool import Pool, UnansweredError
from microbench.run.protocol import Measure
from microbench.tables.labels import planned


class Observer(Protocol):
    """An observer of a run, called while no case is being timed."""

    def begin(self, heading: Heading) -> None:
        """Begin a round of a case."""
        ...

    def progress(self, progress: Progress) -> None:
        """Report the round's progress."""
        ...

    def end(self, record: RoundRecord) -> None:
        """End the round, whose record is on disk."""
        ...

    def say(self, text: str) -> None:
        """Report something about the run, such as that a case is expected to exceed its budget."""
        ...


@dataclass
class Round:
    """One round of one case.

    Attributes:
        case: the case.
        place: where it runs.
        heading: its description for the observer.
        run: the run that it belongs to.
        started_at: its start, in UTC.
        partial: the samples received so far, by phase.
        first: the times of a call before the first sample, by phase.
        built: what is known of the workload; None until it is built.
        measured: the measurement before the answer is checked; None until then.
        gpu: what watches the GPU; None if there is none, or it is not watched.
        now: the clock, in seconds.
    """

    case: Case
    place: Place
    heading: Heading
    run: RunInfo
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    partial: dict[str, Series] = field(default_factory=dict)
    first: dict[str, Series] = field(default_factory=dict)
    built: Outcome | None = None
    measured: Measured | None = None
    gpu: GpuRound | None = None
    now: Callable[[], float] = time.monotonic
    _began: float = field(init=False, default=0.0)
    _working: float | None = field(init=False, default=None)
    _checking: float | None = field(init=False, default=None)
    _is_sampling: bool = field(init=False, default=False)

    def measure(self, pool: Pool, store: Store, observer: Observer, found: list[RoundRecord]) -> None:
        """Measure the case and store its record, adding it to those `found` before.

        The observer is not called for a case that is known to be skipped.

        Raises:
            KeyboardInterrupt: the user interrupted; everything measured until then has been stored.
        """
        self._began = self.now()
        is_told = self.case.known is None or self.case.known.status is not Status.SKIPPED
        if is_told:
            observer.begin(self.heading)
        interrupt: KeyboardInterrupt | None = None
        try:
            known = self.case.known
            measured = self._ask(pool, store, observer) if known is None else Measured(known)
        except KeyboardInterrupt as error:
            interrupt = error
        with signals.held():
            record = self._record(measured if interrupt is None else self._interrupted(interrupt))
            found.append(record)
            store.append(record)
        if is_told:
            observer.end(record)
        if interrupt is not None:
            raise interrupt

    def _ask(self, pool: Pool, store: Store, observer: Observer) -> Measured:
        def watch(progress: Progress) -> None:
            self._note_time(progress.stage)
            if progress.stage == "sample" and (text := self._overrun()):
                observer.say(text)
            if self.gpu is not None:
                self.gpu.progress(progress)
            self._keep(progress)
            self._give_up_if_lost()
            observer.progress(progress)

        config, is_first, patience = self.case.config, self.case.round == 0, self.case.patience
        trace = store.path.with_name(f"trace-{self.case.id}.json").resolve()
        limits = {} if patience is None else {"prepare": patience.prepare}
        trace_to = trace if config.trace and is_first else None
        request = Measure(config, is_first, trace_to, limits, self.case.plan, self.case.given)
        if self.gpu is not None:
            self.gpu.begin()
        try:
            measured: Measured = pool.ask(self.case, request, watch)
        except UnansweredError as error:
            return self._cut_short(error.outcome)
        return measured

    def _cut_short(self, outcome: Outcome) -> Measured:
        """Return what is known without a worker's answer: all that it measured, if it ended at the check."""
        if self.measured is None:
            if (built := self.built) is not None:
                outcome = replace(outcome, inputs=built.inputs, item=built.item, items=built.items)
            return Measured(outcome)
        before = self.measured.outcome
        if outcome.status in (Status.GIVEN_UP, Status.INTERRUPTED):
            return replace(self.measured, outcome=replace(before, status=outcome.status, error=outcome.error))
        reason = f"Checking the answer failed: {outcome.error}"
        return replace(self.measured, outcome=unverified(before, reason))

    def _interrupted(self, interrupt: KeyboardInterrupt) -> Measured:
        """Return what is known of an interrupted round: the times received so far, summarized."""
        from microbench.records.summary import summarize  # imports numpy, after a signal could interrupt it

        measured = self._cut_short(Outcome(status=Status.INTERRUPTED))
        series = measured.series or tuple(
            replace(each, summary=summarize(each.samples)) for each in {**self.first, **self.partial}.values()
        )
        by = interrupt.number.name if isinstance(interrupt, signals.EndedError) else "Ctrl-C"
        number = sum(len(each.samples) for each in series if each.role is Role.WHOLE)
        taken = f"after {number} sample{'s' * (number > 1)}" if number else "before the first sample"
        outcome = replace(measured.outcome, error=f"{by} {taken}")
        return replace(measured, outcome=outcome, series=series)

    def _note_time(self, stage: str) -> None:
        """Note when the process began to work, and when it began what only the first round does."""
        now = self.now()
        self._working = self._working or now
        if stage in ("energy", "findings", "verify"):
            self._checking = self._checking or now

    def _overrun(self) -> str | None:
        """Return that the case will exceed its budget, if so, at the first number of its first round."""
        plan = self.case.plan
        if plan is None or self.case.round or self._is_sampling or self._working is None:
            return None
        self._is_sampling = True
        start = self._began if starts_anew(self.case.config) else self._working
        text = overrun(self.case, plan.spent + start - self._began, self.now() - start)
        return None if text is None else f"{planned(self.heading.config, self.heading.settings)}: {text}"

    def _keep(self, progress: Progress) -> None:
        """Keep samples as they arrive, in case the worker ends before it summarizes them."""
        self.built = progress.built or self.built
        self.measured = progress.measured
        kept, received = self.partial, progress.samples
        if not received:
            kept, received = self.first, {name: array("d", [time]) for name, time in progress.medians.items()}
        for phase, fresh in received.items():
            if phase not in kept:
                calls, clock = progress.calls_per_sample, progress.clock
                role = Role.WHOLE if phase == progress.whole else Role.PART if progress.whole else Role.ONCE
                kept[phase] = Series(phase, clock, [], calls_per_sample=calls, role=role)
            kept[phase].samples.extend(fresh)

    def _give_up_if_lost(self) -> None:
        """Stop measuring a case of a search that is certain to lose, by its samples or its first call.

        Raises:
            GivenUpError: it is; says why.
        """
        patience = self.case.patience
        if patience is None:
            return
        whole = next((each.samples for each in self.partial.values() if each.role is Role.WHOLE), None)
        first = self.partial.get("first_call")
        if whole is not None:
            why = patience.lost(whole)
        else:
            why = patience.lost_at_once(first.samples[0]) if first is not None else None
        if why is not None:
            raise GivenUpError(why)

    def _record(self, measured: Measured) -> RoundRecord:
        """Return the round's record; if the worker died, with the samples received from it."""
        if self.gpu is not None and self.case.known is None:
            kept = measured.series or tuple(self.partial.values())
            measured = self.gpu.told(replace(measured, series=kept))
        outcome = measured.outcome
        if outcome.peaks is None:
            outcome = replace(outcome, peaks=self.case.peaks)
        end = self.now()
        return RoundRecord(
            run=self.run,
            case=self.case.spec,
            round=self.case.round,
            turn=self.heading.turn,
            started_at=self.started_at,
            machine=self.place.machine,
            outcome=outcome,
            series=measured.series or tuple(self.partial.values()),
            calls=measured.calls,
            seconds=end - self._began,
            startup=(end if self._working is None else self._working) - self._began,
            checking=0.0 if self._checking is None else end - self._checking,
            plan=self.case.plan,
        )
