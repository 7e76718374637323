"""Each chart's panel on matplotlib's axes: units on both axes, intervals as error bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product
from typing import TYPE_CHECKING, Any

from microbench.analysis.charts import (
    AccuracyPanel,
    LatencyPanel,
    MemoryPanel,
    PhasesPanel,
    PublishedPanel,
    PublishedPoint,
    RooflinePanel,
    SpeedupPanel,
)
from microbench.analysis.verdict import Verdict
from microbench.tables import units
from microbench.tables.pictures.style import LINES, Looks, Mark, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

BAR = 0.30  # inches of height
MOST_NAMED = 8  # of a roofline's points
CERTAIN = (Verdict.FASTER, Verdict.SLOWER)
FRONTIER, BEATEN = "no other is faster and at least as accurate", "another one is"
WHOLE = "the whole model"
HERE = "here"

PLACES = (
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (7, 0, "left", "center"),
    (-7, 0, "right", "center"),
    (7, 9, "left", "bottom"),
    (7, -9, "left", "top"),
    (-7, 9, "right", "bottom"),
    (-7, -9, "right", "top"),
    (0, 22, "center", "bottom"),
    (0, -22, "center", "top"),
)
"""Where a name may be beside its point: the distances in points, and how it is aligned."""

CLEAR = 8  # points around a name without another point: it is seen whose name it is
ALONG: Mapping[str, Any] = {"rotation_mode": "anchor", "transform_rotates_text": True}
"""How a text is written along a line, whose angle is in the axes' units."""

Ends = tuple[float | None, float | None]


class Intervals(Enum):
    """Which intervals a chart draws: those of ratios are at 95 %, those of times as the rounds allow."""

    NONE = auto()
    OF_TIMES = auto()
    OF_RATIOS = auto()


@dataclass(frozen=True)
class Named:
    """A point in an axes' units, and its name."""

    x: float
    y: float
    name: str


def latency(axes: Axes, panel: LatencyPanel, looks: Looks) -> list[Named]:
    """Draw time against batch size, a line per configuration."""
    scale, unit = _time_unit([time.seconds for line in panel.lines for time in line.times])
    for line in panel.lines:
        axes.errorbar(
            line.batch_sizes,
            [time.seconds / scale for time in line.times],
            yerr=_errors([(time.seconds, (time.low, time.high)) for time in line.times], scale),
            **looks.line(line.configuration),
        )
    sizes = sorted({size for line in panel.lines for size in line.batch_sizes})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    _plain_numbers(axes.yaxis)
    axes.set_xlabel("batch size")
    axes.set_ylabel(f"{panel.phase}, {unit} per call")
    return []


def memory(axes: Axes, panel: MemoryPanel, looks: Looks) -> list[Named]:
    """Draw throughput against peak memory; each point is marked by its batch size."""
    largest = max(point.memory for line in panel.lines for point in line.points)
    scale, unit = (2**30, "GiB") if largest >= 2**30 else (2**20, "MiB")
    for line in panel.lines:
        rates = [(point.throughput, (point.low, point.high)) for point in line.points]
        xs = [point.memory / scale for point in line.points]
        axes.errorbar(xs, [rate for rate, _ in rates], _errors(rates), **looks.line(line.configuration))
        for x, point in zip(xs, line.points, strict=True):
            axes.annotate(
                str(point.batch_size),
                (x, point.throughput),
                (5, -9),
                textcoords="offset points",
                fontsize="x-small",
            )
    for axis in (axes.xaxis, axes.yaxis):
        _plain_numbers(axis)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.margins(x=0.08, y=0.08)
    axes.set_xlabel(f"peak memory, {unit}")
    axes.set_ylabel(f"{panel.item}/s (numbers: batch size)")
    return []


