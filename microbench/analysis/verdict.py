"""Which of two cases is faster, or why that is inconclusive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from microbench.config import MARGIN
from microbench.records.cases import CaseResult
from microbench.records.record import ADAPTIVE, SEARCH
from microbench.stats.ratio import LEVEL, MOST_ROUNDS, Ratio, adjusted, more_rounds, paired, unpaired
from microbench.stats.sequential import FIRST_LOOK, looks, seen_once

MORE_THAN_MOST = f">{MOST_ROUNDS} more rounds"
IN_TURN = ("interleaved", ADAPTIVE, SEARCH)
"""The schedules in which a round of every case comes before any has its next."""

ONE_ROUND = "one round says nothing of how processes differ: measure.rounds=6"
SEPARATE_RUNS = "measured in separate runs, which are not interleaved: no verdict"
TOO_FEW = f"an adaptive run has no verdicts before {FIRST_LOOK} rounds"


class Verdict(StrEnum):
    """The verdict on the second of two cases."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Judgement:
    """A verdict on a ratio.

    Attributes:
        verdict: the verdict.
        reason: why it is inconclusive, and what would settle it.
        more_rounds: how many more rounds of each side would settle an inconclusive one; 1001 means more than
            a thousand. None with a single round.
        p_adjusted: the probability of a ratio at least this far from 1 if both take equally long, adjusted
            for the number of comparisons; None with a single round.
    """

    verdict: Verdict
    reason: str | None = None
    more_rounds: int | None = None
    p_adjusted: float | None = None


NO_VERDICT = Judgement(Verdict.INCONCLUSIVE, SEPARATE_RUNS)
"""On two cases of separate runs that a report shows side by side."""


@dataclass(frozen=True)
class Contrast:
    """A phase of two cases side by side.

    Attributes:
        ratio: the second's time over the first's.
        is_paired: whether rounds were compared one by one.
        a: the median, or another percentile, of each compared round of the first, in seconds per call.
        b: the same of the second.
        most: of each compared round of the first, the most rounds that the cases could have; empty if the
            number did not depend on what they found.
    """

    ratio: Ratio
    is_paired: bool
    a: Sequence[float]
    b: Sequence[float]
    most: Sequence[int]


def contrast(a: CaseResult, b: CaseResult, phase: str) -> Contrast:
    """Compare the times of a phase that two cases have both measured: see `contrasts`."""
    return contrasts([(a, b, phase)])[0]


def contrasts(
    pairs: Sequence[tuple[CaseResult, CaseResult, str | tuple[str, str]]], percent: float | None = None
) -> list[Contrast]:
    """Compare the times of a phase of each pair of cases, which both have measured, or of one phase of each.

    The rounds are the independent observations: their medians, or their own percentiles, are compared.

    Rounds of one interleaved run are paired by number, because they were measured close to each other; those
    that failed on one side are left out. Other rounds are not paired. Where rounds were given depending on
    what earlier ones found, p-values and intervals allow for a look after each: see `stats.sequential`.
    """
    found = [_contrast(a, b, phase, percent) for a, b, phase in pairs]
    for index, each in enumerate(found):
        if each.most and not each.is_paired:
            found[index] = replace(each, ratio=seen_once(each.ratio, max(each.most)))
    in_turn = [index for index, each in enumerate(found) if each.most and each.is_paired]
    if in_turn:
        shape = len(in_turn), max(len(found[index].most) for index in in_turn)
        logs, most = np.full(shape, np.nan), np.ones(shape, np.int64)
        for row, index in enumerate(in_turn):
            each, rounds = found[index], slice(len(found[index].most))
            logs[row, rounds], most[row, rounds] = np.log(each.b) - np.log(each.a), each.most
        seen = looks(logs, most)
        for row, index in enumerate(in_turn):
            found[index] = replace(found[index], ratio=seen.last(row))
    return found


def _contrast(a: CaseResult, b: CaseResult, phase: str | tuple[str, str], percent: float | None) -> Contrast:
    of_a, of_b = (phase, phase) if isinstance(phase, str) else phase
    return contrast_of(a, b, a.times(of_a, percent), b.times(of_b, percent))


