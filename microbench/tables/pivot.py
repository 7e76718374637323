"""A pivot table in the terminal, and the texts that all its formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from microbench.analysis.best import Mark
from microbench.analysis.pivot import Cell, Pivot
from microbench.analysis.quantities import ERROR, MEMORY, PARAMS, SPEEDUP, STEP, THROUGHPUT, Reading
from microbench.analysis.verdict import Verdict
from microbench.tables import units
from microbench.tables.compare import NOT_OF_TIMES, interval_text, ratio_text
from microbench.tables.escaping import escape
from microbench.tables.fitting import fits, print_fitting
from microbench.tables.labels import count, machines

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
"""The eight heights of a sparkline, and those of a stream that cannot encode them."""

STYLES = {Mark.BEST: "bold green", Mark.TIED: "bold"}
STATUS_STYLES = {"skipped": "dim"}  # of how a case ended; the others are red
RATIO_STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.INCONCLUSIVE: "dim"}


@dataclass(frozen=True)
class Glyphs:
    """The characters of a table that a stream may be unable to encode.

    Attributes:
        blocks: the heights of a sparkline.
        marks: the mark of each standing.
        times: the sign before a ratio.
        no_case: what stands where there is no case.
    """

    blocks: str
    marks: dict[Mark, str]
    times: str
    no_case: str


UNICODE = Glyphs(BLOCKS, {Mark.BEST: "★", Mark.TIED: "≈"}, "×", "–")
ASCII = Glyphs(ASCII_BLOCKS, {Mark.BEST: "*", Mark.TIED: "="}, "x", "-")


def glyphs_of(encoding: str) -> Glyphs:
    """Return the characters for a stream with an encoding."""
    try:
        f"{BLOCKS}★≈×".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def show_pivots(variants: Sequence[Pivot], out: Console) -> None:
    """Print the first variant of a table that fits the terminal, with its header and its footnotes.

    Args:
        variants: the same cases, laid out in more and more rows.
        out: where to print.
    """
    glyphs = glyphs_of(out.encoding)
    tables = [
        (pivot, table)
        for pivot in variants
        for table in (
            pivot_table(pivot, glyphs),
            pivot_table(pivot, glyphs, is_stacked=True),
        )
    ]
    pivot, table = next((each for each in tables if fits(each[1], out)), tables[-1])
    for line in header(pivot):
        out.print(escape(line), style="dim", soft_wrap=True)
    print_fitting(out, table)
    for note in legend(pivot, glyphs):
        out.print(escape(note), style="dim", soft_wrap=True)
    for line in footnotes(pivot):
        out.print(escape(line), soft_wrap=True)


def header(pivot: Pivot) -> list[str]:
    """Return the machines and versions, when and how often it was measured, and what the table shows."""
    return [*machines(pivot.cases), measured(pivot), f"{title(pivot)}:"]


def measured(pivot: Pivot) -> str:
    """Return when the values were measured, by which version, over how many rounds, and their level."""
    versions = dict.fromkeys(
        " ".join(filter(None, (case.machine.microbench, case.machine.git))) for case in pivot.cases
    )
    first, last = pivot.dates
    parts = [first if first == last else f"{first} to {last}"]
    parts += [f"microbench {', '.join(filter(None, versions))}"] if any(versions) else []
    if pivot.rounds is not None:
        least, most = pivot.rounds
        parts.append(count(least, "round") if least == most else f"{least} to {most} rounds")
    within = " within one process" if pivot.rounds == (1, 1) else ""
    parts += [f"{' and '.join(map(units.level, pivot.levels))} CI{within}"] if pivot.levels else []
    return " · ".join(parts)


def title(pivot: Pivot) -> str:
    """Return what the table shows, such as `total (train), inference (infer)`."""
    if list(pivot.values) == [STEP]:
        return ", ".join(f"{phase} ({mode})" for mode, phase in pivot.phases.items()) or STEP
    return ", ".join(pivot.values)


def pivot_table(pivot: Pivot, glyphs: Glyphs, is_stacked: bool = False) -> Table:
    """Return the table: the columns' axes above, the rows' axes on the left.

    Args:
        pivot: the table.
        glyphs: its characters.
        is_stacked: whether ratio and sparkline are below the value instead of beside it.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(pivot.rows) or [""]
    below = [""] if pivot.rows and pivot.columns else []  # the line of the rows' axes
    for place, name in enumerate(names):
        axes = pivot.columns if place == 0 else [""] * len(pivot.columns)
        table.add_column("\n".join(map(escape, [*axes, *([name] if pivot.rows or not axes else [])])))
    joint = "\n" if is_stacked else "  "
    for key in pivot.keys:
        head = "\n".join(map(escape, [*key, *below])) if pivot.columns else title(pivot)
        table.add_column(head, justify="right", no_wrap=True)
    for line in pivot.lines:
        cells = [glyphs.no_case if each is None else joint.join(_marked(each, glyphs)) for each in line.cells]
        table.add_row(*(escape(each) for each in line.key), *([""] if not pivot.rows else []), *cells)
    return table


