"""Cases beside published figures: their tables in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from microbench.analysis.beside import Known, Row, Section
from microbench.analysis.published_tables import Table as Published
from microbench.tables import units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.escaping import escape, markdown_row
from microbench.tables.escaping import markdown as plain
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import machines
from microbench.tables.published import MEANINGS, ratio_name, settings_of, written

CARRIED = "ratio of ratios"
HERE, THERE = "{} here", "{} published"
"""The names of the columns of a table's ratio."""

LESS_WANTED = ("here/published", "run as", *(THERE.format(ratio) for ratio in MEANINGS))


@dataclass(frozen=True)
class Grid:
    """A table: the names of its columns, those of them that are no numbers, and its rows."""

    names: Sequence[str]
    texts: Container[str]
    rows: Sequence[Sequence[str]]


def show_beside(sections: Sequence[Section], out: Console) -> None:
    """Print each published table beside one's own figures."""
    for place, section in enumerate(sections):
        if place:
            out.print()
        out.print(f"[bold]{escape(title(section.table))}[/bold]")
        for line in header(section.rows):
            out.print(escape(line), soft_wrap=True)
        for origin, rows in by_origin(section.rows):
            out.print(escape(f"published: {origin}"), soft_wrap=True)
            variants = (_table(grid(section, rows, each)) for each in (True, False))
            print_fitting(out, *variants, less_wanted=LESS_WANTED)
        for text in notes(section):
            out.print(escape(text), style="dim", soft_wrap=True)


def to_markdown(sections: Sequence[Section]) -> str:
    """Return each published table beside one's own figures, in GitHub's Markdown."""
    return "\n".join(line for section in sections for line in _markdown(section))


def _markdown(section: Section) -> Iterator[str]:
    yield f"**{plain(title(section.table))}**\n"
    yield from (f"{plain(line)}\n" for line in header(section.rows))
    for origin, rows in by_origin(section.rows):
        found = grid(section, rows)
        yield f"published: {plain(origin)}\n"
        yield markdown_row(found.names)
        yield markdown_row(["---" if name in found.texts else "---:" for name in found.names])
        yield from (markdown_row(map(plain, row)) for row in found.rows)
        yield ""
    yield from (f"- {plain(text)}" for text in notes(section))
    yield ""


def title(table: Published) -> str:
    """Return what a table is called: by whom it was published, and its own name if that tells more."""
    own = "" if table.source.replace("-", "_") == table.name else f" ({table.name})"
    return f"published results: {table.source}{own}"


def header(rows: Sequence[Row]) -> list[str]:
    """Return the machines and the software of our figures, a line each."""
    return [f"here: {each}" for each in machines([row.case for row in rows])]


def by_origin(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the device and the software of published figures, with the rows of these."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        origin = f"{row.figure.device}, {row.figure.software or 'software not stated'}"
        found.setdefault(origin, []).append(row)
    yield from found.items()


def grid(section: Section, rows: Sequence[Row], with_intervals: bool = True) -> Grid:
    """Return the texts of some rows of a section.

    Args:
        section: the section.
        rows: those of one origin.
        with_intervals: whether ratios have their intervals beside them.
    """
    ratio = ratio_name(section.table)
    columns: dict[str, Callable[[Row], str]] = {"model": lambda row: row.case.name}
    for name, values in settings_of(row.case for row in section.rows).items():
        columns[name] = lambda row, values=values: values[id(row.case)]  # type: ignore[misc]
    if len(section.table.variants) > 1:
        columns["run as"] = lambda row: row.figure.variant
    columns["phase"] = lambda row: row.quantity
    texts = {*columns} - {"batch_size"}
    columns |= {
        "here": lambda row: _here(row, with_intervals),
        "published": lambda row: written(row.figure.value, row.quantity),
        "here/published": lambda row: _ratio(row.ratio, False),
    }
    if any(row.published_ratio is not None for row in rows):
        columns |= {
            HERE.format(ratio): lambda row: _ratio(row.measured_ratio, with_intervals),
            THERE.format(ratio): lambda row: _ratio(_point(row.published_ratio), False),
            CARRIED: lambda row: _ratio(row.ratio_of_ratios, with_intervals),
        }
    return Grid(list(columns), texts, [[text(row) for text in columns.values()] for row in rows])


def _here(row: Row, with_intervals: bool) -> str:
    """Return our figure; without one, how the case ended."""
    found = row.measured
    if found is None:
        return row.case.standing
    if found.low is None or found.high is None:
        return written(found.value, row.quantity)
    half_width = (found.high - found.low) / 2
    share = half_width / found.value
    text = units.time(found.value, half_width) if row.unit == "s" else units.rate(found.value, share)
    return f"{text} ±{units.share(share)}" if with_intervals else text


def _ratio(found: Known | None, with_interval: bool) -> str:
    if found is None:
        return "–"
    numbers = found.value, found.low, found.high
    has_interval = with_interval and found.low is not None and found.high is not None
    return ratio_text(*numbers) + (f" ({interval_text(*numbers)})" if has_interval else "")


def _point(value: float | None) -> Known | None:
    return None if value is None else Known(value)


def _table(found: Grid) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in found.names:
        if name in found.texts:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(*map(escape, row))
    return table


def notes(section: Section) -> list[str]:
    """Return how to read a section."""
    table = section.table
    found = ["here/published compares other hardware and versions: it does not rank machines"]
    if levels := {row.confidence for row in section.rows} - {None}:
        known = " and ".join(units.level(each) for each in sorted(filter(None, levels)))
        found.append(f"±: half-width of the {known} CI over rounds, relative to the figure")
    if table.baseline is not None and any(row.published_ratio is not None for row in section.rows):
        ratio = ratio_name(table)
        found.append(f"{ratio}: {MEANINGS[ratio].format(table.baseline[1])}, on the same machine")
        found.append(
            f"{CARRIED}: the {ratio} here over the published one; 1 if it carries over. Its 95 % CI is that "
            f"of the {ratio} here, because none was published"
        )
    return [*found, *table.notes, *section.remarks]
