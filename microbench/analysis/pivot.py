"""Pivot tables: cases laid out by their axes, the best of each row marked where the difference is real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from microbench.analysis.axes import date_of
from microbench.analysis.best import Mark, marks
from microbench.analysis.layout import Layout, layout, ordered
from microbench.analysis.quantities import SPEEDUP, THROUGHPUT, Better, Quantity, Reading
from microbench.analysis.selection import Entry, OverBaseline, Selection
from microbench.analysis.warnings import problems
from microbench.records.cases import CaseResult
from microbench.records.record import WarningCode
from microbench.stats.histogram import histogram

BINS = 8  # of a sparkline
LEAST_SAMPLES = 20  # for a sparkline: the shape of fewer is chance


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


@dataclass(frozen=True)
class _Noted:
    """A value with its mark and the texts of its footnotes."""

    entry: Entry
    mark: Mark | None
    texts: Sequence[str]


def pivot(selection: Selection) -> Pivot:
    """Lay the values out as is asked for."""
    return _arranged(selection, layout(selection), _noted(selection))


def pivots(selection: Selection) -> list[Pivot]:
    """Lay the values out as is asked for, then with more and more of the columns' axes in the rows."""
    asked, noted = layout(selection), _noted(selection)
    moves = range(len(asked.movable) + 1)
    return [_arranged(selection, asked.moved(number), noted) for number in moves]


def _noted(selection: Selection) -> list[_Noted]:
    """Return the values with what does not depend on where the columns' axes are."""
    entries, asked = selection.entries, layout(selection)
    found, mark_texts = marks(entries, [asked.row_of(each) for each in entries], selection.request.margin)
    warned = {
        each.code: _warning(each.text, each.worst, each.code) for each in problems(selection.cases).warnings
    }
    return [
        _Noted(
            each,
            found.get(index),
            [*each.texts, *mark_texts.get(index, ()), *(warned[code] for code in _doubts(each))],
        )
        for index, each in enumerate(entries)
    ]


def _arranged(selection: Selection, chosen: Layout, noted: Sequence[_Noted]) -> Pivot:
    request, entries, cases = selection.request, selection.entries, selection.cases
    places = {(chosen.row_of(each.entry), chosen.column_of(each.entry)): each for each in noted}
    rows, columns = (ordered([each[side] for each in places]) for side in (0, 1))
    grid = [[places.get((row, column)) for column in columns] for row in rows]
    shared, numbers = _numbered([each.texts for line in grid for each in line if each is not None])
    readings = [each.reading for each in entries if each.reading is not None]
    rounds = [each.rounds for each in readings if each.rounds is not None]
    levels = {each.confidence for each in readings if each.confidence is not None and each.low is not None}
    days = sorted(date_of(case) for case in cases)
    return Pivot(
        cases,
        chosen.rows,
        chosen.columns,
        list(request.values),
        {case.config.mode.name: whole.phase for case in cases if (whole := case.whole) is not None},
        columns,
        [
            Line(row, [None if each is None else _cell(each, numbers) for each in line])
            for row, line in zip(rows, grid, strict=True)
        ],
        list(numbers),
        [*selection.remarks, *chosen.remarks, *shared],
        ",".join(f"{name}={value}" for name, value in request.baseline.items()),
        all(each.quantity.better is Better.HIGHER for each in entries),
        (min(rounds), max(rounds)) if rounds else None,
        sorted(levels),
        (days[0], days[-1]),
    )


def _doubts(entry: Entry) -> list[WarningCode]:
    """Return the warnings of a value: of a time, those of its case that its standing does not tell."""
    return [code for code in entry.case.warnings if entry.quantity.is_time and code != entry.case.standing]


def _warning(text: str, worst: str | None, code: str) -> str:
    return f"{text} [{code}]" + ("" if worst is None else f" (the worst: {worst})")


def _numbered(texts: Sequence[Sequence[str]]) -> tuple[list[str], dict[str, int]]:
    """Return the notes that all cells have, and the numbers of the others in the order of the cells."""
    distinct = list(dict.fromkeys(text for each in texts for text in each))
    shared = [text for text in distinct if len(texts) > 1 and all(text in each for each in texts)]
    others = [text for text in distinct if text not in shared]
    return [f"all: {text}" for text in shared], {text: number for number, text in enumerate(others, 1)}


def _cell(noted: _Noted, numbers: Mapping[str, int]) -> Cell:
    entry, case, quantity = noted.entry, noted.entry.case, noted.entry.quantity
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
        noted.mark,
        entry.is_baseline,
        entry.over,
        counts,
        sorted({numbers[text] for text in noted.texts if text in numbers}),
    )


def _discarded(case: CaseResult, quantity: Quantity) -> float | None:
    """Return the seconds of a case that do not count; None for other quantities."""
    if not quantity.is_time or quantity.name in (SPEEDUP, THROUGHPUT) or quantity.percent is not None:
        return None
    doubted = case.estimates if case.is_implausible else {}
    found = {**case.discarded, **case.preliminary, **doubted}.get(quantity.phase(case) or "")
    return None if found is None else found.median
