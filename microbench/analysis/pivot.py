"""Pivot tables: cases laid out by their axes, the best of each row marked where the difference is real."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from microbench.analysis.axes import FACTS, HOST, date_of, in_order, telling, value_on
from microbench.analysis.confounders import SEPARATE
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
from microbench.analysis.ranking import judged
from microbench.analysis.selection import VALUE, Entry, OverBaseline, Selection
from microbench.analysis.verdict import ONE_ROUND, TOO_FEW, Verdict, judgement
from microbench.analysis.warnings import problems
from microbench.records.cases import CaseResult
from microbench.records.record import WarningCode
from microbench.records.settings import (
    computed,
    is_configuration,
)
from microbench.stats.histogram import histogram

BINS = 8  # of a sparkline
LEAST_SAMPLES = 20  # for a sparkline: the shape of fewer is chance


class Mark(StrEnum):
    """The standing of a value among the row's values of the same work, before columns are moved to rows."""

    BEST = "best"
    """Certainly better than the others."""
    TIED = "may be as good"
    """The best is not certain, and this may be it."""


@dataclass(frozen=True)
class Cell:
    """A value of a case.

    Attributes:
        case: the case.
        quantity: the quantity's name.
        unit: the quantity's unit: s, B, J, 1, or such as images/s.
        reading: the value; None if there is none that counts.
        discarded: seconds of a case that computes something else, or was interrupted: not to be relied on.
        standing: how the case ended, or that its time is implausible.
        mark: its standing in the row; None if it has none.
        is_baseline: whether ratios are relative to it.
        ratio: the value over the baseline's; None without a baseline.
        counts: how many samples are in each of eight bins of equal width, from the least sample to the 99th
            percentile; what is above is in the last. Empty if it has fewer than 20 samples.
        notes: the numbers of its footnotes.
    """

    case: CaseResult
    quantity: str
    unit: str
    reading: Reading | None
    discarded: float | None
    standing: str
    mark: Mark | None = None
    is_baseline: bool = False
    ratio: OverBaseline | None = None
    counts: Sequence[int] = ()
    notes: Sequence[int] = ()


