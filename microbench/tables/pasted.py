"""A pivot table to paste: markdown, LaTeX, and rows for CSV and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from microbench.analysis.best import Mark
from microbench.analysis.pivot import Cell, Pivot
from microbench.analysis.quantities import SPEEDUP
from microbench.tables.escaping import latex, markdown, markdown_row
from microbench.tables.export import reading_row
from microbench.tables.pivot import (
    UNICODE,
    absent,
    header,
    legend,
    over_text,
    sparkline,
    title,
    value_text,
)

BEGIN = r"""% pdflatex FILE compiles this as it is. In a document, \input{FILE} gives the table alone.
\makeatletter
\ifx\@nodocument\relax
  \let\microbenchend\relax
\else
  \documentclass{article}
  \usepackage[a3paper,landscape,margin=15mm]{geometry}
  \pagestyle{empty}
  \begin{document}
  \def\microbenchend{\end{document}}
\fi
\makeatother
"""
"""The beginning of a LaTeX file; within a document, its kernel has made `@nodocument` do nothing."""


def to_markdown(pivot: Pivot) -> str:
    """Return the table in GitHub's markdown."""
    above = f" \\ {', '.join(pivot.columns)}" if pivot.columns else ""
    names = [*pivot.rows] or [""]
    heads = [*names[:-1], names[-1] + above, *(head(pivot, key) for key in pivot.keys)]
    lines = [f"{markdown(line)}  " for line in header(pivot)]
    lines += [
        "",
        markdown_row(map(markdown, heads)),
        markdown_row([*["---"] * len(names), *["---:"] * len(pivot.keys)]),
    ]
    for line in pivot.lines:
        telling = [markdown(each) for each in line.key] or [""]
        lines.append(markdown_row([*telling, *map(_in_markdown, line.cells)]))
    lines += ["", *(f"- {markdown(each)}" for each in legend(pivot))]
    lines += [f"- <sup>{number}</sup> {markdown(text)}" for number, text in enumerate(pivot.notes, 1)]
    return "\n".join([*lines, *(f"- {markdown(each)}" for each in pivot.remarks)]) + "\n"


def head(pivot: Pivot, key: Sequence[str]) -> str:
    """Return a column's header on one line; a value that does not tell its axis is preceded by it."""
    if not pivot.columns:
        return title(pivot)
    return ", ".join(
        value if value[:1].isalpha() and value not in ("true", "false", "null") else f"{axis}={value}"
        for axis, value in zip(pivot.columns, key, strict=True)
    )


def _in_markdown(cell: Cell | None) -> str:
    if cell is None:
        return UNICODE.no_case
    notes = f"<sup>{','.join(map(str, cell.notes))}</sup>" if cell.notes else ""
    if cell.reading is None:
        return f"{markdown(absent(cell))}{notes}"
    text = markdown(value_text(cell))
    if cell.mark is not None:
        text = f"{UNICODE.marks[cell.mark]} {f'**{text}**' if cell.mark is Mark.BEST else text}"
    parts = [f"{text}{notes}", *_ratio(cell, markdown)]
    if cell.counts:
        parts.append(sparkline(cell.counts))
    return "<br>".join(parts)


def _ratio(cell: Cell, escape: Callable[[str], str]) -> Iterator[str]:
    if cell.is_baseline:
        yield "baseline"
    elif cell.ratio is not None and cell.quantity != SPEEDUP:
        yield escape(over_text(cell))


def to_latex(pivot: Pivot) -> str:
    """Return the table in LaTeX: a document that compiles as it is, and that another one can input."""
    number = len(pivot.keys)
    rows = [*pivot.rows] or [""]
    lines = [BEGIN, rf"\noindent\begin{{tabular}}{{{'l' * len(rows)}{'r' * number}}}", r"\hline"]
    blank = ["" for _ in rows[1:]]
    for place, axis in enumerate(pivot.columns):
        spans = [
            rf"\multicolumn{{{len(list(same))}}}{{c}}{{{latex(prefix[-1])}}}"
            for prefix, same in groupby(key[: place + 1] for key in pivot.keys)
        ]
        lines.append(" & ".join([latex(axis), *blank, *spans]) + r" \\")
    names = [latex(name) for name in rows]
    lines += [" & ".join([*names, *([""] * number if pivot.columns else [latex(title(pivot))])]) + r" \\"]
    lines.append(r"\hline")
    for line in pivot.lines:
        telling = [latex(each) for each in line.key] or [""]
        lines.append(" & ".join([*telling, *map(_in_latex, line.cells)]) + r" \\")
    lines += [r"\hline", r"\end{tabular}", r"\par\smallskip", r"{\footnotesize\raggedright"]
    below = [*header(pivot), *legend(pivot, with_counts=False)]
    lines += [rf"{latex(each)}\par" for each in below]
    lines += [rf"\textsuperscript{{{place}}}~{latex(text)}\par" for place, text in enumerate(pivot.notes, 1)]
    lines += [rf"{latex(each)}\par" for each in pivot.remarks]
    return "\n".join([*lines, "}", r"\microbenchend"]) + "\n"


