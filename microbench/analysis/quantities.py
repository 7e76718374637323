"""The quantities that tables show of cases: times of phases, throughput, memory and others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from microbench.analysis.case import error_of
from microbench.analysis.verdict import contrast_of, contrasts
from microbench.errors import UserError, unknown
from microbench.records.cases import CaseResult, Estimate
from microbench.records.record import Correctness, Role
from microbench.stats.percentiles import Percentile, lacking, least_to_reach, over_calls
from microbench.stats.ratio import Ratio
from microbench.stats.rounds import over_rounds
from microbench.stats.sequential import SequentialRatio, seen_once

STEP, THROUGHPUT, SPEEDUP = "step", "throughput", "speedup"
MEMORY, ENERGY, ERROR, PARAMS = "memory", "energy", "error", "params"

METRICS: Mapping[str, str] = {
    STEP: "the time of the whole step: total in training, inference otherwise",
    "PHASE": "the time of a phase that the records have, such as forward",
    "pNN": "a percentile of the whole step's time over all calls, such as p99",
    THROUGHPUT: "items per second of the whole step",
    SPEEDUP: "the baseline's time of the whole step over this one's",
    MEMORY: "the peak memory",
    ENERGY: "the measured energy of a call or step",
    ERROR: "the largest relative error of the answer",
    PARAMS: "the number of parameters",
}
"""What there is to show, by name."""

PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")


class Better(StrEnum):
    """Which of two values of a quantity is the better one."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


@dataclass(frozen=True)
class Quantity:
    """A quantity of a case.

    Attributes:
        name: its name: a phase, or one of `METRICS`.
        better: which values are better.
        percent: the percentile of the whole step's time that it is; None for others.
    """

    name: str
    better: Better
    percent: float | None = None

    @property
    def is_time(self) -> bool:
        """Whether it is a time, or derived from one."""
        return self.name not in (MEMORY, ENERGY, ERROR, PARAMS)

    def unit(self, case: CaseResult) -> str:
        """Return its unit for a case: s, B, J, 1, or such as images/s."""
        if self.name == THROUGHPUT:
            return f"{case.item}/s"
        return {MEMORY: "B", ENERGY: "J", ERROR: "1", PARAMS: "1", SPEEDUP: "1"}.get(self.name, "s")

    def phase(self, case: CaseResult) -> str | None:
        """Return the phase of a case that it is about; None if the case has no such phase."""
        if self.name in METRICS or self.percent is not None:
            found = [case.estimates, case.discarded, case.preliminary]
            wholes = (each.phase for some in found for each in some.values() if each.role is Role.WHOLE)
            return next(wholes, None)
        return self.name


@dataclass(frozen=True)
class Reading:
    """The value of a quantity.

    Attributes:
        value: in the quantity's unit.
        low: lower end of its interval; None if it has none.
        high: upper end.
        confidence: the interval's level.
        rounds: the number of rounds that it rests on; None if it is the same in all.
    """

    value: float
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    rounds: int | None = None

    @property
    def half_width(self) -> float | None:
        """Half-width of the interval, in the value's unit."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float | None:
        """Half-width of the interval relative to the value; None without one."""
        return self.half_width / self.value if self.half_width is not None and self.value else None


def quantities(cases: Sequence[CaseResult], names: Sequence[str]) -> list[Quantity]:
    """Return the quantities of these names.

    Raises:
        UserError: there is no such quantity in the records, or they have several units.
    """
    phases = dict.fromkeys(phase for case in cases for phase in (*case.estimates, *case.discarded))
    metrics = [name for name in METRICS if name.islower()]
    found = []
    for name in names:
        if percentile := PERCENTILE.fullmatch(name):
            percent = float(percentile[1])
            if not 0 < percent < 100:
                raise UserError(f"{name} is not possible: give a percentile between p0 and p100.")
            found.append(Quantity(name, Better.LOWER, percent))
        elif name in phases or name in metrics:
            found.append(Quantity(name, _better(name)))
        else:
            known = [*phases, *metrics, "p99"]
            raise unknown("value", name, known, see=f"{', '.join(known)}.")
    _check_units(found, cases)
    return found


def _better(name: str) -> Better:
    if name in (ERROR, PARAMS):
        return Better.NEITHER
    return Better.HIGHER if name in (THROUGHPUT, SPEEDUP) else Better.LOWER


def _check_units(found: Sequence[Quantity], cases: Sequence[CaseResult]) -> None:
    """Reject quantities that would put several units into one table.

    Raises:
        UserError: they would; says which units.
    """
    if not cases:
        return
    units = {each.name: each.unit(cases[0]) for each in found}
    kinds = {
        each.name: each.name if each.name in (ERROR, PARAMS, SPEEDUP) else units[each.name] for each in found
    }
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} is in {_spelled(unit)}" for name, unit in units.items())
        raise UserError(f"A table has one unit, and {told}: give one of them, or several phases.")
    items = dict.fromkeys(case.item for case in cases) if THROUGHPUT in units else ()
    if len(items) > 1:
        told = " and ".join(f"{item}/s" for item in items)
        raise UserError(
            f"A table has one unit, and throughput would be in {told}: choose by --where model=NAME, or show "
            "--value step."
        )


def _spelled(unit: str) -> str:
    return {"s": "seconds", "B": "bytes", "J": "joules", "1": "no unit"}.get(unit, unit)


def reading(case: CaseResult, quantity: Quantity) -> Reading | None:
    """Return a case's value; None if it was not measured, or does not count."""
    if quantity.name == ERROR:
        error = error_of(case)
        return None if error is None or math.isinf(error) else Reading(error)
    if quantity.name == PARAMS:
        return None if case.first.outcome.params is None else Reading(case.first.outcome.params)
    if quantity.name in (MEMORY, ENERGY):
        return _over_rounds(list(by_round(case, quantity).values()))
    estimate = case.estimates.get(quantity.phase(case) or "")
    if estimate is None or case.is_implausible:
        return None
    if quantity.percent is not None:
        (found,) = _percentiles(case, estimate, quantity.percent)
        if found.value is None:
            return None
        return Reading(found.value, found.low, found.high, estimate.confidence, estimate.rounds)
    if quantity.name == THROUGHPUT:
        return _throughput(case, estimate)
    return Reading(estimate.median, estimate.low, estimate.high, estimate.confidence, estimate.rounds)


