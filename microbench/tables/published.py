"""A run's results next to those that others have published for the same work on their machines."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import product
from string import ascii_uppercase

from rich.console import Console
from rich.table import Table

from microbench.analysis import published, published_files, published_tables
from microbench.analysis.published import Cell, Row
from microbench.errors import UserError
from microbench.records.cases import CaseResult
from microbench.records.naming import varying
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import fits, print_fitting, print_table
from microbench.tables.labels import count, relative

Origin = tuple[str, str]

EXTRAS = (("interval", "name"), ("interval",), ())
"""The additional columns, the fullest variant first."""

RATIOS = {"variant": "speedup"}
"""The name of a ratio to a baseline, by the kind of baseline."""

MEANINGS = {"speedup": "how many times faster, or smaller, than {}", "ratio": "how many times what {} takes"}


def show_reference(cases: Sequence[CaseResult], out: Console) -> None:
    """Print the measured cases next to the published table that their preset names; nothing without one."""
    named = [case.config.experiment.reference for case in cases]
    for name in dict.fromkeys(filter(None, named)):
        try:
            table = published_files.load(name)
        except UserError as error:  # the records are from another version
            out.print(escape(str(error)), style="dim")
            continue
        own = [case for case, reference_name in zip(cases, named, strict=True) if reference_name == name]
        _show(own, table, out)


def show_tables(tables: Sequence[published_tables.Table], out: Console) -> None:
    """Print what published tables have: who measured what on what, and their files."""
    for place, table in enumerate(tables):
        if place:
            out.print()
        origins = dict.fromkeys(map(machine, (each.origin for each in table.figures)))
        models = table.models()
        lacking = {each.workload for each in table.figures if table.model(each.workload) is None}
        others = dict.fromkeys(
            each.quantity for each in table.figures if each.quantity not in table.quantities
        )
        lines = {
            "measured on": "; ".join(origins),
            "models": ", ".join(models) + (f" ({len(lacking)} more are none here)" if lacking else ""),
            "batch sizes": ", ".join(map(str, sorted({each.batch_size for each in table.figures}))),
            "quantities": ", ".join(f"{there} = {here}" for there, here in table.quantities.items())
            + (f" (not compared: {', '.join(others)})" if others else ""),
            "run as": "; ".join(table.variants),
            "ratios to": "none" if table.baseline is None else " ".join(table.baseline),
            "file": relative(table.path),
        }
        figures = count(len(table.figures), "figure")
        out.print(f"[bold]{escape(table.name)}[/bold]: {escape(table.source)}, {figures}")
        grid = Table.grid(padding=(0, 2))
        for name, text in lines.items():
            grid.add_row(f"  {name}", escape(text))
        print_table(out, grid)


def _show(cases: Sequence[CaseResult], table: published_tables.Table, out: Console) -> None:
    rows = published.rows(cases, table)
    origins = list(dict.fromkeys(origin for row in rows for origin in row.published))
    out.print(f"\n[bold]published results: {escape(table.figures[0].source)}[/bold]")
    if not origins:
        out.print(escape(f"none for these cases: {contents(table)}"), style="dim", soft_wrap=True)
        out.print()
        return
    letters = dict(zip(origins, ascii_uppercase, strict=False)) if len(origins) > 1 else {origins[0]: ""}
    for origin, letter in letters.items():
        out.print(escape(f"{letter or 'published'}: {machine(origin)}"), soft_wrap=True)
    for found in _that_fit(rows, table, letters, out):
        print_fitting(out, found)
    for text in notes(table, rows):
        out.print(escape(text), style="dim", soft_wrap=True)
    out.print()


def machine(origin: Origin) -> str:
    """Return the device and software that figures were measured with."""
    device, software = origin
    return f"{device}, {software or 'software not stated'}"


def contents(table: published_tables.Table) -> str:
    """Return the models and batch sizes of a table."""
    batches = sorted({each.batch_size for each in table.figures})
    return f"the table has {', '.join(table.models())} at batch {', '.join(map(str, batches))}"


def _that_fit(
    rows: Sequence[Row], table: published_tables.Table, letters: Mapping[Origin, str], out: Console
) -> list[Table]:
    """Return the table; on a narrow terminal several, each with some of the published figures, or reduced."""
    found: list[Table] = []
    for extras, most in product(EXTRAS, range(len(letters), 0, -1)):
        parts = [list(letters.items())[start : start + most] for start in range(0, len(letters), most)]
        found = [reference_table(rows, table, dict(part), extras) for part in parts]
        if all(fits(each, out) for each in found):
            break
    return found


def reference_table(
    rows: Sequence[Row], table: published_tables.Table, letters: Mapping[Origin, str], extras: Container[str]
) -> Table:
    """Return one row per case and quantity: the measured figure and each published one, with ratios."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    settings = settings_of(row.case for row in rows)
    named = "name" in extras and (len(table.variants) > 1 or any(row.variant is None for row in rows))
    for header in ("model", *settings, *(["published as"] if named else []), "phase"):
        found.add_column(header, overflow="fold")
    for header in ("here", *(letter or "published" for letter in letters.values())):
        found.add_column(header, justify="right", no_wrap=True)
        found.add_column(ratio_name(table), justify="right", no_wrap=True)
    for row in rows:
        cells = [_cells(row.published.get(origin), row.quantity) for origin in letters]
        found.add_row(
            escape(row.case.config.model.name),
            *(escape(values[id(row.case)]) for values in settings.values()),
            *([escape(row.variant or "–")] if named else []),
            row.quantity,
            *_measured(row, extras),
            *(text for pair in cells for text in pair),
        )
    return found