def _in_latex(cell: Cell | None) -> str:
    if cell is None:
        return latex(UNICODE.no_case)
    notes = rf"\textsuperscript{{{','.join(map(str, cell.notes))}}}" if cell.notes else ""
    if cell.reading is None:
        return latex(absent(cell)) + notes
    text = latex(value_text(cell))
    if cell.mark is not None:
        mark = latex(UNICODE.marks[cell.mark])
        text = rf"{mark} \textbf{{{text}}}" if cell.mark is Mark.BEST else f"{mark} {text}"
    return "~ ".join([f"{text}{notes}", *_ratio(cell, latex)])


def wide_rows(pivot: Pivot) -> list[dict[str, Any]]:
    """Return one row per row of the table, in SI units: each cell's value with its interval, ratio and mark.

    A cell without a value says how its case ended.
    """
    unit, measured = next(cell.unit for cell in pivot.cells), "; ".join(header(pivot)[:-1])
    return [
        {
            **dict(zip(pivot.rows, line.key, strict=True)),
            **{
                name: value
                for key, cell in zip(pivot.keys, line.cells, strict=True)
                for name, value in _wide(head(pivot, key), cell, pivot)
            },
            "unit": unit,
            "measured": measured,
            "notes": "; ".join([*_texts(pivot, line.cells), *pivot.remarks]),
        }
        for line in pivot.lines
    ]


def _wide(name: str, cell: Cell | None, pivot: Pivot) -> Iterator[tuple[str, Any]]:
    reading = None if cell is None else cell.reading
    ratio = None if cell is None else cell.ratio
    yield name, reading.value if reading else None if cell is None else cell.standing
    yield f"{name} low", reading and reading.low
    yield f"{name} high", reading and reading.high
    if pivot.baseline:
        yield f"{name} ratio", ratio and ratio.value
        yield f"{name} ratio low", ratio and ratio.low
        yield f"{name} ratio high", ratio and ratio.high
    yield f"{name} mark", cell and cell.mark


def _texts(pivot: Pivot, cells: Sequence[Cell | None]) -> list[str]:
    numbers = sorted({number for cell in cells if cell is not None for number in cell.notes})
    return [pivot.notes[number - 1] for number in numbers]


def cell_rows(pivot: Pivot) -> list[dict[str, Any]]:
    """Return one row per cell, in SI units, with everything that the table knows of it."""
    return [
        {
            **dict(zip(pivot.rows, line.key, strict=True)),
            **dict(zip(pivot.columns, key, strict=True)),
            **_cell(cell, pivot),
        }
        for line in pivot.lines
        for key, cell in zip(pivot.keys, line.cells, strict=True)
        if cell is not None
    ]


def _cell(cell: Cell, pivot: Pivot) -> dict[str, Any]:
    reading, ratio, machine = cell.reading, cell.ratio, cell.case.machine
    return {
        "quantity": cell.quantity,
        "unit": cell.unit,
        **reading_row(reading),
        "status": cell.standing,
        "discarded": cell.discarded,
        "mark": cell.mark,
        "is_baseline": cell.is_baseline,
        "ratio": ratio and ratio.value,
        "ratio_ci_low": ratio and ratio.low,
        "ratio_ci_high": ratio and ratio.high,
        "verdict": ratio and ratio.verdict,
        "histogram": cell.counts,
        "notes": [*_texts(pivot, [cell]), *pivot.remarks],
        "run_id": cell.case.run.id,
        "case_id": cell.case.spec.id,
        "host_id": machine.host_id,
        "cpu": machine.cpu,
        "gpu": machine.gpu,
        "torch": machine.torch,
        "microbench": machine.microbench,
        "started_at": cell.case.first.started_at,
    }
