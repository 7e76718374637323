"""Comparisons of two runs, or of one run's cases: ratios with intervals, verdicts, and confounders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from microbench.analysis.absences import Absence, absences, counts
from microbench.analysis.confounders import warnings_of
from microbench.analysis.pairing import Difference, Pair, Pairing, across, listed, within
from microbench.analysis.phases import chosen
from microbench.analysis.verdict import Contrast, Judgement, Verdict, contrasts, judge
from microbench.config import MARGIN
from microbench.errors import NothingToCompareError, UserError
from microbench.records.cases import CaseResult
from microbench.records.result import Result
from microbench.records.settings import choices
from microbench.stats.percentiles import lacking
from microbench.stats.ratio import Ratio, mean_ratio
from microbench.stats.sequential import SequentialRatio, seen_once

if TYPE_CHECKING:
    import pandas as pd

MEDIAN = "median"


@dataclass(frozen=True)
class Row:
    """One phase of one pair of cases.

    Attributes:
        case: what distinguishes the pair from the others.
        phase: the phase.
        a: the name of the baseline's side.
        b: the name of the other side.
        a_time: the median of the baseline's rounds' medians, or percentiles, in seconds per call.
        b_time: the other side's.
        a_rounds: the number of the baseline's rounds.
        b_rounds: the number of the other side's.
        paired: whether rounds of one interleaved run were compared one by one.
        ratio: b's time over a's, the geometric mean over rounds: above 1, b is slower.
        low: lower end of its 95 % CI; None with a single round.
        high: upper end.
        p: the probability of a ratio at least this far from 1 if both take equally long.
        p_adjusted: the same, adjusted for the number of comparisons.
        verdict: on b: faster, slower, same or inconclusive.
        reason: why a verdict is inconclusive, and what would settle it.
        more_rounds: how many more rounds of each side would settle an inconclusive verdict; 1001 means more
            than a thousand.
        a_case_id: the baseline's `case_id`.
        b_case_id: the other side's.
        a_run_id: the baseline's run.
        b_run_id: the other side's.
        at: which time of the rounds is compared: `median`, or a percentile such as `p99`.
    """

    case: str
    phase: str
    a: str
    b: str
    a_time: float
    b_time: float
    a_rounds: int
    b_rounds: int
    paired: bool
    ratio: float
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    reason: str | None
    more_rounds: int | None
    a_case_id: str
    b_case_id: str
    a_run_id: str
    b_run_id: str
    at: str = MEDIAN


@dataclass(frozen=True)
class Suite:
    """All pairs of one phase together: see `stats.ratio.mean_ratio` for what that means.

    Attributes:
        phase: the phase.
        a: the name of the baseline's side.
        b: the name of the other side.
        cases: the number of pairs.
        ratio: the geometric mean of their ratios.
        low: lower end of its 95 % CI, for these cases on this machine; None if a pair has none.
        high: upper end.
    """

    phase: str
    a: str
    b: str
    cases: int
    ratio: float
    low: float | None
    high: float | None


class NoneMeasuredError(NothingToCompareError):
    """Cases pair, but none of the pairs has times on both sides.

    Attributes:
        absences: what the baseline's side has measured and the other has not.
    """

    def __init__(self, text: str, absences: Sequence[Absence]) -> None:
        super().__init__(text)
        self.absences = absences


@dataclass(frozen=True)
class Compared:
    """The findings of a comparison.

    Attributes:
        a: the baseline's file of records.
        b: the other side's; None for a comparison within `a`.
        rows: one row per pair and phase; at least one.
        suite: one row per phase and compared value, if there are several pairs.
        warnings: what else differs between the sides, and may explain why their times do.
        remarks: which cases are not compared, and why.
        absences: what the baseline's side has measured and the other has not.
        differences: what differs between the sides.
        by: the setting that was compared by within one side; None for two sides.
        margin: the share by which a ratio may differ from 1 and still count as the same.
        a_cases: the compared baselines.
        b_cases: the cases compared with them, in the same order.
    """

    a: Path
    b: Path | None
    rows: Sequence[Row]
    suite: Sequence[Suite]
    warnings: Sequence[str]
    remarks: Sequence[str]
    absences: Sequence[Absence]
    differences: Sequence[Difference]
    by: str | None
    margin: float
    a_cases: Sequence[CaseResult] = field(repr=False)
    b_cases: Sequence[CaseResult] = field(repr=False)

    @property
    def tally(self) -> Mapping[str, int]:
        """The number of rows of each verdict, and of absences of each kind, by its name."""
        return Counter([*(row.verdict for row in self.rows), *(each.kind for each in self.absences)])

    def slower_by_more_than(self, share: float) -> list[Row]:
        """Return the rows that are certainly slower by more than a share of the baseline's time.

        Their verdict is `slower`, and even the lower end of the ratio's interval is above 1 + share.
        """
        return [row for row in self.rows if row.verdict is Verdict.SLOWER and (row.low or 0.0) > 1 + share]

    def perhaps_slower_by_more_than(self, share: float) -> list[Row]:
        """Return the other rows of which that is possible: the interval's upper end is above 1 + share."""
        certain = self.slower_by_more_than(share)
        return [row for row in self.rows if row not in certain and (row.high or 0.0) > 1 + share]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame, one column per attribute."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])