def speedup(axes: Axes, panel: SpeedupPanel, looks: Looks) -> list[Named]:
    """Draw how many times as fast as the baseline each configuration is, by work."""
    bars = [bar for group in panel.groups for bar in group.bars]
    most = 2 * max(1.0, *(bar.speedup for bar in bars))  # of an interval, so that the bars can be seen
    y, ticks = 0.0, dict[float, str]()
    for group in panel.groups:
        start = y
        for bar in group.bars:
            end = max(bar.speedup, min(bar.high or 0.0, most))
            errors = _errors([(bar.speedup, (bar.low, bar.high and end))])
            is_certain = bar.verdict in CERTAIN
            look = looks.bar(bar.configuration) if is_certain else looks.hollow(bar.configuration)
            axes.barh(y, bar.speedup, xerr=errors, ecolor=looks.style.ink, **look)
            told = "" if is_certain else f"  {bar.verdict}"
            cut = "" if (bar.high or 0.0) <= most else "▸ "
            _beside(axes, f"{cut}{bar.speedup:.2f}{told}", (end, y), 4, va="center", fontsize="small")
            y += 1
        ticks[(start + y - 1) / 2] = f"{group.work}\n(1: {group.baseline})"
        y += 0.6
    _rows(axes, ticks, y - 0.6)
    axes.axvline(1, color=looks.style.ink, linewidth=1.2, linestyle="--")
    axes.margins(x=0.12 if all(bar.verdict in CERTAIN for bar in bars) else 0.3)
    axes.set_xlim(left=0)
    is_cut = any((bar.high or 0.0) > most for bar in bars)
    on = "; ▸: the interval goes on" if is_cut else ""
    axes.set_xlabel(f"speedup: times as fast as the baseline (1){on}")
    return []


def phases(axes: Axes, panel: PhasesPanel, looks: Looks) -> list[Named]:
    """Draw the phases of each case's step, stacked, and the measured whole with its interval."""
    scale, unit = units.time_unit(max(bar.total.seconds for bar in panel.bars))
    for y, bar in enumerate(panel.bars):
        left = 0.0
        for phase in panel.phases:
            width = bar.parts.get(phase, 0.0) / scale
            axes.barh(y, width, height=0.7, left=left, **looks.bar(phase))
            left += width
        axes.errorbar(
            bar.total.seconds / scale,
            y,
            xerr=_errors([(bar.total.seconds, (bar.total.low, bar.total.high))], scale),
            fmt="|",
            markersize=14,
            capsize=3,
            color=looks.style.ink,
        )
        end = max(left, (bar.total.high or bar.total.seconds) / scale)
        _beside(axes, units.time(bar.total.seconds), (end, y), 6, va="center", fontsize="small")
    _rows(axes, {float(y): bar.name for y, bar in enumerate(panel.bars)}, len(panel.bars))
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{unit} per step; the upright line is the measured whole")
    return []


def accuracy(axes: Axes, panel: AccuracyPanel, looks: Looks) -> list[Named]:
    """Draw published accuracy against time, with the frontier of those that no other beats in both."""
    scale, unit = _time_unit([point.time.seconds for point in panel.points])
    frontier = [point for point in panel.points if point.is_on_frontier]
    axes.step(
        [point.time.seconds / scale for point in frontier],
        [point.top1 for point in frontier],
        where="post",
        color=looks.style.faint,
        linewidth=2,
        linestyle="--",
        zorder=1,
    )
    for point in panel.points:
        axes.errorbar(
            point.time.seconds / scale,
            point.top1,
            xerr=_errors([(point.time.seconds, (point.time.low, point.time.high))], scale),
            **looks.line(FRONTIER if point.is_on_frontier else BEATEN) | {"linestyle": "none"},
        )
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    _plain_numbers(axes.xaxis)
    axes.set_xlabel(f"inference of the fastest configuration, {unit} per call")
    axes.set_ylabel("published top-1 accuracy on ImageNet, %")
    return [Named(p.time.seconds / scale, p.top1, f"{p.model}\n{p.weights}") for p in panel.points]