def _marked(cell: Cell, glyphs: Glyphs) -> Iterator[str]:
    """Yield the parts of a cell with markup: its value, its ratio to the baseline, its sparkline."""
    notes = escape(f"[{','.join(map(str, cell.notes))}]") if cell.notes else ""
    if cell.reading is None:
        style = STATUS_STYLES.get(cell.standing, "red")
        value = absent(cell) if cell.standing == "ok" else f"[{style}]{absent(cell)}[/{style}]"
        yield f"{value}{notes}"
        return
    text = value_text(cell)
    if cell.mark is not None:
        style = STYLES[cell.mark]
        text = f"[{style}]{glyphs.marks[cell.mark]} {text}[/{style}]"
    yield f"{text}{notes}"
    if cell.is_baseline:
        yield "baseline"
    elif cell.ratio is not None and cell.quantity != SPEEDUP:
        told = over_text(cell, glyphs.times)
        ratio_style = RATIO_STYLES.get(cell.ratio.verdict)
        yield f"[{ratio_style}]{told}[/{ratio_style}]" if ratio_style else told
    if cell.counts:
        yield sparkline(cell.counts, glyphs.blocks)


def absent(cell: Cell) -> str:
    """Return the text of a cell without a value that counts: why, and a time that does not count."""
    if cell.standing == "ok":
        return "unknown"
    return cell.standing + ("" if cell.discarded is None else f" ~{units.time(cell.discarded)}~")


def value_text(cell: Cell) -> str:
    """Return a value with its unit, and the half-width of its interval relative to it."""
    assert cell.reading is not None, "a value that counts"
    width = cell.reading.relative_half_width
    return _writer(cell)(cell.reading) + ("" if width is None else f" ±{units.share(width)}")


def _writer(cell: Cell) -> Callable[[Reading], str]:
    if cell.unit == "s":
        return lambda each: units.time(each.value, each.half_width)
    named: dict[str, Callable[[Reading], str]] = {
        THROUGHPUT: lambda each: f"{units.rate(each.value, each.relative_half_width)} {cell.unit}",
        SPEEDUP: lambda each: ratio_text(each.value, each.low, each.high),
        MEMORY: lambda each: units.memory(each.value),
        ERROR: lambda each: units.error(each.value),
        PARAMS: lambda each: units.scaled(int(each.value), ""),
    }
    return named.get(cell.quantity, lambda each: units.scaled(each.value, cell.unit))


def over_text(cell: Cell, times: str = "×") -> str:
    """Return a value's ratio to the baseline's, such as `×1.42 (1.38 to 1.46)`."""
    assert cell.ratio is not None, "a ratio"
    numbers = cell.ratio.value, cell.ratio.low, cell.ratio.high
    interval = "" if cell.ratio.low is None else f" ({interval_text(*numbers)})"
    return f"{times}{ratio_text(*numbers)}{interval}"


def sparkline(counts: Sequence[int], blocks: str = BLOCKS) -> str:
    """Return a character per count, the highest for the largest; a blank lowest one only for zero."""
    top = max(counts)
    steps = len(blocks) - 1
    return "".join(blocks[0 if not each else max(1, round(each * steps / top))] for each in counts)


def legend(pivot: Pivot, glyphs: Glyphs = UNICODE, with_counts: bool = True) -> list[str]:
    """Return how to read the table, and its sparklines unless it has none."""
    cells = list(pivot.cells)
    marks = {cell.mark for cell in cells}
    found = []
    if any(cell.reading is not None and cell.reading.half_width is not None for cell in cells):
        found.append("±: half-width of the interval, relative to the value")
    of = "highest" if pivot.is_rate else "lowest"
    if Mark.BEST in marks:
        found.append(
            f"{glyphs.marks[Mark.BEST]}: {of} of those that compute the same; others are significantly worse"
        )
    if Mark.TIED in marks:
        found.append(f"{glyphs.marks[Mark.TIED]}: {of}, or not significantly worse")
    if SPEEDUP in pivot.values:
        found.append(
            f"speedup: the time with {pivot.baseline} over this one's; geometric mean over rounds, with its "
            "95 % CI"
        )
    elif any(cell.ratio is not None for cell in cells):
        what = "above 1 is faster" if pivot.is_rate else "above 1 is more"
        found.append(
            f"{glyphs.times}: over the value with {pivot.baseline}, with its 95 % CI; geometric mean over "
            f"rounds, {NOT_OF_TIMES}; {what}"
        )
    if with_counts and any(cell.counts for cell in cells):
        found.append(
            f"{glyphs.blocks[1]}{glyphs.blocks[-1]}{glyphs.blocks[2]}: histogram of all samples, each on its "
            "own scale from the fastest to the 99th percentile"
        )
    if any(cell is None for line in pivot.lines for cell in line.cells):
        found.append(f"{glyphs.no_case}: not measured")
    return found


def footnotes(pivot: Pivot) -> list[str]:
    """Return the numbered footnotes, then what concerns the whole table."""
    return [*(f"[{number}] {text}" for number, text in enumerate(pivot.notes, 1)), *pivot.remarks]