def why_unknown(case: CaseResult, quantity: Quantity) -> str | None:
    """Return why a case that ended well has no value; None if it has one, or did not end well."""
    if case.standing != "ok" or reading(case, quantity) is not None:
        return None
    if quantity.percent is not None and quantity.phase(case) in case.estimates:
        return f"{quantity.name} needs {least_to_reach(quantity.percent):,} samples"
    if quantity.name == ERROR and case.check.answer is Correctness.REFERENCE:
        return "it is the reference that others are compared with"
    return f"the records have no {quantity.name}"


def _percentiles(case: CaseResult, estimate: Estimate, percent: float) -> list[Percentile]:
    return over_calls([each.samples for each in case.series(estimate.phase).values()], [percent])


def _throughput(case: CaseResult, estimate: Estimate) -> Reading | None:
    """Return the items per second; the ends of its interval are those of the time, exchanged."""
    rate = case.throughput(estimate)
    if rate is None:
        return None
    items = case.first.items
    low, high = (None if not end else items / end for end in (estimate.high, estimate.low))
    return Reading(rate, low, high, estimate.confidence, estimate.rounds)


def _over_rounds(values: Sequence[float]) -> Reading | None:
    """Return the median of the rounds' values, with its interval if there are at least two."""
    if len(values) < 2:
        return Reading(values[0], rounds=1) if values else None
    found = over_rounds(values)
    return Reading(found.median, found.low, found.high, found.confidence, len(values))


def by_round(case: CaseResult, quantity: Quantity) -> Mapping[int, float]:
    """Return the value of each round that counts, by the round's number: for a time quantity, seconds."""
    if quantity.name == MEMORY:
        return case.peak_memories if case.counted else {}
    if quantity.name == ENERGY:
        joules = {number: each.outcome.joules for number, each in case.counted.items()}
        return {number: each for number, each in joules.items() if each is not None}
    phase = quantity.phase(case)
    if quantity.name in (ERROR, PARAMS) or phase is None or phase not in case.estimates:
        return {}
    return case.times(phase, quantity.percent)


def is_comparable(case: CaseResult, quantity: Quantity) -> bool:
    """Return whether a case's value can be compared: it counts, and is above 0 in every round."""
    values = by_round(case, quantity)
    return bool(values) and min(values.values()) > 0 and not case.is_implausible


def ratios(pairs: Sequence[tuple[CaseResult, CaseResult, Quantity]]) -> list[Ratio]:
    """Return the second's cost over the first's for each pair, from the rounds of both: above 1, it is worse.

    The cost is the quantity itself, or for a throughput the time per item; a speedup's is the time. A ratio
    has no error if percentiles cannot be compared: see `why_no_tail`.
    """
    found = {index: _of_rounds(*pair) for index, pair in enumerate(pairs) if not pair[2].is_time}
    for percent in dict.fromkeys(quantity.percent for _, _, quantity in pairs):
        timed = [
            (index, (a, b, quantity.phase(a) or ""))
            for index, (a, b, quantity) in enumerate(pairs)
            if quantity.is_time and quantity.percent == percent
        ]
        for (index, pair), each in zip(timed, contrasts([pair for _, pair in timed], percent), strict=True):
            blind = percent is not None and why_no_tail(pair[:2], pair[2], percent) is not None
            found[index] = Ratio(each.ratio.log, ()) if blind else _per_item(each.ratio, *pairs[index])
    return [found[index] for index in range(len(pairs))]


def _of_rounds(a: CaseResult, b: CaseResult, quantity: Quantity) -> Ratio:
    found = contrast_of(a, b, by_round(a, quantity), by_round(b, quantity))
    return seen_once(found.ratio, max(found.most)) if found.most else found.ratio


def _per_item(found: Ratio, a: CaseResult, b: CaseResult, quantity: Quantity) -> Ratio:
    """Return a ratio of times as one of times per item, if throughputs are compared."""
    if quantity.name != THROUGHPUT or a.first.items == b.first.items:
        return found
    log = found.log + math.log(a.first.items / b.first.items)
    if isinstance(found, SequentialRatio):  # its p-values are those of another hypothesis
        return Ratio(log, ())
    return replace(found, log=log)


def why_no_tail(cases: Iterable[CaseResult], phase: str, percent: float) -> str | None:
    """Return why rounds do not have a percentile that could be compared; None if they do."""
    series = [each for case in cases for each in case.series(phase).values()]
    calls = max(each.calls_per_sample for each in series)
    if calls > 1:
        return f"a sample is the mean of {calls} calls: measure.percentile={percent:g} times each by itself"
    more = lacking([each.samples for each in series], percent)
    return f"p{percent:g} needs {more:,} more sample{'' if more == 1 else 's'} a round" if more else None