def roofline(axes: Axes, panel: RooflinePanel, looks: Looks) -> list[Named]:
    """Draw the speed of calls against their intensity, under the machine's measured peaks."""
    top = max([*panel.peaks.values(), *(point.rate for point in panel.points)])
    scale, prefix = next(each for each in units.PREFIXES if top >= each[0])
    _roofs(axes, panel, scale, looks.style)
    for type_ in dict.fromkeys(point.type for point in panel.points):
        members = [point for point in panel.points if point.type == type_]
        marks = looks.points(type_ or WHOLE)
        axes.scatter(
            [point.intensity for point in members],
            [point.rate / scale for point in members],
            [24 + 300 * (point.share or 0) if type_ else 90 for point in members],
            **marks,
            alpha=0.85,
            linewidths=0.6,
            edgecolors=looks.style.paper,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_numbers(axis)
    axes.set_xlabel("arithmetic intensity, FLOP per byte")
    axes.set_ylabel(f"{prefix}FLOP/s (size: share of the time)")
    parts = sorted((point for point in panel.points if point.type), key=lambda point: -(point.share or 0))
    return [Named(p.intensity, p.rate / scale, p.name) for p in parts[:MOST_NAMED]]


def _roofs(axes: Axes, panel: RooflinePanel, scale: float, style: Style) -> None:
    """Draw the peaks: arithmetic by precision, and the bandwidths of the memory and of the fastest cache."""
    peaks = panel.peaks.values()
    rates = {"memory": panel.bandwidths[-1][1] if panel.bandwidths else 0.0}
    rates["caches, up to"] = max((rate for _, rate in panel.bandwidths), default=0.0)
    ridges = [peak / rate for peak in peaks for rate in rates.values() if rate]
    intensities = [point.intensity for point in panel.points]
    low = min([*intensities, 0.1, *(ridge / 5 for ridge in ridges)]) / 2  # a decade of each slope is seen
    high = max([*intensities, *ridges]) * 4
    roof: dict[str, Any] = {"color": style.ink, "linewidth": 1.1, "zorder": 1}
    for place, (name, peak) in enumerate(panel.peaks.items()):
        start = max([low, peak / max(rates.values())]) if any(rates.values()) else low
        axes.plot([start, high], [peak / scale] * 2, linestyle=LINES[place % 2], **roof)
        _beside(axes, name, (high, peak / scale), -2, 3, ha="right", fontsize="small")
    for place, (name, rate) in enumerate(rates.items()):
        if rate and peaks and (place == 0 or rate > rates["memory"]):
            ends = [low, max(peaks) / rate]
            axes.plot(ends, [end * rate / scale for end in ends], linestyle=LINES[place], **roof)
            middle = math.sqrt(ends[0] * ends[1])
            told, at = f"{name} {units.scaled(rate, 'B/s')}", (middle, 1.12 * middle * rate / scale)
            slope = math.degrees(math.atan2(rate / scale, 1))
            axes.text(*at, told, ha="center", va="bottom", fontsize="small", **ALONG, rotation=slope)
    axes.set_xlim(low, high)


def published(axes: Axes, panel: PublishedPanel, looks: Looks) -> list[Named]:
    """Draw each figure here beside the published ones, joined by a line, on a logarithmic axis."""
    scale, unit = _unit(panel.unit, [each for p in panel.points for each in (p.measured, p.published)])
    rows = list(dict.fromkeys((p.model, p.batch_size, p.configuration, p.measured) for p in panel.points))
    for point in panel.points:
        y = rows.index((point.model, point.batch_size, point.configuration, point.measured))
        here, there = point.measured / scale, point.published / scale
        axes.plot([here, there], [y, y], color=looks.style.faint, linewidth=1, zorder=1)
        for x, name in ((there, origin_of(point)), (here, HERE)):
            axes.plot(x, y, **looks.line(name) | {"linestyle": "none"})
    names = {float(y): f"{row[0]}, batch {row[1]}, {row[2]}" for y, row in enumerate(rows)}
    _rows(axes, names, len(rows))
    axes.set_xscale("log")
    axes.margins(x=0.08)
    _plain_numbers(axes.xaxis)
    axes.set_xlabel(f"{unit}, on other hardware and versions")
    return []


def origin_of(point: PublishedPoint) -> str:
    """Return what a published figure was measured on."""
    return f"{point.device}, {point.software or 'software not stated'}"


def _unit(unit: str, values: Sequence[float]) -> tuple[float, str]:
    if unit == "s":
        return _time_unit(values)
    return (2.0**20, "MiB") if unit == "B" else (1.0, unit)


def _time_unit(seconds: Sequence[float]) -> tuple[float, str]:
    """Return the unit of the middle of a logarithmic axis: its seconds and name."""
    return units.time_unit(math.sqrt(min(seconds) * max(seconds)))


def _rows(axes: Axes, names: Mapping[float, str], end: float) -> None:
    """Name the rows of a chart, the first at the top."""
    axes.set_yticks(list(names), list(names.values()))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(end - 0.35, -0.65)


def _beside(axes: Axes, text: str, point: tuple[float, float], x: float, y: float = 0, **how: Any) -> None:
    """Write a text at a distance in points from a point."""
    axes.annotate(text, point, (x, y), textcoords="offset points", **how)


def _errors(values: Iterable[tuple[float, Ends]], scale: float = 1.0) -> list[list[float]]:
    """Return how far the ends of intervals are from values, below and above; NaN is not drawn."""
    below, above = [], []
    for value, (low, high) in values:
        below.append(math.nan if low is None else max(0.0, value - low) / scale)
        above.append(math.nan if high is None else max(0.0, high - value) / scale)
    return [below, above]


def _plain_numbers(axis: Axis) -> None:
    """Write numbers as such, not as powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        is_narrow = low > 0 and math.log10(high / low) < 2.2
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_narrow else (1,)))
        axis.set_minor_formatter(NullFormatter())


def name_points(axes: Axes, points: Sequence[Named]) -> None:
    """Write a name beside each point, at the first place around it that is free, if there is one."""
    from matplotlib.collections import PathCollection

    drawn = [each.get_offsets() for each in axes.collections if isinstance(each, PathCollection)]
    places = [(point.x, point.y) for point in points], *drawn
    marks = [at for each in places for at in axes.transData.transform(each)]
    lines = [
        line.get_path().transformed(line.get_transform())
        for line in axes.lines
        if line.get_linestyle() != "None"
    ]
    boxes: list[Bbox] = [text.get_window_extent() for text in axes.texts]
    clear = CLEAR * axes.figure.dpi / 72

    def is_free(box: Bbox, own: Any, distance: float) -> bool:
        others = [at for at in marks if math.dist(at, own) > 1]
        return (
            axes.bbox.contains(box.x0, box.y0)
            and axes.bbox.contains(box.x1, box.y1)
            and not any(box.overlaps(other) for other in boxes)
            and not any(box.padded(distance).contains(*at) for at in others)
            and not any(line.intersects_bbox(box, filled=False) for line in lines)
        )

    for point, own in zip(points, marks, strict=False):
        for distance, place in product((clear, 0), PLACES):
            text = _name_at(axes, point, place)
            box = text.get_window_extent()
            if is_free(box, own, distance):
                boxes.append(box)
                break
            text.remove()


def _name_at(axes: Axes, point: Named, place: tuple[float, float, str, str]) -> Annotation:
    dx, dy, across, up = place
    text = axes.annotate(
        point.name,
        (point.x, point.y),
        (dx, dy),
        textcoords="offset points",
        ha=across,
        va=up,
        fontsize="x-small",
    )
    text.set_in_layout(False)
    return text


@dataclass(frozen=True)
class Drawing:
    """How a chart is drawn.

    Attributes:
        draw: draws a panel, and returns the points to name when the picture is laid out.
        height: a panel's height in inches.
        series: the names of a panel's series, for the legend.
        mark: what stands for a series in the legend.
        in_rows: whether a picture has one column, because rows have names.
        intervals: which intervals it draws.
    """

    draw: Callable[[Axes, Any, Looks], list[Named]]
    height: Callable[[Any], float]
    series: Callable[[Any], Iterable[str]]
    mark: Mark = Mark.LINE
    in_rows: bool = False
    intervals: Intervals = Intervals.OF_TIMES


def _high(inches: float) -> Callable[[Any], float]:
    return lambda panel: inches


def _rows_high(rows: float) -> float:
    return 0.9 + BAR * rows


def _configurations(panel: LatencyPanel | MemoryPanel) -> list[str]:
    return [line.configuration for line in panel.lines]


DRAWINGS: Mapping[str, Drawing] = {
    "speedup": Drawing(
        speedup,
        lambda panel: _rows_high(sum(len(group.bars) + 0.6 for group in panel.groups)),
        lambda panel: [bar.configuration for group in panel.groups for bar in group.bars],
        Mark.BAR,
        in_rows=True,
        intervals=Intervals.OF_RATIOS,
    ),
    "latency": Drawing(latency, _high(3.2), _configurations),
    "phases": Drawing(
        phases, lambda panel: _rows_high(len(panel.bars)), lambda panel: panel.phases, Mark.BAR, in_rows=True
    ),
    "memory": Drawing(memory, _high(3.2), _configurations),
    "accuracy": Drawing(accuracy, _high(4.4), lambda panel: (FRONTIER, BEATEN), Mark.POINT),
    "roofline": Drawing(
        roofline,
        _high(4.6),
        lambda panel: [point.type or WHOLE for point in panel.points],
        Mark.POINT,
        intervals=Intervals.NONE,
    ),
    "published": Drawing(
        published,
        lambda panel: _rows_high(len({point.key for point in panel.points})),
        lambda panel: (HERE, *map(origin_of, panel.points)),
        Mark.POINT,
        in_rows=True,
        intervals=Intervals.NONE,
    ),
}
"""How each chart is drawn, by its name."""
