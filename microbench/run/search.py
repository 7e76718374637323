"""The search for the fastest configuration: each once, variations of the best, then rounds of the leaders."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import SEARCH, Outcome, RoundRecord, Status
from microbench.run.case import Case
from microbench.run.patience import Patience
from microbench.system import cpus

LEADERS = 3  # candidates in the final, the baseline aside
CLOSE = 1.5
"""A candidate slower than the best by more than this factor is not in the final. In simulations, one as fast
as the best is slower than the luckiest of eight single rounds by 1.2 in 36 % of cases, by 1.5 in 9 %."""
LEAST_ROUNDS = 3  # of the final: fewer leave the speedup's interval wider than the speedup
FEWEST = 2  # rounds of the final that all its leaders get, to find the fastest of them

FIRST_PART = 0.55  # of the budget, for trying every candidate once
SAMPLING = 1 / 60  # of the budget, for a round's warm-up and for its sampling, each
PREPARING = 0.25  # of the budget, for preparing a candidate
ROUND = (
    0.35  # of the budget, for a candidate's round, or MOST times as long as the baseline's if that is longer
)
MOST = 4.0
OVERRUN = 0.2  # of the budget, by which the final's least rounds may end later


@dataclass
class Search:
    """The rounds of a search, which depend on the times that they find.

    The first round of a candidate only selects: the best of many first rounds is partly lucky, so that the
    final has rounds of its own, in which baseline and leaders are interleaved.

    Attributes:
        baseline: the case that speedups are relative to.
        candidates: the configurations to try, the most promising first.
        budget: seconds for all rounds. The first rounds of the final may end `OVERRUN` later.
        seed: the seed of the order within a round of the final.
        records: all records so far; the runner adds a round's before it requests the next.
        emulated: number formats in which candidates are not tried, unless there are no others.
        startup: seconds that starting a server takes, which a round of the final begins with.
        now: the clock, in seconds.
    """

    baseline: Case
    candidates: Sequence[Case]
    budget: float
    seed: int
    records: Sequence[RoundRecord]
    emulated: Collection[str] = ()
    startup: float = 0.0
    now: Callable[[], float] = time.monotonic
    kind: str = field(init=False, default=SEARCH)
    total: int | None = field(init=False, default=None)
    note: str | None = field(init=False, default=None)
    _costs: dict[int, float] = field(init=False, default_factory=dict)
    _left_out: list[Case] = field(init=False, default_factory=list)
    _end: float = field(init=False)

    def rounds(self) -> Iterator[tuple[int, Case]]:
        """Yield each case with its round, preceded by its place."""
        return enumerate(self._cases())

    def _cases(self) -> Iterator[Case]:
        """Yield each case with its round, one at a time; last those that are not tried, with the reason."""
        self._end = self.now() + self.budget
        yield from self._timed(self.baseline)
        if math.isinf(self._time(self.baseline)):
            return
        yield from self._try_all(self._sensible(), self._end - (1 - FIRST_PART) * self.budget)
        if best := self._leaders()[:1]:
            final = LEAST_ROUNDS * self._cost([self.baseline, *best])
            yield from self._try_all(self._variations(best[0]), self._end - final)
            yield from self._final(self._affordable(self._leaders()))
        yield from self._left_out

    def _timed(self, case: Case) -> Iterator[Case]:
        """Yield a round of as many samples as the budget allows, and record its cost."""
        start, measure = self.now(), copy(case.config.measure)
        for setting in ("min_time", "max_time", "max_warmup"):
            setattr(measure, setting, min(getattr(measure, setting), SAMPLING * self.budget))
        yield replace(case, config=replace(case.config, measure=measure))
        self._costs[case.order] = self.now() - start

    def _sensible(self) -> list[Case]:
        """Return the candidates that are worth a try here; the others are left out."""
        emulated = {
            case.order: name
            for case in self.candidates
            if (name := case.config.precision.cast or case.config.precision.autocast) in self.emulated
        }
        if len(emulated) == len(self.candidates):
            return list(self.candidates)
        for case in self.candidates:
            if case.order in emulated:
                self._leave_out(case, f"{emulated[case.order]} is emulated in fp32 here, which takes longer")
        return [case for case in self.candidates if case.order not in emulated]

    def _leave_out(self, case: Case, reason: str) -> None:
        self._left_out.append(replace(case, known=Outcome(status=Status.SKIPPED, error=reason)))

    def _try_all(self, cases: Sequence[Case], until: float) -> Iterator[Case]:
        """Yield one round per case, as long as there is time for one like the baseline's."""
        for case in cases:
            remaining = until - self.now()
            if remaining > self._costs[self.baseline.order]:
                best = min(map(time_of, cases_of(self.records)), default=math.inf)
                yield from self._timed(self._limited(case, remaining, best))
            else:
                spent = f"experiment.budget={self.budget:g} (seconds) had no time left for it; raise it"
                self._leave_out(case, spent)

    def _limited(self, case: Case, remaining: float = math.inf, best: float = math.inf) -> Case:
        """Limit what a case's round may take, of the remaining seconds; inline, nothing can end it."""
        if case.config.isolation == "inline":
            return case
        whole = max(ROUND * self.budget, MOST * self._costs[self.baseline.order])
        patience = Patience(self.budget, PREPARING * self.budget, min(whole, remaining), best)
        return replace(case, patience=patience)

    def _final(self, leaders: list[Case]) -> Iterator[Case]:
        """Yield rounds of the baseline and the leaders while there is time; drop those that fall behind."""
        draw, last = random.Random(self.seed), math.inf
        for number in range(1, 1 + max(self.baseline.rounds, LEAST_ROUNDS)):
            among = [self.baseline, *leaders]
            end = self._end + (OVERRUN * self.budget if number <= LEAST_ROUNDS else 0.0)
            start = self.now()
            if not leaders or start + min(self._cost(among), last) > end:
                return
            draw.shuffle(among)
            for case in among:
                limited = case if case is self.baseline else self._limited(case)
                yield from self._timed(replace(limited, round=number))
            last = self.now() - start
            leaders = self._close(leaders)

    def _variations(self, case: Case) -> list[Case]:
        """Vary a candidate's allocator and number of threads, unless its command sets them."""
        given = {each.partition("=")[0] for each in case.overrides}
        found = [] if "allocator" in given else [varied(case, "allocator", "tuned")]
        if not {"threads", "affinity"} & given:
            found += [varied(case, "threads", number) for number in other_threads(case.config.threads)]
        last = max((each.order for each in (self.baseline, *self.candidates)), default=0)
        return [replace(each, order=last + 1 + index) for index, each in enumerate(found)]

    def _leaders(self) -> list[Case]:
        """Return the candidates faster than the baseline and close to the best, the fastest first."""
        tried = {case.order: case for case in self.candidates}
        best = min(tried.values(), key=self._time, default=None)
        if best is None or math.isinf(self._time(best)):
            return []
        tried |= {case.order: case for case in self._variations(best)}
        return self._close(sorted(tried.values(), key=self._time))[:LEADERS]

    def _close(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases that are faster than the baseline, and close to the best of them."""
        best = min(map(self._time, cases), default=math.inf)
        plain = self._time(self.baseline)
        return [case for case in cases if self._time(case) <= CLOSE * best and self._time(case) < plain]

    def _affordable(self, leaders: list[Case]) -> list[Case]:
        """Return the leaders for whose fewest rounds there is time; always the fastest."""
        end = self._end + OVERRUN * self.budget
        while len(leaders) > 1 and self.now() + FEWEST * self._cost([self.baseline, *leaders]) > end:
            leaders = leaders[:-1]
        return leaders

    def _cost(self, cases: Sequence[Case]) -> float:
        """Return the seconds that a round of some cases takes, including its server's start."""
        return self.startup + sum(self._costs.get(case.order, 0.0) for case in cases)

    def _time(self, case: Case) -> float:
        """Return seconds per call so far; infinite for a case that was not measured, failed or cannot win."""
        found = next((each for each in cases_of(self.records) if each.spec.order == case.order), None)
        return math.inf if found is None else time_of(found)


def time_of(case: CaseResult) -> float:
    """Return a case's time in seconds per call; infinite if it does not count."""
    whole = case.whole
    if whole is None or not case.can_win or not whole.is_comparable:
        return math.inf
    return whole.median


def varied(case: Case, key: str, value: str | int) -> Case:
    """Return a case with another value of an option."""
    config = copy(case.config)
    setattr(config, key, value)
    return replace(case, config=config, overrides=(*case.overrides, f"{key}={value}"))


def other_threads(threads: int | None) -> list[int]:
    """Return other numbers of threads worth a try: half of it, and all CPUs if they are more."""
    number = threads or cpus.physical_cores()
    return [each for each in (number // 2, len(cpus.usable())) if each >= 1 and each != number]