def contrast_of(
    a: CaseResult, b: CaseResult, first: Mapping[int, float], second: Mapping[int, float]
) -> Contrast:
    """Compare two cases by a value above 0 of each of their rounds, by the round's number.

    Where rounds were given depending on what earlier ones found, this does not allow for that: see
    `contrasts`.
    """
    common = sorted(first.keys() & second.keys() & set(side_by_side(a, b)))
    is_paired = (a is b or are_interleaved(a, b)) and len(common) > 1
    rounds = (common, common) if is_paired else (list(first), list(second))
    times = [first[each] for each in rounds[0]], [second[each] for each in rounds[1]]
    most = most_rounds([a, b], rounds[0])
    return Contrast((paired if is_paired else unpaired)(*times), is_paired, *times, most)


def most_rounds(cases: Sequence[CaseResult], rounds: Sequence[int]) -> list[int]:
    """Return the most rounds that cases could have, as known when each of these was measured, by number.

    Only the last of them may know of fewer than were planned before: those that the budget allowed. Empty if
    the number of rounds did not depend on what they found.
    """
    plans = [
        {number: each.plan for number, each in case.rounds.items() if each.plan is not None} for case in cases
    ]
    if not any(plan.most for each in plans for plan in each.values()):
        return []
    most = max(plan.most or plan.rounds for each in plans for plan in each.values())
    last = (each[rounds[-1]] for each in plans if rounds[-1] in each)
    return [*[most] * (len(rounds) - 1), max((plan.most or most for plan in last), default=most)]


def side_by_side(a: CaseResult, b: CaseResult) -> list[int]:
    """Return the rounds of both that the same command measured; a run completed later has several."""
    common = a.rounds.keys() & b.rounds.keys()
    return [each for each in common if a.rounds[each].run.invocation == b.rounds[each].run.invocation]


def are_interleaved(a: CaseResult, b: CaseResult) -> bool:
    """Return whether two cases took turns, in most of their rounds."""
    if a.run.id != b.run.id or a.run.schedule not in IN_TURN:
        return False
    return 2 * len(side_by_side(a, b)) > len(a.rounds.keys() & b.rounds.keys())


def judge(ratios: Sequence[Ratio], margin: float = MARGIN) -> list[Judgement]:
    """Return the verdicts on all ratios that are shown together.

    - The same: the interval is between 1 / (1 + margin) and 1 + margin.
    - Faster or slower: the interval excludes 1, also at 5 % among all these comparisons, by Benjamini and
      Hochberg's procedure: without it, one of twenty comparisons of equal things would by chance.
    - Inconclusive: otherwise.
    """
    ps = iter(adjusted(ratio.p for ratio in ratios if ratio.p is not None))
    found = [None if ratio.p is None else next(ps) for ratio in ratios]
    number = sum(p is not None for p in found)
    return [judgement(ratio, p, number, margin) for ratio, p in zip(ratios, found, strict=True)]


def judge_beside(
    pairs: Sequence[tuple[CaseResult, CaseResult]], ratios: Sequence[Ratio], margin: float = MARGIN
) -> list[Judgement]:
    """Return the verdicts on cases that a report shows side by side: see `judge`; none across runs."""
    of_one_run = [are_of_one_run(a, b) for a, b in pairs]
    found = iter(judge([ratio for ratio, is_one in zip(ratios, of_one_run, strict=True) if is_one], margin))
    return [next(found) if is_one else NO_VERDICT for is_one in of_one_run]


def are_of_one_run(a: CaseResult, b: CaseResult) -> bool:
    """Return whether one run measured both cases."""
    return a.run.id == b.run.id


def judgement(ratio: Ratio, p_adjusted: float | None, comparisons: int, margin: float) -> Judgement:
    """Return the verdict on a ratio whose p-value is adjusted for that number of comparisons."""
    if ratio.interval is None or ratio.p is None or p_adjusted is None:
        return Judgement(Verdict.INCONCLUSIVE, TOO_FEW if ratio.parts else ONE_ROUND)
    low, high = ratio.interval
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return Judgement(Verdict.SAME, p_adjusted=p_adjusted)
    alone = Verdict.SLOWER if low > 1 else Verdict.FASTER if high < 1 else None
    if alone and p_adjusted <= LEVEL:
        return Judgement(alone, p_adjusted=p_adjusted)
    level = LEVEL * ratio.p / p_adjusted if alone else LEVEL  # the level that p has to reach among the others
    more = more_rounds(ratio, margin, level)
    text = f"about {more} more round" + ("" if more == 1 else "s") if more <= MOST_ROUNDS else MORE_THAN_MOST
    if alone:
        text = f"{alone} by itself, but not among {comparisons} comparisons (p {p_adjusted:.2g}): {text}"
    return Judgement(Verdict.INCONCLUSIVE, text, more, p_adjusted)
