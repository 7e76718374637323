"""A model beside its layers: what each takes alone, as often as it is called, and what that adds up to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.analysis.layers import Layerwise, Row, time_of
from microbench.records.cases import CaseResult
from microbench.records.record import DistinctLayer, WarningCode
from microbench.tables import phases, units
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, run_as
from microbench.tables.sweep import interval_note
from microbench.tables.warnings import show_failures

FASTEST = "*"
UNKNOWN = "–"

DETAILS = ("input", "arguments")
"""What is left out on a narrow terminal, the last first."""


def show_layerwise(found: Sequence[Layerwise], out: Console) -> None:
    """Print a table for each model, what is not in it, and what there is to say of the cases."""
    for model in found:
        out.print(f"[bold]{escape(title(model))}[/bold]")
        if model.phases:
            print_fitting(out, *layers_tables(model), less_wanted=("type", "count"))
        for note in notes(model):
            out.print(escape(note), style="dim", soft_wrap=True)
    cases = [case for model in found for case in model.cases]
    if interval := interval_note(cases):
        out.print(interval, style="dim", soft_wrap=True)
    left_out = {id(case) for model in found for row in left_out_of(model) for case in row.cases}
    show_failures([case for case in cases if id(case) not in left_out], out)
    for warning in warnings(cases):
        out.print(f"[yellow]warning[/yellow]: {escape(warning)}", soft_wrap=True)


def title(model: Layerwise) -> str:
    """What a table is of, on one line."""
    case = model.cases[0]
    name = model.name if len(model.ways) > 1 else f"{case.config.model.name} {run_as(case)}"
    return f"{name}, layer by layer"


def left_out_of(model: Layerwise) -> list[Row]:
    """The layers that are not to be measured in any way: a line below the table says why."""
    return [row for row in model.unmeasured if all(case and case.status == "skipped" for case in row.cases)]


def layers_tables(model: Layerwise) -> list[Table]:
    """A row a layer; below, their sum, the whole model, and how many times the second the first is.

    Run in one way, the layers have a column a phase; run in several, a column a way, the fastest marked. For
    narrow terminals, the same without what a layer is made with, and without its input too.
    """
    return [_table(model, DETAILS[:number]) for number in range(len(DETAILS), -1, -1)]


def _table(model: Layerwise, details: Container[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("layer", "type", *(["input"] if "input" in details else [])):
        table.add_column(name, overflow="fold")
    for name in ("count", *_columns(model)):
        table.add_column(name, justify="right", no_wrap=True)
    for row in model.rows:
        table.add_row(*map(escape, _what(row.layer, details)), str(row.count), *_cells(row, model))
    table.add_section()
    blank = [""] * (3 if "input" in details else 2)
    for name, cells in _ends(model):
        table.add_row(name, *blank, *cells, style="bold")
    return table


def _what(layer: DistinctLayer, details: Container[str]) -> Iterator[str]:
    """The cells that say which layer it is."""
    yield layer.part
    yield type_text(layer) if "arguments" in details else layer.type
    if "input" in details:
        yield shape_text(layer)


def _columns(model: Layerwise) -> list[str]:
    """The names of the columns with numbers."""
    if len(model.ways) > 1:
        return [escape(way) for way in model.ways]
    alone = list(model.phases)
    return [*alone, f"count × {_sum_name(model)}", "share"]


def _sum_name(model: Layerwise) -> str:
    return model.phases[0] if len(model.phases) == 1 else f"({' + '.join(model.phases)})"


def _cells(row: Row, model: Layerwise) -> list[str]:
    if len(model.ways) > 1:
        fastest = model.fastest(row)
        return [_marked(_product(row, way, model), way == fastest) for way, _ in enumerate(model.ways)]
    (case,) = row.cases
    assert case is not None, "a row's only way has measured it"
    time, whole = time_of(case, model.phases), model.whole(0)
    share = units.share(row.count * time / whole) if time is not None and whole else UNKNOWN
    return [*(phases.time(case.estimates[phase]) for phase in model.phases), _product(row, 0, model), share]


def _marked(text: str, is_fastest: bool) -> str:
    """A cell, the fastest with a mark; the others end where it does."""
    return f"[green]{text}{FASTEST}[/green]" if is_fastest else f"{text} "


def _product(row: Row, way: int, model: Layerwise) -> str:
    """How long the model's calls of a layer take together, with half the interval as a share."""
    case = row.cases[way]
    time = time_of(case, model.phases)
    if case is None or time is None:
        return UNKNOWN if case is None or case.status == "ok" else case.status
    widths = [case.estimates[phase].half_width for phase in model.phases]
    half = None if None in widths else sum(filter(None, widths))
    share = f" ±{units.share(half / time)}" if half is not None and time else ""
    return units.time(row.count * time, half and half * row.count) + share


