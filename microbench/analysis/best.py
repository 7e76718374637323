"""Which values of a table are the best of their row, where the difference is real."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import StrEnum

from microbench.analysis.quantities import (
    SPEEDUP,
    THROUGHPUT,
    Better,
    Quantity,
    Reading,
    is_comparable,
    ratios,
    why_no_tail,
)
from microbench.analysis.ranking import Judged, judged
from microbench.analysis.selection import Entry
from microbench.analysis.verdict import (
    NO_VERDICT,
    ONE_ROUND,
    SEPARATE_RUNS,
    TOO_FEW,
    Verdict,
    are_of_one_run,
    judgement,
    most_rounds,
)
from microbench.records.cases import CaseResult
from microbench.records.settings import computed

ADAPTIVE_RATES = "the run decided by times how many rounds there are, not by times per item"


class Mark(StrEnum):
    """The standing of a value among the row's values of the same work, before columns are moved to rows."""

    BEST = "best"
    """Certainly better than the others."""
    TIED = "may be as good"
    """The best is not certain, and this may be it."""


def marks(
    entries: Sequence[Entry], row_keys: Sequence[Hashable], margin: float
) -> tuple[dict[int, Mark], dict[int, tuple[str, ...]]]:
    """Return which entries are the best of their row and work, or may be, and footnotes on that.

    Times of different phases, and speedups over different baselines, are no rivals.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, (each, row) in enumerate(zip(entries, row_keys, strict=True)):
        but = ("batch_size",) if each.quantity.name == THROUGHPUT else ()
        work = computed(each.case, but)
        relative_to = id(each.baseline) if each.quantity.name == SPEEDUP else None
        phase = each.quantity.phase(each.case) if each.quantity.is_time else None
        key = row, each.case.machine.host_id, work, each.quantity.name, phase, relative_to
        groups.setdefault(key, []).append(index)
    marks, texts = dict[int, Mark](), dict[int, tuple[str, ...]]()
    for group in groups.values():
        rivals = [index for index in group if _can_win(entries[index])]
        if len(rivals) < 2:
            continue
        found, why = _contest([entries[index] for index in rivals], margin)
        for index in rivals:
            mark = found.get(id(entries[index].case))
            if mark is not None:
                marks[index] = mark
        if why:
            texts |= dict.fromkeys(rivals, (f"no best of the row: {why}",))
    return marks, texts


def _can_win(entry: Entry) -> bool:
    is_ranked = entry.quantity.better is not Better.NEITHER and entry.reading is not None
    return is_ranked and entry.case.can_win and is_comparable(entry.case, entry.quantity)


def _contest(rivals: Sequence[Entry], margin: float) -> tuple[dict[int, Mark], str | None]:
    """Return the marks of at least two alternatives by the id of the case, and why there are none."""
    quantity = rivals[0].quantity
    sign = -1 if quantity.better is Better.HIGHER else 1
    cases = [each.case for each in sorted(rivals, key=lambda each: sign * (each.reading or Reading(0)).value)]
    phase, is_of_whole = quantity.phase(cases[0]) or "", _is_of_whole(quantity, cases)
    if quantity.percent is not None and why_no_tail(cases, phase, quantity.percent):
        return {}, None  # a footnote of each says why
    if quantity.name == THROUGHPUT and not is_of_whole and most_rounds(cases, list(cases[0].counted)):
        return {}, ADAPTIVE_RATES
    order = judged(cases, margin) if is_of_whole else _over_first(cases, quantity, margin)
    judgements = [each.judgement for each in order if each.judgement is not None]
    for reason in (SEPARATE_RUNS, ONE_ROUND, TOO_FEW):
        if any(each.reason == reason for each in judgements):
            return {}, reason
    if all(each.verdict is Verdict.SLOWER for each in judgements):
        return {id(order[0].case): Mark.BEST}, None
    is_worse = [each.judgement is not None and each.judgement.verdict is Verdict.SLOWER for each in order]
    return {id(each.case): Mark.TIED for each, worse in zip(order, is_worse, strict=True) if not worse}, None


def _over_first(cases: Sequence[CaseResult], quantity: Quantity, margin: float) -> list[Judged]:
    """Compare the cases with the first, which their values selected: every pair counts, as in a ranking."""
    pairs = len(cases) * (len(cases) - 1) // 2
    overs = ratios([(cases[0], case, quantity) for case in cases[1:]])
    ps = [None if each.p is None else min(1.0, each.p * pairs) for each in overs]
    verdicts = [
        judgement(over, p, pairs, margin) if are_of_one_run(cases[0], case) else NO_VERDICT
        for case, over, p in zip(cases[1:], overs, ps, strict=True)
    ]
    return [Judged(cases[0]), *map(Judged, cases[1:], overs, verdicts)]


def _is_of_whole(quantity: Quantity, cases: Sequence[CaseResult]) -> bool:
    """Return whether the time of the whole step decides: then rounds may have depended on what they found."""
    if quantity.percent is not None or not quantity.is_time:
        return False
    phases = {case.whole.phase for case in cases if case.whole is not None}
    items = {case.first.items for case in cases}
    is_whole = {quantity.phase(case) for case in cases} == phases and len(phases) == 1
    return is_whole and (quantity.name != THROUGHPUT or len(items) == 1)