def ratio_name(table: published_tables.Table) -> str:
    """Return the name of a table's ratios to its baseline."""
    return RATIOS.get((table.baseline or ("",))[0], "ratio")


def settings_of(given: Iterable[CaseResult]) -> dict[str, dict[int, str]]:
    """Return the batch and the settings that distinguish cases, by name and by `id` of the case."""
    cases = list({id(case): case for case in given}.values())
    found = {"batch_size": [str(case.config.batch_size) for case in cases], **varying(cases)}
    return {
        name: {id(case): value for case, value in zip(cases, values, strict=True)}
        for name, values in found.items()
    }


def _measured(row: Row, extras: Container[str]) -> tuple[str, str]:
    """Return the measured figure, with its interval, and its ratio; without one, how the case ended."""
    if row.measured is None:
        return row.case.status, ""
    text, ratio = _cells(row.measured, row.quantity)
    estimate = row.case.estimates.get(row.quantity)
    if estimate is None:
        return text, ratio
    return (units.median_and_interval if "interval" in extras else units.median)(estimate), ratio


def _cells(cell: Cell | None, quantity: str) -> tuple[str, str]:
    """Return a figure and its ratio, formatted."""
    if cell is None:
        return "–", ""
    return written(cell.value, quantity), "" if cell.ratio is None else _ratio(cell.ratio)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= value < 100 else f"{value:.3g}"


def written(value: float, quantity: str) -> str:
    """Format a value in the unit of its quantity; the column of phases gives the unit of a rate."""
    what = quantity.partition(" ")[2]
    if what.endswith("memory"):
        return units.memory(value)
    return units.rate(value) if what else units.time(value)


def meaning(table: published_tables.Table) -> str:
    """Return what the ratios of a table are, as another sentence; nothing if it has none."""
    if table.baseline is None:
        return ""
    ratio = ratio_name(table)
    return f". {ratio}: {MEANINGS[ratio].format(table.baseline[1])} on the same machine"


def notes(table: published_tables.Table, rows: Sequence[Row]) -> list[str]:
    """Return how to read the table, and which batch sizes were published for models that lack figures."""
    found = [f"other machines: compare ratios, not times{meaning(table)}", *table.notes]
    there = {row.case.config.model.name for row in rows if row.published}
    for model in dict.fromkeys(row.case.config.model.name for row in rows):
        batches = sorted({each.batch_size for each in table.figures if table.model(each.workload) == model})
        if batches and model not in there:
            found.append(f"{model} was published at batch {', '.join(map(str, batches))}")
    return found