@dataclass(frozen=True)
class Line:
    """A row of a table: its values on the rows' axes, and a cell per column; None where there is no case."""

    key: Sequence[str]
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class Pivot:
    """A table of cases.

    Attributes:
        cases: the cases shown.
        rows: the axes of the rows.
        columns: the axes of the columns; `value` for the quantities, if there are several.
        values: the names of the quantities.
        phases: what the whole step is, by mode, if it is shown.
        keys: the columns' values on their axes.
        lines: at least one.
        notes: the footnotes; the number of the first is 1.
        remarks: what concerns the whole table.
        baseline: what ratios are relative to, as it was given.
        is_rate: whether more is better.
        rounds: the fewest and most rounds of a value; None if there is no value.
        levels: the levels of the intervals.
        dates: the first and the last day on which the cases were measured.
    """

    cases: Sequence[CaseResult]
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[str]
    phases: Mapping[str, str]
    keys: Sequence[Sequence[str]]
    lines: Sequence[Line]
    notes: Sequence[str]
    remarks: Sequence[str]
    baseline: str
    is_rate: bool
    rounds: tuple[int, int] | None
    levels: Sequence[float]
    dates: tuple[str, str]

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells, row by row."""
        return (cell for line in self.lines for cell in line.cells if cell is not None)


def arrange(selection: Selection, moved: int = 0) -> Pivot:
    """Lay the values out.

    Args:
        selection: the values.
        moved: how many of the columns' axes, from the last, are in the rows because the table would be too
            wide.
    """
    request, entries, cases = selection.request, selection.entries, selection.cases
    rows, columns, added = _layout(selection, moved)
    row_keys = [tuple(_on(each, axis) for axis in rows) for each in entries]
    column_keys = [tuple(_on(each, axis) for axis in columns) for each in entries]
    asked = _layout(selection, 0)[0]
    marks, mark_texts = _marks(
        entries, [tuple(_on(each, axis) for axis in asked) for each in entries], request.margin
    )
    warned = {each.code: _warning(each.text, each.worst, each.code) for each in problems(cases).warnings}
    texts = [
        (
            *each.texts,
            *mark_texts.get(index, ()),
            *(warned[code] for code in _doubts(each)),
        )
        for index, each in enumerate(entries)
    ]
    places = {
        (row, column): index for index, (row, column) in enumerate(zip(row_keys, column_keys, strict=True))
    }
    ordered_rows, ordered_columns = _ordered(row_keys), _ordered(column_keys)
    grid = [[places.get((row, column)) for column in ordered_columns] for row in ordered_rows]
    shared, numbers = _numbered([texts[index] for line in grid for index in line if index is not None])
    lines = [
        Line(
            row,
            [
                None if index is None else _cell(entries[index], marks.get(index), texts[index], numbers)
                for index in line
            ],
        )
        for row, line in zip(ordered_rows, grid, strict=True)
    ]
    readings = [each.reading for each in entries if each.reading is not None]
    rounds = [each.rounds for each in readings if each.rounds is not None]
    days = sorted(date_of(case) for case in cases)
    return Pivot(
        cases,
        rows,
        columns,
        list(request.values),
        {case.config.mode.name: whole.phase for case in cases if (whole := case.whole) is not None},
        ordered_columns,
        lines,
        list(numbers),
        [*selection.remarks, *added, *shared],
        ",".join(f"{name}={value}" for name, value in request.baseline.items()),
        all(each.quantity.better is Better.HIGHER for each in entries),
        (min(rounds), max(rounds)) if rounds else None,
        sorted(
            {each.confidence for each in readings if each.confidence is not None and each.low is not None}
        ),
        (days[0], days[-1]),
    )


def _doubts(entry: Entry) -> list[WarningCode]:
    """Return the warnings of a value: of a time, those of its case that its standing does not tell."""
    return [code for code in entry.case.warnings if entry.quantity.is_time and code != entry.case.standing]


def movable(selection: Selection) -> int:
    """Return how many axes of the columns can be moved to the rows."""
    return len([axis for axis in _layout(selection, 0)[1] if axis != VALUE])


def _on(entry: Entry, axis: str) -> str:
    return entry.quantity.name if axis == VALUE else value_on(entry.case, axis)


def _layout(selection: Selection, moved: int) -> tuple[list[str], list[str], list[str]]:
    """Return the axes of rows and columns, and what to say of axes that were not asked for."""
    request, vary, remarks = selection.request, telling(selection.cases), list[str]()
    rows, columns = list(request.rows), list(request.columns)
    left = [axis for axis in vary if axis not in (*rows, *columns)]
    if not rows:
        rows = [axis for axis in ("model", "part", HOST) if axis in left] if columns else []
        rows = rows or [axis for axis in ("model",) if axis not in columns]
        rows += [axis for axis in left if axis in ("part", HOST) and axis not in rows and not columns]
        left = [axis for axis in left if axis not in rows]
        if columns:
            rows, left = [*rows, *left], []
    if not request.columns:
        columns, left = sorted(left, key=_place), []
    if len(request.values) > 1 and VALUE not in (*rows, *columns):
        columns = [*columns, VALUE]
    if left:
        rows = [*rows, *left]
        told = "varies too, and is" if len(left) == 1 else "vary too, and are"
        remarks.append(f"{', '.join(left)} {told} in the rows: cases are not averaged")
    if moved:
        moving = [axis for axis in columns if axis != VALUE][-moved:]
        rows, columns = [*rows, *moving], [axis for axis in columns if axis not in moving]
    return rows, columns, remarks


def _place(axis: str) -> int:
    """Return the place of an axis among the columns: alternatives stand next to each other, engines first."""
    if axis == "mode":
        return 3
    return 0 if axis == "engine" else 1 if axis in FACTS or is_configuration(axis) else 2


def _ordered(keys: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the distinct keys in the order of their values."""
    if not keys or not keys[0]:
        return [()]
    orders = [in_order(values) for values in zip(*keys, strict=True)]
    return sorted(
        set(keys), key=lambda key: [order.index(value) for order, value in zip(orders, key, strict=True)]
    )


def _marks(
    entries: Sequence[Entry], row_keys: Sequence[Hashable], margin: float
) -> tuple[dict[int, Mark], dict[int, tuple[str, ...]]]:
    """Return which entries are the best of their row and work, or may be, and footnotes on that."""
    groups: dict[Hashable, list[int]] = {}
    for index, (each, row) in enumerate(zip(entries, row_keys, strict=True)):
        but = ("batch_size",) if each.quantity.name == THROUGHPUT else ()
        work = computed(each.case, but)
        groups.setdefault((row, each.case.machine.host_id, work, each.quantity.name), []).append(index)
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
        elif len({entries[index].case.run.id for index in rivals}) > 1:
            texts |= {index: (SEPARATE,) for index in rivals if index in marks}
    return marks, texts


