"""The search for the best configuration: each once, the better half again, the best against plain eager."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from microbench.config import THROUGHPUT
from microbench.records.cases import CaseResult, cases_of
from microbench.records.objective import figure, figures
from microbench.records.record import SEARCH, Outcome, Role, RoundRecord, Status
from microbench.run.case import Case
from microbench.run.patience import Patience
from microbench.run.plan import further_cost
from microbench.system import cpus

FINALISTS = 2  # candidates in the final, the baseline aside
FAR, CLOSE = 2.0, 1.5
"""A candidate worse than the best by more than CLOSE is dropped; by more than FAR, if it has had one round.
In simulations, one as good as the best is worse than the luckiest of eight single rounds by 1.5 in 9 % of
cases, by 2 in 2 %; two rounds are both worse by 1.5 in less than 0.1 %.
"""
LEAST_ROUNDS = 3  # of the final: fewer leave the speedup's interval wider than the speedup
FEWEST = 2  # rounds of the final that all its leaders get, to find the best of them
CLEAR = 4.0  # times as good as plain eager: a single round of the final is then enough to say so
PRECISE = 0.05  # half-width of the interval of a speedup's logarithm that needs no further rounds

FIRST_PART = 0.6  # of the budget, for trying every candidate once
SAMPLING = 1 / 60  # of the budget, for a round's warm-up and for its sampling, each
PREPARING = 0.2  # of the budget, for preparing a candidate
LITTLE, ENOUGH = 0.03, 0.1  # of the budget: bounds of the remaining time for which a candidate is tried
ROUND, MOST = 0.3, 4.0  # of the budget, for a candidate's round, or times the baseline's if that is longer
OVERRUN = 0.1  # of the budget, by which the final's least rounds may end later
FALLING = 1.1  # a batch size worse than the first one by this factor ends the search in its direction
LATER = 3  # places by which a candidate in a slow format is tried later

ENDED = (Status.OK, Status.MISMATCH, Status.GIVEN_UP)
"""How a round of an earlier invocation ended that is not repeated."""

Rounds = Iterator[Case]

Formats = Mapping[str, Collection[str]]
"""Number formats, by torch's names, for each device."""


