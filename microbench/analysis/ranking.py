"""Which configuration of the same work is fastest: the alternatives of a run, ranked."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from microbench.analysis.case import Disturbed, disturbed
from microbench.analysis.verdict import (
    NO_VERDICT,
    Judgement,
    Verdict,
    are_of_one_run,
    contrast,
    judgement,
    most_rounds,
)
from microbench.config import MARGIN
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import differences
from microbench.records.record import Role
from microbench.records.settings import computed, without, work_labels, work_of
from microbench.stats.ratio import Ratio
from microbench.stats.sequential import Race, race

BASELINE = "eager"  # the engine with almost no preparation


@dataclass(frozen=True)
class BreakEven:
    """When a configuration has made up for its preparation: its break-even.

    Attributes:
        calls: the number of calls after which its total time is no longer than eager's; None if never.
        is_told: whether the two times per call differ significantly: the interval of their ratio excludes 1.
            None with one round, which says nothing about differences between processes.
    """

    calls: int | None
    is_told: bool | None


@dataclass(frozen=True)
class Place:
    """A place in a ranking.

    Attributes:
        configuration: the settings that distinguish it in its ranking, such as `allocator=tuned`.
        standing: how its case ended, or that its time is implausible.
        time: its time per call; None if that does not count.
        discarded: the time of one that computes something other than eager fp32.
        ratio: its time over the fastest's; None for the fastest, and for one that was not measured.
        judgement: the verdict on that ratio; None if there is none.
        rounds: the number of its rounds, if they ended early because it was slower than the fastest.
        first_answer: seconds until its first answer; None also if all engines are the same.
        break_even: when it has made up for its preparation; None if all engines are the same, for eager, and
            if there is no eager case.
        disturbed: how many of its rounds are left out as disturbed; None if none is.
    """

    configuration: str
    standing: str
    time: Estimate | None = None
    discarded: float | None = None
    ratio: Ratio | None = None
    judgement: Judgement | None = None
    rounds: int | None = None
    first_answer: float | None = None
    break_even: BreakEven | None = None
    disturbed: Disturbed | None = None


@dataclass(frozen=True)
class Ranking:
    """The configurations of one work, of which at least two were measured.

    Attributes:
        name: what distinguishes the work from the others that are ranked.
        phase: the phase whose time counts.
        places: the measured configurations, the fastest first.
        unmeasured: those that failed, were skipped, compute something else, or have an implausible time, in
            the run's order.
        is_decided: whether all others are slower than the first.
        has_engines: whether engines are compared, which differ in their preparation.
    """

    name: str
    phase: str
    places: Sequence[Place]
    unmeasured: Sequence[Place]
    is_decided: bool
    has_engines: bool


def rankings(cases: Sequence[CaseResult], margin: float = MARGIN) -> list[Ranking]:
    """Rank each work's cases that differ in configuration (`Role.CONFIGURATION`).

    They are ordered by time, and each is compared with the fastest. Because the fastest, the baseline of all
    comparisons, is selected from the same data, every pair of the ranking counts as a comparison: p-values
    are multiplied by the number of pairs (Bonferroni). Then at most 5 % of the rankings of equal alternatives
    call any of them slower, however many rounds they had (`benchmarks/trust.py --simulate`).
    """
    ranked = alternatives(cases)
    if not ranked:
        return []
    names = work_labels([group[0] for group in ranked])
    return [_ranking(name, group, margin) for name, group in zip(names, ranked, strict=True)]


def alternatives(cases: Sequence[CaseResult]) -> list[list[CaseResult]]:
    """Group the cases that compute the same on the same host, where at least two of them can be ranked."""
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in cases:
        groups.setdefault((case.machine.host_id, computed(case)), []).append(case)
    return [group for group in groups.values() if _are_alternatives(group)]


def _ranking(name: str, group: Sequence[CaseResult], margin: float) -> Ranking:
    names = {id(case): name for case, name in zip(group, differences(group), strict=True)}
    order = judged(group, margin)
    phase = _whole(order[0].case).phase
    has_engines = len({each.case.config.engine.name for each in order}) > 1
    places = [
        Place(
            names[id(each.case)],
            each.case.standing,
            _whole(each.case),
            None,
            each.ratio,
            each.judgement,
            each.rounds,
            first_answer(each.case) if has_engines else None,
            break_even(each.case, [other.case for other in order], phase) if has_engines else None,
            disturbed([each.case]),
        )
        for each in order
    ]
    unmeasured = [
        Place(names[id(case)], case.standing, discarded=_discarded(case))
        for case in group
        if not is_measured(case)
    ]
    is_decided = all(each.judgement.verdict is Verdict.SLOWER for each in places if each.judgement)
    return Ranking(name, phase, places, unmeasured, is_decided, has_engines)


class Judged(NamedTuple):
    """A case, compared with the fastest of its ranking; the fields are those of its place."""

    case: CaseResult
    ratio: Ratio | None = None
    judgement: Judgement | None = None
    rounds: int | None = None


def judged(group: Sequence[CaseResult], margin: float = MARGIN) -> list[Judged]:
    """Compare the measured cases of a ranking with the fastest of them; return them in order.

    There is no verdict on a case of another run.
    """
    first, *others = _judged(group, margin)
    return [
        first,
        *(
            each
            if are_of_one_run(first.case, each.case)
            else each._replace(judgement=NO_VERDICT, rounds=None)
            for each in others
        ),
    ]


def _judged(group: Sequence[CaseResult], margin: float) -> list[Judged]:
    cases = sorted(filter(is_measured, group), key=lambda case: _whole(case).median)
    pairs = len(cases) * (len(cases) - 1) // 2
    run = race_of(cases)
    if run is None:
        ratios = [contrast(cases[0], case, _whole(case).phase).ratio for case in cases[1:]]
        ps = [None if ratio.p is None else min(1.0, ratio.p * pairs) for ratio in ratios]
        verdicts = [judgement(ratio, p, pairs, margin) for ratio, p in zip(ratios, ps, strict=True)]
        return [Judged(cases[0]), *map(Judged, cases[1:], ratios, verdicts)]
    first, *others = sorted(range(len(cases)), key=lambda index: index in run.left)
    found = [Judged(cases[first])]
    for index in others:
        ratio, rounds = run.ratio(first, index), _whole(cases[index]).rounds
        p = run.left.get(index, min(1.0, ratio.p_slower * pairs))
        verdict = judgement(ratio, p, pairs, margin)
        if index in run.left and verdict.verdict is not Verdict.SAME:
            verdict = Judgement(Verdict.SLOWER, p_adjusted=p)
        is_early = index in run.left and rounds < _whole(cases[first]).rounds
        found.append(Judged(cases[index], ratio, verdict, rounds if is_early else None))
    return found


def race_of(cases: Sequence[CaseResult]) -> Race | None:
    """Return what the rounds of at least two measured alternatives decide.

    None if the number of their rounds did not depend on what they found.
    """
    columns = sorted({_column(case, number) for case in cases for number in _whole(case).medians})
    most = most_rounds(cases, [number for number, _ in columns])
    if not most:
        return None
    logs = np.full((len(cases), len(columns)), np.nan)
    for row, case in enumerate(cases):
        for number, seconds in _whole(case).medians.items():
            logs[row, columns.index(_column(case, number))] = math.log(seconds)
    return race(logs, np.asarray(most))


def _column(case: CaseResult, number: int) -> tuple[int, str]:
    """Return what the rounds that were measured side by side have in common."""
    return number, case.rounds[number].run.invocation


def _are_alternatives(group: Sequence[CaseResult]) -> bool:
    """Return whether at least two configurations of the work were measured, by the same phase."""
    measured = [case for case in group if is_measured(case)]
    return len({without(work_of(case), ()) for case in measured}) > 1


def _whole(case: CaseResult) -> Estimate:
    assert case.whole is not None, "an alternative was measured"
    return case.whole


def is_measured(case: CaseResult) -> bool:
    """Return whether a case has a time that counts."""
    return case.whole is not None and case.whole.is_comparable and not case.is_implausible


def _discarded(case: CaseResult) -> float | None:
    wholes = (each.median for each in case.discarded.values() if each.role is Role.WHOLE)
    return next(wholes, None)


def calls_to_break_even(first: float, each: float, other_first: float, other_each: float) -> int | None:
    """Return the number of calls after which one configuration's total time is no longer than another's.

    N calls take `first + (N - 1) * each`, so it is the smallest integer N of at least 1 with
    `N >= 1 + (first - other_first) / (other_each - each)`; None for one that is not faster.

    Args:
        first: seconds until its first answer: its preparation and its first call.
        each: seconds of each later call.
        other_first: the other's seconds until its first answer.
        other_each: seconds of each later call of the other.
    """
    if each >= other_each:
        return None
    return 1 + max(0, math.ceil((first - other_first) / (other_each - each)))


def first_answer(case: CaseResult) -> float | None:
    """Return preparation plus first call in seconds, each the median over rounds; None if unknown."""
    phases = [case.estimates.get(name) for name in ("prepare", "first_call")]
    return sum(each.median for each in phases if each is not None) if all(phases) else None


def break_even(case: CaseResult, others: Sequence[CaseResult], phase: str) -> BreakEven | None:
    """Return when a case has made up for its preparation, compared with the most similar eager case.

    None for an eager case, and if there is no eager case, or the time until the first answer is unknown.
    """
    baselines = [each for each in others if each.config.engine.name == BASELINE]
    if case.config.engine.name == BASELINE or not baselines:
        return None
    baseline = min(baselines, key=lambda other: _unlike(case, other))
    first, other_first = first_answer(case), first_answer(baseline)
    if first is None or other_first is None:
        return None
    compared = contrast(baseline, case, phase)
    ends = compared.ratio.interval
    calls = calls_to_break_even(first, median(compared.b), other_first, median(compared.a))
    return BreakEven(calls, None if ends is None else not ends[0] <= 1 <= ends[1])


def _unlike(case: CaseResult, other: CaseResult) -> int:
    """Count the settings in which two cases differ, besides those of the engine."""
    settings = work_of(case), work_of(other)
    keys = {key for each in settings for key in each if not key.startswith("engine.")}
    return sum(settings[0].get(key) != settings[1].get(key) for key in keys)