def compare(
    a: Result,
    b: Result | None = None,
    by: str | None = None,
    baseline: object = None,
    margin: float = MARGIN,
    phase: str | Sequence[str] | None = None,
    at: str | None = None,
) -> Compared:
    """Compare two results, or the cases of one by a setting.

    Args:
        a: the baseline.
        b: what is compared with it; None to compare within `a`.
        by: within `a`, the setting to compare by: an axis such as `engine`, or a dotted key. With `b`, the
            settings of the work that may differ, separated by commas; configurations may differ anyway.
        baseline: the value of `by` that the others are compared with; by default the first of the run.
        margin: the share by which a ratio may differ from 1 and still count as the same.
        phase: the phases to compare, as a list or separated by commas, or `all`; by default those that span
            a whole step, total and inference.
        at: the percentile to compare, such as `p99`; by default the median.

    Raises:
        NothingToCompareError: no cases pair, or no pair was measured.
        UserError: an argument has an invalid value.
    """
    if not 0 <= margin < 1:
        raise UserError(f"margin={margin:g} is not possible: give a share from 0 to below 1 (0.01 is 1 %).")
    percent = percent_of(at)
    by = by and by.removeprefix("cfg_")
    within_one = by if b is None else None
    pairing = _pairing(a, b, by, baseline)
    measured = [pair for pair in pairing.pairs if pair.a.estimates and pair.b.estimates]
    phases = chosen([case for pair in measured for case in (pair.a, pair.b)], phase)
    found = [(pair, each) for pair in measured for each in phases if _is_comparable(pair, each, percent)]
    untold = [*_failures(pairing.pairs), *_too_short(measured, phases)]
    if not found:
        why = listed(untold or _phases_apart(measured, phases))
        raise NoneMeasuredError(f"Nothing to compare: {why}.", absences(pairing, phases))
    unknown_tails = [None if percent is None else _why_no_tail(pair, each, percent) for pair, each in found]
    compared = [
        replace(each, ratio=Ratio(each.ratio.log, ())) if reason else each
        for each, reason in zip(
            contrasts([(pair.a, pair.b, each) for pair, each in found], percent), unknown_tails, strict=True
        )
    ]
    ratios = [each.ratio for each in compared]
    judgements = [
        replace(each, reason=reason) if reason else each
        for each, reason in zip(judge(ratios, margin), unknown_tails, strict=True)
    ]
    rows = [
        replace(_row(pair, each, contrasted, judgement), at=at or MEDIAN)
        for (pair, each), contrasted, judgement in zip(found, compared, judgements, strict=True)
    ]
    return Compared(
        a=a.path,
        b=None if b is None else b.path,
        rows=rows,
        suite=list(_suite([pair for pair, _ in found], rows, ratios)),
        warnings=list(dict.fromkeys(text for pair, _ in found for text in warnings_of(pair, within_one))),
        remarks=[*untold, *pairing.remarks],
        absences=absences(pairing, phases),
        differences=pairing.differences,
        by=within_one,
        margin=margin,
        a_cases=[pair.a for pair, _ in found],
        b_cases=[pair.b for pair, _ in found],
    )


def percent_of(at: str | None) -> float | None:
    """Return the number of a percentile such as `p99`; None for the median.

    Raises:
        UserError: there is no such percentile.
    """
    if at is None:
        return None
    number = re.fullmatch(r"p(\d+(?:\.\d+)?)", str(at))
    if number is None or not 0 < float(number[1]) < 100:
        raise UserError(
            f"at={at} is not possible: give a percentile between p0 and p100, both excluded, such as p99 or "
            "p99.9."
        )
    return float(number[1])