def _can_win(entry: Entry) -> bool:
    is_ranked = entry.quantity.better is not Better.NEITHER and entry.reading is not None
    return is_ranked and entry.case.can_win and is_comparable(entry.case, entry.quantity)


def _contest(rivals: Sequence[Entry], margin: float) -> tuple[dict[int, Mark], str | None]:
    """Return the marks of at least two alternatives by the id of the case, and why there are none."""
    quantity = rivals[0].quantity
    phase = quantity.phase(rivals[0].case)
    if quantity.percent is not None and why_no_tail(
        [each.case for each in rivals], phase or "", quantity.percent
    ):
        return {}, None  # a footnote of each says why
    sign = -1 if quantity.better is Better.HIGHER else 1
    cases = [each.case for each in sorted(rivals, key=lambda each: sign * (each.reading or Reading(0)).value)]
    if _is_of_whole(quantity, cases):
        order = [(each.case, each.judgement) for each in judged(cases, margin)]
    else:
        number = len(cases) * (len(cases) - 1) // 2
        overs = ratios([(cases[0], case, quantity) for case in cases[1:]])
        ps = [None if each.p is None else min(1.0, each.p * number) for each in overs]
        found = [judgement(each, p, number, margin) for each, p in zip(overs, ps, strict=True)]
        order = list(zip(cases, [None, *found], strict=True))
    judgements = [each for _, each in order if each is not None]
    for reason in (ONE_ROUND, TOO_FEW):
        if any(each.reason == reason for each in judgements):
            return {}, reason
    if all(each.verdict is Verdict.SLOWER for each in judgements):
        return {id(order[0][0]): Mark.BEST}, None
    tied = [case for case, each in order if each is None or each.verdict is not Verdict.SLOWER]
    return {id(case): Mark.TIED for case in tied}, None


def _is_of_whole(quantity: Quantity, cases: Sequence[CaseResult]) -> bool:
    """Return whether the time of the whole step decides: then rounds may have depended on what they found."""
    if quantity.percent is not None or not quantity.is_time:
        return False
    phases = {case.whole.phase for case in cases if case.whole is not None}
    items = {case.first.items for case in cases}
    is_whole = {quantity.phase(case) for case in cases} == phases and len(phases) == 1
    return is_whole and (quantity.name != THROUGHPUT or len(items) == 1)


def _warning(text: str, worst: str | None, code: str) -> str:
    return f"{text} [{code}]" + ("" if worst is None else f" (the worst: {worst})")


def _numbered(texts: Sequence[Sequence[str]]) -> tuple[list[str], dict[str, int]]:
    """Return the notes that all cells have, and the numbers of the others in the order of the cells."""
    distinct = list(dict.fromkeys(text for each in texts for text in each))
    shared = [text for text in distinct if len(texts) > 1 and all(text in each for each in texts)]
    others = [text for text in distinct if text not in shared]
    return [f"all: {text}" for text in shared], {text: number for number, text in enumerate(others, 1)}


def _cell(entry: Entry, mark: Mark | None, texts: Sequence[str], numbers: Mapping[str, int]) -> Cell:
    case, quantity = entry.case, entry.quantity
    phase = quantity.phase(case)
    counts: Sequence[int] = ()
    if quantity.is_time and phase in case.estimates:
        samples = [sample for each in case.series(phase or "").values() for sample in each.samples]
        counts = histogram(samples, BINS) if len(samples) >= LEAST_SAMPLES else ()
    return Cell(
        case,
        quantity.name,
        quantity.unit(case),
        entry.reading,
        _discarded(case, quantity) if entry.reading is None else None,
        case.standing,
        mark,
        entry.is_baseline,
        entry.over,
        counts,
        sorted({numbers[text] for text in texts if text in numbers}),
    )


def _discarded(case: CaseResult, quantity: Quantity) -> float | None:
    """Return the seconds of a case that do not count; None for other quantities."""
    if not quantity.is_time or quantity.name in (SPEEDUP, THROUGHPUT) or quantity.percent is not None:
        return None
    doubted = case.estimates if case.is_implausible else {}
    found = {**case.discarded, **case.preliminary, **doubted}.get(quantity.phase(case) or "")
    return None if found is None else found.median
