"""Which way of doing the same work is fastest: the alternatives of a run, ranked."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from microbench.analysis.break_even import PayOff, pay_off
from microbench.analysis.verdict import Judgement, contrast, is_comparable, judge
from microbench.config import MARGIN
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import labels, varying
from microbench.records.settings import is_configuration, without, work_of
from microbench.stats.ratio import Ratio


@dataclass(frozen=True)
class Place:
    """A place in a ranking.

    Attributes:
        case: the case.
        time: what it takes in seconds per call; None where it was not measured.
        way: the settings that tell it from the others of its ranking, such as `allocator=tuned`.
        ratio: its time over the fastest's; None for the fastest, and for one that was not measured.
        judgement: the verdict on that ratio; None where there is none.
        pay_off: when it has made up for its preparation; None where the engines are the same, for eager, and
            where there is no eager one.
    """

    case: CaseResult
    time: float | None
    way: str
    ratio: Ratio | None = None
    judgement: Judgement | None = None
    pay_off: PayOff | None = None


@dataclass(frozen=True)
class Ranking:
    """The ways of doing one work, of which at least two were measured.

    Attributes:
        name: what tells the work from the others that are ranked.
        phase: the phase whose time counts.
        places: those that were measured, the fastest first.
        unmeasured: those that failed, were skipped, compute something else, or have an implausible time, in
            the run's order.
    """

    name: str
    phase: str
    places: list[Place]
    unmeasured: list[Place]

    @property
    def engines(self) -> set[str]:
        """The engines of those that were measured."""
        return {place.case.config.engine.name for place in self.places}


def rankings(cases: Sequence[CaseResult], margin: float = MARGIN) -> list[Ranking]:
    """Rank the cases of each work that differ in how it is done (`Role.CONFIGURATION`).

    The order is that of their times; each is compared with the fastest. That the fastest was picked by
    looking, and with it what all are compared with, makes differences look larger than they are; the
    adjustment over all comparisons that `judge` makes is meant for comparisons laid down before, so here it
    is approximate. Simulated with six rounds, some alternative out of four equal ones is called slower in 8 %
    of the rankings, and in 20 % without the adjustment (`benchmarks/verdicts.py`).
    """
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in cases:
        groups.setdefault((case.machine.host_id, _what(case)), []).append(case)
    ranked = [group for group in groups.values() if _are_alternatives(group)]
    if not ranked:
        return []
    names = _names([group[0] for group in ranked])
    orders = [sorted(filter(_is_measured, group), key=_time) for group in ranked]
    ratios = [contrast(order[0], case, _phase(case)).ratio for order in orders for case in order[1:]]
    verdicts = iter(list(zip(ratios, judge(ratios, margin), strict=True)))
    return [
        _ranking(name, group, order, verdicts)
        for name, group, order in zip(names, ranked, orders, strict=True)
    ]


def _ranking(
    name: str,
    group: Sequence[CaseResult],
    order: Sequence[CaseResult],
    verdicts: Iterator[tuple[Ratio, Judgement]],
) -> Ranking:
    ways = _ways(group)
    phase = _phase(order[0])
    judged = [(None, None), *(next(verdicts) for _ in order[1:])]
    places = [
        Place(case, _time(case), ways[id(case)], *verdict, pay_off(case, order, phase))
        for case, verdict in zip(order, judged, strict=True)
    ]
    unmeasured = [Place(case, None, ways[id(case)]) for case in group if not _is_measured(case)]
    return Ranking(name, phase, places, unmeasured)


def _what(case: CaseResult) -> frozenset[tuple[str, str]]:
    """What a case computes, however it does so."""
    work = work_of(case)
    return without(work, set(filter(is_configuration, work)))


def _are_alternatives(group: Sequence[CaseResult]) -> bool:
    """Whether at least two ways of doing the work were measured, by the same phase."""
    measured = [case for case in group if _is_measured(case)]
    return len({without(work_of(case), ()) for case in measured}) > 1


def _estimate(case: CaseResult) -> Estimate:
    estimate = case.whole
    assert estimate is not None, "an alternative was measured"
    return estimate


def _is_measured(case: CaseResult) -> bool:
    return case.whole is not None and is_comparable(case.whole) and not case.is_implausible


def _phase(case: CaseResult) -> str:
    return _estimate(case).phase


def _time(case: CaseResult) -> float:
    return _estimate(case).median


def _ways(group: Sequence[CaseResult]) -> dict[int, str]:
    """By a case's identity, the settings that tell it from the others."""
    settings = varying(group)
    return {
        id(case): ", ".join(f"{name}={values[index]}" for name, values in settings.items())
        for index, case in enumerate(group)
    }


def _names(first: Sequence[CaseResult]) -> list[str]:
    """What each ranking's work is called, by the first case of each."""
    return labels(first, {name: each for name, each in varying(first).items() if not is_configuration(name)})