def _why_no_tail(pair: Pair, phase: str, percent: float) -> str | None:
    """Return why rounds do not have a percentile that could be compared; None if they do."""
    series = [each for _, case in _sides(pair) for each in case.series(phase).values()]
    calls = max(each.calls_per_sample for each in series)
    if calls > 1:
        return f"a sample is the mean of {calls} calls: measure.percentile={percent:g} times each by itself"
    more = lacking([each.samples for each in series], percent)
    return f"p{percent:g} needs {more:,} more sample{'' if more == 1 else 's'} a round" if more else None


def _row(pair: Pair, phase: str, contrasted: Contrast, judgement: Judgement) -> Row:
    ratio, (low, high) = contrasted.ratio, contrasted.ratio.interval or (None, None)
    return Row(
        case=pair.name,
        phase=phase,
        a=pair.a_name,
        b=pair.b_name,
        a_time=median(contrasted.a),
        b_time=median(contrasted.b),
        a_rounds=len(contrasted.a),
        b_rounds=len(contrasted.b),
        paired=contrasted.is_paired,
        ratio=ratio.value,
        low=low,
        high=high,
        p=ratio.p,
        p_adjusted=judgement.p_adjusted,
        verdict=judgement.verdict,
        reason=judgement.reason,
        more_rounds=judgement.more_rounds,
        a_case_id=pair.a.spec.id,
        b_case_id=pair.b.spec.id,
        a_run_id=pair.a.run.id,
        b_run_id=pair.b.run.id,
    )


def _pairing(a: Result, b: Result | None, by: str | None, baseline: object) -> Pairing:
    cases = a.cases()
    for result, found in ((a, cases), (b, b.cases() if b else [])):
        if result is not None and not found:
            raise NothingToCompareError(f"Nothing to compare: {result.path} has no records.")
    if b is not None:
        if baseline is not None:
            raise UserError("A baseline is for the cases of one run: leave out the second.")
        return across(cases, b.cases(), by)
    if by is None:
        vary = ", ".join(choices(cases))
        within_it = f", or a setting that varies in this one: {vary}" if vary else ""
        raise UserError(f"Give a second run to compare with{within_it}.")
    return within(cases, by, baseline)


def _sides(pair: Pair) -> tuple[tuple[str, CaseResult], tuple[str, CaseResult]]:
    return (pair.a_name, pair.a), (pair.b_name, pair.b)


def _is_comparable(pair: Pair, phase: str, percent: float | None) -> bool:
    """Return whether both sides have measured a phase, with a time that is above 0 and plausible."""
    return all(
        phase in case.estimates
        and case.estimates[phase].is_comparable
        and min(case.times(phase, percent).values()) > 0
        and not case.is_implausible
        for _, case in _sides(pair)
    )


def _failures(pairs: Sequence[Pair]) -> list[str]:
    """Return the cases without reliable times, each once, and why."""
    failed = {
        id(case): f"{side}: {pair.name}: {case.standing}: {case.reason or 'nothing was summarized'}"
        for pair in pairs
        for side, case in _sides(pair)
        if not counts(case)
    }
    return list(failed.values())


def _too_short(pairs: Sequence[Pair], phases: Sequence[str]) -> list[str]:
    found = [
        f"{side}: {pair.name}: {phase} is too short for its clock"
        for pair in pairs
        for side, case in _sides(pair)
        for phase in phases
        if phase in case.estimates and not case.estimates[phase].is_comparable
    ]
    return list(dict.fromkeys(found))


def _phases_apart(pairs: Sequence[Pair], phases: Sequence[str]) -> list[str]:
    """Return the message for pairs that have no phase in common."""
    there = (f"{side} has {', '.join(case.estimates)}" for side, case in _sides(pairs[0]))
    return [f"{' or '.join(phases)} was not measured on both sides: {', '.join(there)}"]


def _suite(pairs: Sequence[Pair], rows: Sequence[Row], ratios: Sequence[Ratio]) -> Iterator[Suite]:
    """Yield the mean ratios of pairs that share no case: the errors of others depend on each other."""
    groups: dict[tuple[str, str, str], list[tuple[Pair, Ratio]]] = {}
    for pair, row, ratio in zip(pairs, rows, ratios, strict=True):
        groups.setdefault((row.phase, row.a, row.b), []).append((pair, ratio))
    for (phase, a, b), members in groups.items():
        cases = {id(case) for pair, _ in members for _, case in _sides(pair)}
        if len(members) > 1 and len(cases) == 2 * len(members):
            mean = mean_ratio([ratio for _, ratio in members])
            if most := [ratio.most for _, ratio in members if isinstance(ratio, SequentialRatio)]:
                mean = seen_once(mean, max(most))
            yield Suite(phase, a, b, len(members), mean.value, *(mean.interval or (None, None)))
