"""A model and its layers: the time of each alone, times its number of calls, and the sum."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from rich.console import Console
from rich.table import Table

from microbench.analysis.layers import LayerRow, LayersReport, LayerTime, ModelLayers
from microbench.records.record import DistinctLayer, Status
from microbench.tables import units
from microbench.tables.escaping import escape
from microbench.tables.fitting import print_fitting
from microbench.tables.labels import count, run_as
from microbench.tables.sweep import interval_note
from microbench.tables.warnings import show_failures, show_warning

FASTEST = "*"
UNKNOWN = "–"

DETAILS = ("input", "arguments")
"""The columns left out on a narrow terminal, the last first."""


def show_layers(report: LayersReport, out: Console) -> None:
    """Print a table for each model, what is not in it, and the problems of the cases.

    On a narrow terminal the table lacks the layers' arguments, and then their inputs too.
    """
    for model in report.models:
        out.print(f"[bold]{escape(title(model))}[/bold]")
        if model.phases:
            variants = [_table(model, DETAILS[:number]) for number in range(len(DETAILS), -1, -1)]
            print_fitting(out, *variants, less_wanted=("type", "count"))
        for note in notes(model):
            out.print(escape(note), style="dim", soft_wrap=True)
    if interval := interval_note(report.intervals):
        out.print(interval, style="dim", soft_wrap=True)
    show_failures(report.failures, out)
    for each in report.warnings:
        number = len(each.cases)
        such = "" if number == 1 else f"{number} of {each.total} cases, such as "
        show_warning(each, f"{such}{each.cases[0]}: ", out)


def title(model: ModelLayers) -> str:
    """Return a table's title, on one line."""
    case, is_one = model.cases[0], len(model.configurations) == 1
    name = f"{case.config.model.name} {run_as(case)}" if is_one else model.name
    return f"{name}, layer by layer"


def _table(model: ModelLayers, details: Container[str]) -> Table:
    """Return one row per layer, followed by their sum, the whole model, and the ratio of the two.

    With one configuration there is one column per phase; with several, one per configuration, and the fastest
    is marked.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("layer", "type", *(["input"] if "input" in details else [])):
        table.add_column(name, overflow="fold")
    for name in ("count", *_columns(model)):
        table.add_column(name, justify="right", no_wrap=True)
    is_one = len(model.configurations) == 1
    for row in model.rows:
        cells = _phase_cells(row.times[0]) if is_one else _marked_cells(row)
        table.add_row(*map(escape, _what(row.layer, details)), str(row.layer.count), *cells)
    table.add_section()
    blank = [""] * (3 if "input" in details else 2)
    end, last = ("", [""]) if is_one else (" ", [])  # the width of the fastest's mark
    ratio = model.totals[-1].ratio
    share = [UNKNOWN if ratio is None else units.share(ratio)] if is_one else []
    for name, cells in (
        ("sum of layers", [*(_time(each.layers) + end for each in model.totals), *share]),
        ("whole model", [*(_time(each.whole) + end for each in model.totals), *last]),
        ("sum / whole", [*(_ratio(each.ratio) + end for each in model.totals), *last]),
    ):
        table.add_row(name, *blank, *cells, style="bold")
    return table


def _what(layer: DistinctLayer, details: Container[str]) -> Iterator[str]:
    """Yield the cells that identify a layer."""
    yield layer.part
    yield f"{layer.type}({layer.arguments})" if "arguments" in details else layer.type
    if "input" in details:
        yield shape_text(layer)


def _columns(model: ModelLayers) -> list[str]:
    """Return the names of the columns with numbers."""
    if len(model.configurations) > 1:
        return [escape(each) for each in model.configurations]
    return [*model.phases, f"count × {_sum_name(model)}", "share"]


def _sum_name(model: ModelLayers) -> str:
    return model.phases[0] if len(model.phases) == 1 else f"({' + '.join(model.phases)})"


def _phase_cells(time: LayerTime) -> list[str]:
    share = UNKNOWN if time.share is None else units.share(time.share)
    return [*map(units.median, time.phases), _product(time), share]


def _marked_cells(row: LayerRow) -> list[str]:
    """Return one cell per configuration, the fastest with a mark; the others are padded to align with it."""
    return [
        f"[green]{_product(time)}{FASTEST}[/green]" if place == row.fastest else f"{_product(time)} "
        for place, time in enumerate(row.times)
    ]


def _product(time: LayerTime) -> str:
    """Return the total time of the model's calls of a layer, with the relative half-width of its interval."""
    if time.seconds is None:
        return UNKNOWN if time.status in (None, Status.OK) else time.status
    width = time.relative_half_width
    return units.time(time.seconds, time.half_width) + ("" if width is None else f" ±{units.share(width)}")


def _time(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else units.time(seconds)


def _ratio(ratio: float | None) -> str:
    return UNKNOWN if ratio is None else f"{ratio:.2f}"


def shape_text(layer: DistinctLayer) -> str:
    """Return the shapes of a layer's inputs, such as `8x64x56x56`."""
    shapes = re.findall(r"\(([^)]*)\)", layer.in_shape)
    return ", ".join("x".join(re.findall(r"\d+", shape)) or "scalar" for shape in shapes)


def notes(model: ModelLayers) -> Iterator[str]:
    """Yield how to read a table, and what is not in it."""
    what = "alone, in processes of its own; times: medians"
    if not model.phases:
        yield "nothing to compare: neither the model nor any of its layers was measured"
    elif len(model.configurations) > 1:
        yield (
            f"each layer {what}, count × {_sum_name(model)}; {FASTEST}: the shortest of the row, significant "
            "or not: see microbench compare DIR --by OPTION"
        )
    else:
        yield f"each layer {what}; share: of the whole model's {' and '.join(model.phases)}"
    for name, number in zip(model.configurations, model.missing, strict=True):
        if number:
            where = f" of {name}" if name else ""
            that = "layer that was" if number == 1 else "layers that were"
            yield f"the sum{where} lacks {number} {that} measured in other configurations"
    if model.failed and model.phases:
        yield f"the sum lacks {count(model.failed, 'layer')} that failed"
    for each in model.left_out:
        yield f"{each.type} ({count(each.calls, 'call')}): {each.reason}"