@dataclass
class Search:
    """The rounds of a search, which depend on what they find.

    The first round of a candidate only selects: the best of many first rounds is partly lucky, so that the
    final has rounds of its own, in which baseline and leaders are interleaved. In between, the better half
    gets another round, and again the better half of these: sequential halving (Karnin, Koren & Somekh,
    Almost Optimal Exploration, ICML 2013), by medians.

    Attributes:
        baseline: the case that speedups are relative to.
        candidates: the configurations to try, the most promising first.
        budget: seconds for all rounds. The first rounds of the final may end `OVERRUN` later.
        seed: the seed of the order within a round.
        records: all records so far, those of an earlier invocation included; the runner adds a round's before
            it requests the next.
        objective: what is searched for.
        emulated: by device, the number formats in which candidates are tried last, if there are others.
        slow: by device, the number formats in which candidates are tried after the others.
        spent: seconds of the budget that an earlier invocation took.
        startup: seconds that starting a server takes, if each further round of a case begins with it.
        now: the clock, in seconds.
    """

    baseline: Case
    candidates: Sequence[Case]
    budget: float
    seed: int
    records: Sequence[RoundRecord]
    objective: str = "latency"
    emulated: Formats = field(default_factory=dict)
    slow: Formats = field(default_factory=dict)
    spent: float = 0.0
    startup: float = 0.0
    now: Callable[[], float] = time.monotonic
    kind: str = field(init=False, default=SEARCH)
    total: int | None = field(init=False, default=None)
    note: str | None = field(init=False, default=None)
    _costs: dict[int, float] = field(init=False, default_factory=dict)
    _left_out: list[Case] = field(init=False, default_factory=list)
    _varied: list[Case] = field(init=False, default_factory=list)
    _results: dict[int, CaseResult] = field(init=False, default_factory=dict)
    _read: int = field(init=False, default=-1)
    _draw: random.Random = field(init=False)
    _known: int = field(init=False, default=0)
    _begin: float = field(init=False)
    _end: float = field(init=False)

    def rounds(self) -> Iterator[tuple[int, Case]]:
        """Yield each case with its round, preceded by its place."""
        return enumerate(self._cases())

    def eta(self) -> float:
        """Return the rest of the budget, in seconds."""
        return max(0.0, self._end - self.now())

    def _cases(self) -> Rounds:
        """Yield each case with its round, one at a time; last those that are not tried, with the reason."""
        self._begin = self.now() - self.spent
        self._end = self._begin + self.budget
        self._draw = random.Random(self.seed)
        self._costs = {each.case.order: further_cost(each) for each in self.records}
        self._known = len(self.records)
        yield from self._timed(self.baseline)
        if math.isinf(self._figure(self.baseline)):
            return
        usual, others, emulated = self._candidates()
        yield from self._try_all(usual, FIRST_PART)
        yield from self._try_batches(others)
        yield from self._try_all(self._variations())
        leaders = yield from self._halved(self._close(self._tried()))
        yield from self._try_all(emulated, least=LEAST_ROUNDS)
        best = self._affordable(self._close([*leaders, *emulated])[:FINALISTS])
        yield from self._final(self._close(self._finalists()) or best)
        yield from self._left_out

    def _timed(self, case: Case, number: int = 0) -> Rounds:
        """Yield a round of as many samples as the budget allows, and record its cost.

        A first round that an earlier invocation measured is not repeated.
        """
        if number == 0 and self._is_known(case):
            return
        start, measure = self.now(), copy(case.config.measure)
        for setting in ("min_time", "max_time", "max_warmup"):
            setattr(measure, setting, min(getattr(measure, setting), SAMPLING * self.budget))
        if self.objective == "p99":  # neither the median's interval nor means of calls tell the slowest calls
            measure.min_time, measure.min_sample = measure.max_time, 0.0
        yield replace(case, round=number, config=replace(case.config, measure=measure))
        record = self.records[-1]
        self._costs[case.order] = further_cost(record) if record.seconds else self.now() - start

    def _is_known(self, case: Case) -> bool:
        """Return whether an earlier invocation has settled a case's first round.

        What took too long for another budget is not settled.
        """
        return any(
            record.outcome.status in ENDED
            and record.case.config.tolerance == case.config.tolerance
            and (
                record.outcome.status is not Status.GIVEN_UP
                or record.case.config.experiment.budget == self.budget
                or any(each.role is Role.WHOLE for each in record.series)
            )
            for record in self.records
            if record.case.order == case.order and record.round == 0
        )

    def _candidates(self) -> tuple[list[Case], list[Case], list[Case]]:
        """Return the candidates to try in this order, those with other batch sizes, and emulated ones."""
        others = [case for case in self.candidates if not self._is_usual(case)]
        usual = [case for case in self.candidates if self._is_usual(case)]
        emulated = [case for case in usual if self._is_in(case, self.emulated)]
        if len(emulated) == len(usual):
            return usual, others, []
        usual = [case for case in usual if case not in emulated]
        places = {
            case.order: place + (LATER + 0.5 if self._is_in(case, self.slow) else 0)
            for place, case in enumerate(usual)
        }
        return sorted(usual, key=lambda case: places[case.order]), others, emulated

    def _is_usual(self, case: Case) -> bool:
        return case.config.batch_size == self.baseline.config.batch_size

    def _is_in(self, case: Case, formats: Formats) -> bool:
        return self._format(case) in formats.get(case.config.device.name, ())

    def _format(self, case: Case) -> str:
        precision = case.config.precision
        return precision.cast or precision.autocast or precision.name

    def _leave_out(self, case: Case, reason: str) -> None:
        self._left_out.append(replace(case, known=Outcome(status=Status.SKIPPED, error=reason)))

    def _try_all(self, cases: Iterable[Case], share: float = 1.0, least: int = 0) -> Rounds:
        """Yield one round per case, as long as there is time for one like the baseline's and the final.

        Args:
            cases: the cases, each determined once the one before it has been measured.
            share: the share of the budget that may be used until the last one has been tried.
            least: the number of the final's rounds to leave time for, if it needs no more.
        """
        for case in cases:
            end = min(self._begin + share * self.budget, self._end - self._of_final(least))
            remaining = end - self.now()
            usual = max(self._costs[self.baseline.order], LITTLE * self.budget)
            if remaining > min(usual, ENOUGH * self.budget) or self._is_known(case):
                yield from self._timed(self._limited(case, remaining))
            else:
                self._leave_out(case, self._unaffordable(case))

    def _unaffordable(self, case: Case) -> str:
        spent = f"experiment.budget={self.budget:g} (seconds) had no time left for it; raise it"
        if self._is_in(case, self.emulated):
            return f"{self._format(case)} is emulated in fp32 here, which takes longer, and {spent}"
        return spent

    def _of_final(self, least: int) -> float:
        """Return the seconds that the final's least rounds take, with the leaders so far; 0 without any."""
        leaders = self._close(self._tried())[:FINALISTS]
        rounds = max(least, self._least(leaders)) if leaders else 0
        return rounds * self._cost([self.baseline, *leaders])

    def _least(self, leaders: Sequence[Case]) -> int:
        """Return the number of the final's rounds that are worth exceeding the budget a little."""
        is_clear = self._figure(self.baseline) > CLEAR * min(map(self._figure, leaders))
        return 1 if is_clear else LEAST_ROUNDS

    def _limited(self, case: Case, remaining: float) -> Case:
        """Limit what a case's first round may take, of the remaining seconds; inline, nothing can end it."""
        if case.config.isolation == "inline":
            return case
        whole = max(ROUND * self.budget, MOST * self._costs[self.baseline.order])
        patience = Patience(self.budget, PREPARING * self.budget, min(whole, remaining))
        if self.objective != "memory":
            calls = case.config.batch_size if self.objective == THROUGHPUT else 1
            best = calls * min(self._figure(each) for each in (self.baseline, *self._tried()))
            patience = replace(patience, best=best, plain_first=self._first_call())
        return replace(case, patience=patience)

    def _first_call(self) -> float:
        """Return the seconds of the baseline's first call."""
        found = self._result(self.baseline)
        first = None if found is None else found.estimates.get("first_call")
        return 0.0 if first is None else first.median

    def _try_batches(self, others: Sequence[Case]) -> Rounds:
        """Try the two best so far with other batch sizes, away from the first one until they get worse."""
        usual, tried = self.baseline.config.batch_size, list[Case]()
        best = self._near_best([self.baseline, *self._tried()])[:FINALISTS] if others else []
        for case in best:
            alike = [each for each in others if _alike(each) == _alike(case)]
            alike.sort(key=lambda each: each.config.batch_size)
            larger = [each for each in alike if each.config.batch_size > usual]
            smaller = [each for each in alike if each.config.batch_size < usual][::-1]
            for direction in (larger, smaller):
                last = case
                for each in direction:
                    if self._figure(last) > FALLING * self._figure(case):
                        break
                    yield from self._try_all([each])
                    tried.append(each)
                    last = each
        for each in others:
            if each not in tried:
                self._leave_out(
                    each, f"not one of the {FINALISTS} best at batch_size={usual}, or sure to be worse"
                )

    def _finalists(self) -> list[Case]:
        """Return who was in the final of an earlier invocation, if this one has tried nothing new since.

        The final's rounds changed the order, by which others would be chosen now.
        """
        is_replay = len(self.records) == self._known
        return [each for each in self._tried() if self._pairs(each)] if is_replay else []

    def _halved(self, alive: list[Case]) -> Generator[Case, None, list[Case]]:
        """Yield another round of the better half, and so on; return those that are left for the final."""
        stage = 1
        while len(alive) > FINALISTS and not self._finalists():
            half = alive[: max(FINALISTS, (len(alive) + 1) // 2)]
            final = self._least(alive) * self._cost([self.baseline, *alive[:FINALISTS]])
            if self.now() + self._cost(half) + final > self._end:
                return alive
            yield from self._once_more([each for each in half if len(self._figures(each)) <= stage])
            alive, stage = self._close(half), stage + 1
        return alive

    def _final(self, leaders: list[Case]) -> Rounds:
        """Yield rounds of the baseline and the leaders while there is time; drop those that fall behind."""
        last, most = math.inf, max(self.baseline.rounds - 1, LEAST_ROUNDS)
        while leaders:
            done = self._done(leaders[0])
            attempts = sum(each.case.order == self.baseline.order and each.round > 0 for each in self.records)
            if done >= most or attempts >= 2 * most or self._is_decided(leaders):
                return
            among, start = [self.baseline, *leaders], self.now()
            least = self._least(leaders)
            end = self._end + (OVERRUN * self.budget if done < least else 0.0)
            if start + min(self._cost(among), last) > end:
                if len(leaders) == 1 or done >= least:
                    return
                leaders, last = (
                    leaders[:1],
                    math.inf,
                )  # what is left of the budget decides whether it is better
                continue
            yield from self._once_more(among)
            last = self.now() - start
            leaders = self._close(leaders)

    def _once_more(self, cases: Sequence[Case]) -> Rounds:
        """Yield a round of each of some cases, with a number that no round has yet, in random order."""
        number = 1 + max(record.round for record in self.records)
        for case in self._draw.sample(cases, len(cases)):
            yield from self._timed(case, number)

    def _is_decided(self, leaders: Sequence[Case]) -> bool:
        """Return whether one leader is left, and how much better than the baseline it is, is known well."""
        from microbench.stats.ratio import paired

        pairs = self._pairs(leaders[0])
        if len(leaders) > 1 or self._done(leaders[0]) < LEAST_ROUNDS:
            return False
        return paired(*zip(*pairs.values(), strict=True)).half_width() <= PRECISE

    def _done(self, case: Case) -> int:
        """Return the number of a case's rounds in the final; a disturbed one is repeated, unless all are."""
        results = [self._result(each) for each in (self.baseline, case)]
        numbers = self._pairs(case)
        quiet = [
            number
            for number in numbers
            if not any(each is not None and each.rounds[number].is_disturbed for each in results)
        ]
        return len(quiet or numbers)

    def _pairs(self, case: Case) -> Mapping[int, tuple[float, float]]:
        """Return plain eager's figure and a case's, by the number of each further round of both."""
        plain, own = self._figures(self.baseline), self._figures(case)
        return {number: (plain[number], own[number]) for number in plain.keys() & own.keys() if number > 0}

    def _variations(self) -> list[Case]:
        """Vary the best candidate's allocator and number of threads, unless its command sets them."""
        best = min(self._tried(), key=lambda case: self._figures(case).get(0, math.inf), default=None)
        found = list[Case]()
        for case in self._close([best]) if best is not None else []:
            given = {each.partition("=")[0] for each in case.overrides}
            if "allocator" not in given:
                found.append(varied(case, "allocator", "tuned"))
            if not {"threads", "affinity"} & given:
                found += [varied(case, "threads", each) for each in other_threads(case.config.threads)]
        return [self._placed(case, index) for index, case in enumerate(found)]

    def _placed(self, case: Case, index: int) -> Case:
        """Return a variation with its place in the run: that of an earlier invocation, or a new one."""
        same = next((each.case.order for each in self.records if each.case.id == case.id), None)
        taken = [each.order for each in (self.baseline, *self.candidates)]
        last = max([*taken, *(each.case.order for each in self.records)])
        self._varied.append(replace(case, order=last + 1 + index if same is None else same))
        return self._varied[-1]

    def _tried(self) -> list[Case]:
        """Return all candidates that have been tried, variations included."""
        known = {record.case.order for record in self.records}
        return [case for case in (*self.candidates, *self._varied) if case.order in known]

    def _close(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases that are better than the baseline, and close to the best of them, best first."""
        plain = self._figure(self.baseline)
        return self._near_best([case for case in cases if self._figure(case) < plain])

    def _near_best(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases that are close to the best of them, best first."""
        best = min(map(self._figure, cases), default=math.inf)
        near = [
            case
            for case in cases
            if self._figure(case) <= (CLOSE if len(self._figures(case)) > 1 else FAR) * best < math.inf
        ]
        return sorted(near, key=self._figure)

    def _affordable(self, leaders: list[Case]) -> list[Case]:
        """Return the leaders for whose fewest rounds there is time; always the best."""
        end = self._end + OVERRUN * self.budget
        while len(leaders) > 1 and self.now() + FEWEST * self._cost([self.baseline, *leaders]) > end:
            leaders = leaders[:-1]
        return leaders

    def _cost(self, cases: Sequence[Case]) -> float:
        """Return the seconds that a round of some cases takes."""
        return self.startup + sum(self._costs.get(case.order, 0.0) for case in cases)

    def _result(self, case: Case) -> CaseResult | None:
        if self._read != len(self.records):
            self._results = {each.spec.order: each for each in cases_of(self.records)}
            self._read = len(self.records)
        return self._results.get(case.order)

    def _figures(self, case: Case) -> Mapping[int, float]:
        found = self._result(case)
        return {} if found is None else figures(found, self.objective)

    def _figure(self, case: Case) -> float:
        """Return a case's figure so far; infinite for one that was not measured, failed or cannot win."""
        found = self._result(case)
        is_baseline = case.order == self.baseline.order
        figure_ = None if found is None else figure(found, self.objective, is_baseline)
        return math.inf if figure_ is None else figure_


def _alike(case: Case) -> tuple[str, ...]:
    """Return what selects a case, without its batch size."""
    return tuple(each for each in case.overrides if not each.startswith("batch_size="))


def varied(case: Case, key: str, value: str | int) -> Case:
    """Return a case with another value of an option."""
    config = copy(case.config)
    setattr(config, key, value)
    return replace(case, config=config, overrides=(*case.overrides, f"{key}={value}"))


def other_threads(threads: int | None) -> list[int]:
    """Return other numbers of threads worth a try: half of it, and all CPUs if they are more."""
    number = threads or cpus.physical_cores()
    others = dict.fromkeys((number // 2, len(cpus.usable())))
    return [each for each in others if each >= 1 and each != number]