def _ends(model: Layerwise) -> Iterator[tuple[str, list[str]]]:
    """The rows below: what they are called, and their cells."""
    ways = range(len(model.ways))
    if len(ways) > 1:
        sums, wholes = [model.sum(way) for way in ways], [model.whole(way) for way in ways]
        end = " "  # where the others have a mark
    else:
        columns = [(phase,) for phase in model.phases] + [model.phases]
        sums, wholes = [model.sum(0, *each) for each in columns], [model.whole(0, *each) for each in columns]
        end = ""
    ratios = [
        UNKNOWN if one is None or not other else f"{one / other:.2f}"
        for one, other in zip(sums, wholes, strict=True)
    ]
    share = [_share(sums[-1], wholes[-1])] if not end else []
    yield "sum of layers", [*(_time(each) + end for each in sums), *share]
    yield "whole model", [*(_time(each) + end for each in wholes), *([""] if share else [])]
    yield "sum / whole", [*(each + end for each in ratios), *([""] if share else [])]


def _time(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else units.time(seconds)


def _share(part: float | None, whole: float | None) -> str:
    return UNKNOWN if part is None or not whole else units.share(part / whole)


def type_text(layer: DistinctLayer) -> str:
    """A layer's type with what it was made with."""
    return f"{layer.type}({layer.arguments})"


def shape_text(layer: DistinctLayer) -> str:
    """The shapes of a layer's inputs, as `8x64x56x56`."""
    shapes = re.findall(r"\(([^)]*)\)", layer.in_shape)
    return ", ".join("x".join(re.findall(r"\d+", shape)) or "scalar" for shape in shapes)


def notes(model: Layerwise) -> Iterator[str]:
    """How to read a table, and what is not in it."""
    what = "alone, in processes of its own; times: medians"
    if not model.phases:
        yield "nothing to compare: neither the model nor any of its layers was measured"
    elif len(model.ways) > 1:
        yield (
            f"each layer {what}, count × {_sum_name(model)}; {FASTEST}: the shortest of the row, significant "
            "or not: see microbench compare DIR --by OPTION"
        )
    else:
        yield f"each layer {what}; share: of the whole model's {' and '.join(model.phases)}"
    for way, name in enumerate(model.ways):
        if number := model.missing(way):
            where = f" of {name}" if name else ""
            what = (
                "layer that was measured elsewhere" if number == 1 else "layers that were measured elsewhere"
            )
            yield f"the sum{where} lacks {number} {what}"
    left_out: Counter[tuple[str, str]] = Counter()
    for row in left_out_of(model):
        case = next(case for case in row.cases if case is not None)
        left_out[row.layer.type, case.first.outcome.error or ""] += row.count
    for (kind, reason), number in left_out.items():
        yield f"{kind} ({count(number, 'call')}): {reason}"


def warnings(cases: Sequence[CaseResult]) -> Iterator[str]:
    """For each kind of warning a line: on how many cases it is, and what it says of the first of them."""
    found: dict[WarningCode, list[tuple[CaseResult, str]]] = {}
    for case in cases:
        for code, messages in case.warnings.items():
            found.setdefault(code, []).append((case, messages[0]))
    for warning, told in found.items():
        case, message = told[0]
        name = case.config.model.part or case.config.model.name
        where = name if len(told) == 1 else f"{len(told)} of {len(cases)} cases, such as {name}"
        yield f"{where}: {message} [{warning}]"
