"""When a way of running a workload that takes long to prepare has made up for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from microbench.analysis.verdict import contrast
from microbench.records.cases import CaseResult
from microbench.records.settings import work_of

BASELINE = "eager"  # the engine that prepares next to nothing


@dataclass(frozen=True)
class PayOff:
    """When a way has made up for its preparation.

    Attributes:
        calls: after how many calls it has taken no longer in all than eager; None where it never does.
        is_told: whether the two calls' times, which `calls` rests on, differ: the interval of their ratio
            leaves out 1. None with one round, which says nothing of how processes differ.
    """

    calls: int | None
    is_told: bool | None


def calls_to_pay_off(first: float, each: float, other_first: float, other_each: float) -> int | None:
    """After how many calls one way has taken no longer in all than another; None for one that is not faster.

    N calls take `first + (N - 1) * each`, so it is the least whole N of at least 1 with
    `N >= 1 + (first - other_first) / (other_each - each)`.

    Args:
        first: seconds until it has answered once: its preparation and its first call.
        each: seconds of each later call.
        other_first: the other's seconds until it has answered once.
        other_each: seconds of each later call of the other.
    """
    if each >= other_each:
        return None
    return 1 + max(0, math.ceil((first - other_first) / (other_each - each)))


def first_answer(case: CaseResult) -> float | None:
    """Seconds until a case has answered once: preparation and first call, each the median over its rounds."""
    phases = [case.estimates.get(name) for name in ("prepare", "first_call")]
    return sum(each.median for each in phases if each is not None) if all(phases) else None


def pay_off(case: CaseResult, others: Sequence[CaseResult], phase: str) -> PayOff | None:
    """When a case has made up for its preparation, beside the eager one of the others that is most like it.

    None for one that is eager itself, and where there is no eager one, or it is not known how long the first
    answer took.
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
    calls = calls_to_pay_off(first, median(compared.b), other_first, median(compared.a))
    return PayOff(calls, None if ends is None else not ends[0] <= 1 <= ends[1])


def _unlike(case: CaseResult, other: CaseResult) -> int:
    """In how many settings two cases differ, besides those of the engine."""
    settings = work_of(case), work_of(other)
    keys = {key for each in settings for key in each if not key.startswith("engine.")}
    return sum(settings[0].get(key) != settings[1].get(key) for key in keys)
