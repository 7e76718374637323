"""What a search for the best configuration compares: one figure of each round, the less the better."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from microbench.config import THROUGHPUT
from microbench.records.cases import CaseResult
from microbench.records.record import Role, RoundRecord
from microbench.stats.median import quantile


def figures(case: CaseResult, objective: str) -> Mapping[int, float]:
    """Return the figure of each round that ended well and has one, by the round's number.

    It is the median in seconds per call, or by objective: seconds per item, the 99th percentile in seconds
    per call, or the peak memory in bytes.
    """
    whole = case.whole
    if whole is None:
        return {}
    found = {number: _figure(case.rounds[number], each, objective) for number, each in whole.medians.items()}
    return {number: figure for number, figure in found.items() if figure}


def figure(case: CaseResult, objective: str, is_baseline: bool = False) -> float | None:
    """Return the median of a case's figures; None if it has none, or may not win.

    Those of the baseline count even if another of its rounds failed: others are compared with it.
    """
    found = figures(case, objective) if case.can_win or (is_baseline and case.is_credible) else {}
    is_whole = case.whole is not None and case.whole.is_comparable
    return median(found.values()) if found and is_whole else None


def _figure(record: RoundRecord, seconds: float, objective: str) -> float | None:
    if objective == "memory":
        return record.outcome.peak_memory
    if objective == THROUGHPUT:
        return seconds / record.items
    if objective == "p99":
        samples = next(each.samples for each in record.series if each.role is Role.WHOLE)
        return quantile(samples, 0.99)
    return seconds
