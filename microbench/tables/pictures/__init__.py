"""A chart as a PNG or SVG file, drawn by matplotlib without a browser or a display."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from microbench.analysis.charts import Charts
from microbench.analysis.latest import LATEST
from microbench.distribution import install_line
from microbench.errors import StoppedError, UserError, unknown
from microbench.records.cases import CaseResult
from microbench.stats.median import CONFIDENCE
from microbench.tables.escaping import visible
from microbench.tables.labels import count, machines
from microbench.tables.pictures.drawing import DRAWINGS, Intervals, name_points
from microbench.tables.pictures.style import DARK, LIGHT, Looks, Style
from microbench.tables.units import level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARTS = {
    "speedup": "two configurations of the same workload",
    "latency": "one case at two batch sizes",
    "phases": "a case of mode=train",
    "memory": "two cases of one model that differ in batch size or configuration",
    "accuracy": "inference of two classifiers of torchvision",
    "roofline": "a case of mode=profile",
    "published": "a case that was published: microbench list published",
}
"""The charts that can be drawn, the most telling first, and what each needs."""

MOST_PANELS = 12  # in one picture
WIDTH, COLUMN = 7.4, 5.6  # inches: of a picture of one column, and of one of two
DPI = 160  # of a PNG


def picture(
    charts: Charts, cases: Sequence[CaseResult], form: str, chart: str | None, is_dark: bool
) -> bytes:
    """Return the drawing of a chart as a PNG or SVG file.

    Equal charts give equal files: nothing in them depends on when they were drawn.

    Args:
        charts: what to draw.
        cases: the cases behind it, whose machine is named below the picture.
        form: png or svg.
        chart: one of `CHARTS`; by default the first that has data.
        is_dark: whether it is for a dark background.

    Raises:
        UserError: there is no such chart, it has no data or too many panels.
        StoppedError: matplotlib is not installed.
    """
    name = _chosen(charts, chart)
    panels = getattr(charts, name)
    if len(panels) > MOST_PANELS:
        raise UserError(
            f"--chart {name} has {len(panels)} panels, at most {MOST_PANELS} fit: choose cases by --where."
        )
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise StoppedError(f"A picture needs matplotlib: {install_line('plot')}") from error
    style = DARK if is_dark else LIGHT
    metadata: dict[str, Any] = {"Date": None, "Creator": "microbench"}
    if form == "png":
        metadata = {"Software": "microbench"}
    with rc_context(style.settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as of characters that the font lacks
        figure = _figure(name, _visible(panels), cases, style, charts.repeated)
        file = BytesIO()
        figure.savefig(file, format=form, dpi=DPI, metadata=metadata)
    return file.getvalue()


def _chosen(charts: Charts, chart: str | None) -> str:
    """Return the chart to draw.

    Raises:
        UserError: it is unknown, or has no data.
    """
    filled = [name for name in CHARTS if getattr(charts, name)]
    if chart is None and not filled:
        raise UserError(
            f"Nothing to draw: {'; '.join(f'{name} needs {what}' for name, what in CHARTS.items())}."
        )
    if chart is not None and chart not in CHARTS:
        raise unknown("chart", chart, CHARTS)
    if chart is not None and chart not in filled:
        other = f" These have data: {', '.join(filled)}." if filled else ""
        raise UserError(f"--chart {chart} has no data in these cases: it needs {CHARTS[chart]}.{other}")
    return chart or filled[0]


def _visible(drawn: Any) -> Any:
    """Return panels, or a part of them, whose texts have no control characters."""
    if type(drawn) is str:
        return visible(drawn)
    if isinstance(drawn, Mapping):
        return {_visible(key): _visible(value) for key, value in drawn.items()}
    if isinstance(drawn, (list, tuple)):
        return [_visible(each) for each in drawn]
    if is_dataclass(drawn) and not isinstance(drawn, type):
        return replace(drawn, **{each.name: _visible(getattr(drawn, each.name)) for each in fields(drawn)})
    return drawn


def _figure(
    name: str, panels: Sequence[Any], cases: Sequence[CaseResult], style: Style, repeated: int = 0
) -> Figure:
    """Return the panels of a chart below their legend, and above what they were measured on."""
    from matplotlib.figure import Figure

    drawing = DRAWINGS[name]
    looks = Looks(style, list(dict.fromkeys(each for panel in panels for each in drawing.series(panel))))
    columns = 1 if drawing.in_rows or len(panels) == 1 else 2
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(map(drawing.height, row)) for row in rows]
    width = WIDTH if columns == 1 else 2 * COLUMN
    lines = _caption(cases, round(width * 17), drawing.intervals, repeated)
    legend = [looks.legend(each, drawing.mark) for each in looks.names]
    per_line = max(1, int(width * 12 / (6 + max(map(len, looks.names)))))
    figure = Figure((width, sum(heights) + 0.16 * len(lines) + 0.22 * math.ceil(len(legend) / per_line)))
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    named = []
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        axes.set_title(textwrap.fill(panel.name, round(width / columns * 11)), loc="left")
        named.append((axes, drawing.draw(axes, panel, looks)))
    figure.legend(handles=legend, loc="outside upper left", ncols=per_line)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize="x-small", color=style.faint)
    figure.draw_without_rendering()
    for axes, points in named:
        name_points(axes, points)
    return figure


def _caption(cases: Sequence[CaseResult], width: int, intervals: Intervals, repeated: int) -> list[str]:
    """Return the machines, what error bars are, and what is left out, in lines of at most some characters."""
    lines = machines(cases)
    wholes = [case.whole for case in cases if case.whole is not None]
    if intervals is not Intervals.NONE and (rounds := [each.rounds for each in wholes]):
        least, most = min(rounds), max(rounds)
        over = f"{most} rounds" if least == most else f"{least} to {most} rounds"
        told = f"over {over} (fresh processes)" if most > 1 else "within one process"
        known = {CONFIDENCE} if intervals is Intervals.OF_RATIOS else {each.confidence for each in wholes}
        lines.append(f"error bars: {' and '.join(map(level, sorted(known)))} CI {told}")
    if repeated:
        lines.append(f"{count(repeated, 'measurement')} left out: {LATEST}")
    return [part for line in lines for part in textwrap.wrap(line, width)]
