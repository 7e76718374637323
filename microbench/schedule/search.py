"""The search for the fastest way: every way once, variations of the best, then rounds for those that lead."""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from statistics import geometric_mean

from microbench.metrics import cpus
from microbench.results.cases import WHOLE, CaseResult, cases_of
from microbench.results.record import Record
from microbench.schedule.cases import Case

LEADERS = 3  # ways in the final, the baseline aside
CLOSE = 1.15  # a way that takes more than so many times the best's time is not in the final
FIRST_PART = 0.55  # of the budget, for trying every way once
LEAST_ROUNDS = 3  # of the final: fewer leave the speedup's interval wider than the speedup


@dataclass
class Search:
    """Which turn is next, as the records grow.

    The first round of a way only selects: the best of many first rounds is best by luck too, so the final's
    rounds are others, in which baseline and leaders take turns.

    Attributes:
        baseline: what speedups are over.
        ways: the ways to try, the most promising first.
        budget: seconds for all turns. The final has `LEAST_ROUNDS` rounds even where that takes longer.
        seed: what the order within a round of the final is drawn from.
        records: all records so far; the runner adds a turn's before it asks for the next.
        now: the clock, in seconds.
    """

    baseline: Case
    ways: Sequence[Case]
    budget: float
    seed: int
    records: Sequence[Record]
    now: Callable[[], float] = time.monotonic
    _costs: dict[int, float] = field(init=False, default_factory=dict)
    _end: float = field(init=False)

    def turns(self) -> Iterator[Case]:
        """Each case with its round, one at a time."""
        self._end = self.now() + self.budget
        yield from self._timed(self.baseline)
        yield from self._try_all(self.ways, self._end - (1 - FIRST_PART) * self.budget, least=0.0)
        leaders = self._leaders()
        if leaders:
            spare = LEAST_ROUNDS * self._cost([self.baseline, *leaders])
            yield from self._try_all(
                self._variations(leaders[0]), self._end - spare, least=self._cost(leaders[:1])
            )
            yield from self._final(self._affordable(self._leaders()))

    def _timed(self, case: Case) -> Iterator[Case]:
        """One turn, the cost of which is remembered."""
        start = self.now()
        yield case
        self._costs[case.order] = self.now() - start

    def _try_all(self, cases: Sequence[Case], until: float, least: float) -> Iterator[Case]:
        """One round each, as long as there is more than the `least` time; what takes longer is cut off."""
        for case in cases:
            remaining = until - self.now()
            if remaining <= least:
                return
            limit = min(case.config.timeout or remaining, remaining)
            yield from self._timed(replace(case, config=replace(case.config, timeout=limit)))

    def _final(self, leaders: list[Case]) -> Iterator[Case]:
        """Rounds of the baseline and the leaders in turn, while there is time; who falls behind leaves."""
        draw = random.Random(self.seed)
        for number in range(1, 1 + max(self.baseline.rounds, LEAST_ROUNDS)):
            among = [self.baseline, *leaders]
            late = number > LEAST_ROUNDS and self.now() + self._cost(among) > self._end
            if late or not leaders:
                return
            draw.shuffle(among)
            for case in among:
                yield from self._timed(replace(case, round=number))
            leaders = self._close(leaders)

    def _variations(self, case: Case) -> list[Case]:
        """The way with another allocator and other numbers of threads, where its command leaves them open."""
        given = {each.partition("=")[0] for each in case.overrides}
        found = [] if "allocator" in given else [varied(case, "allocator", "tuned")]
        if not {"threads", "affinity"} & given:
            found += [varied(case, "threads", number) for number in other_threads(case.config.threads)]
        last = max((each.order for each in (self.baseline, *self.ways)), default=0)
        return [replace(each, order=last + 1 + index) for index, each in enumerate(found)]

    def _leaders(self) -> list[Case]:
        """The ways that were measured and are close to the best, the fastest first."""
        tried = {case.order: case for case in self.ways}
        best = min(tried.values(), key=self._time, default=None)
        if best is None or math.isinf(self._time(best)):
            return []
        tried |= {case.order: case for case in self._variations(best)}
        return self._close(sorted(tried.values(), key=self._time))[:LEADERS]

    def _close(self, cases: Sequence[Case]) -> list[Case]:
        """Those of some cases that are close to the best of them."""
        best = min(map(self._time, cases), default=math.inf)
        return [case for case in cases if self._time(case) <= min(CLOSE * best, sys.float_info.max)]

    def _affordable(self, leaders: list[Case]) -> list[Case]:
        """The leaders that the remaining time allows a whole final; the fastest in any case."""
        while len(leaders) > 1:
            if self.now() + LEAST_ROUNDS * self._cost([self.baseline, *leaders]) <= self._end:
                break
            leaders = leaders[:-1]
        return leaders

    def _cost(self, cases: Sequence[Case]) -> float:
        return sum(self._costs.get(case.order, 0.0) for case in cases)

    def _time(self, case: Case) -> float:
        """Seconds per call so far; infinite for what was not measured, failed, or has another answer."""
        found = next((each for each in cases_of(self.records) if each.first["order"] == case.order), None)
        return math.inf if found is None else time_of(found)


def time_of(case: CaseResult) -> float:
    """The geometric mean of a case's rounds, in seconds per call; infinite where it counts for nothing."""
    estimate = next((case.estimates[phase] for phase in WHOLE if phase in case.estimates), None)
    if estimate is None or not case.ok or case.is_implausible or min(estimate.medians.values()) <= 0:
        return math.inf
    return geometric_mean(estimate.medians.values())


def varied(case: Case, key: str, value: str | int) -> Case:
    """A case with another value of an option."""
    config = copy(case.config)
    setattr(config, key, value)
    return replace(case, config=config, overrides=(*case.overrides, f"{key}={value}"))


def other_threads(threads: int | None) -> list[int]:
    """Numbers of threads worth a try besides that: half of it, and all CPUs where these are more."""
    number = threads or cpus.physical_cores()
    return [each for each in (number // 2, len(cpus.usable())) if each >= 1 and each != number]
