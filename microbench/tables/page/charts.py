"""The charts of a page: what each is called, the units of its axes, and its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from microbench.analysis.charts import (
    AccuracyPanel,
    LatencyPanel,
    LayersPanel,
    MemoryPanel,
    PhasesPanel,
    PublishedPanel,
    RooflinePanel,
    SpeedupPanel,
    Time,
)
from microbench.tables import units
from microbench.tables.compare import interval_text, ratio_text
from microbench.tables.page.words import interval_of, median_of

BINARY = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))

Axis = tuple[float, str]
"""What values are divided by, and the unit that this gives."""


@dataclass(frozen=True)
class Table:
    """A chart's numbers.

    Attributes:
        caption: what they are.
        columns: the headings, and whether a column has numbers.
        rows: the cells.
    """

    caption: str
    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A chart of a page.

    Attributes:
        name: that of its panels in `analysis.charts.Charts`.
        title: its heading.
        note: how to read it.
        missing: what would fill it.
        axes: the units of a panel's axes, by axis.
        table: the numbers of its panels.
        is_first: whether it stands below the answers.
    """

    name: str
    title: str
    note: str
    missing: str
    axes: Callable[[Any], dict[str, Axis]]
    table: Callable[[Any], Table]
    is_first: bool = False


def _middle(values: Iterable[float]) -> float:
    """Return the geometric mean of the values above 0; 1 if there are none."""
    logs = [math.log(each) for each in values if each > 0]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0


def _times(values: Iterable[float]) -> Axis:
    return units.time_unit(_middle(values))


def _bytes(values: Iterable[float]) -> Axis:
    middle = _middle(values)
    return next((each for each in BINARY if middle >= each[0]), BINARY[-1])


def _decimal(values: Iterable[float], unit: str) -> Axis:
    middle = _middle(values)
    factor, prefix = next((each for each in units.PREFIXES if middle >= each[0]), units.PREFIXES[-1])
    return factor, f"{prefix}{unit}"


def _time(time: Time) -> tuple[str, str]:
    """Return a time and its interval."""
    return median_of(time), interval_of(time)


def _latency_table(panels: Sequence[LatencyPanel]) -> Table:
    columns = (
        *(("work", False), ("configuration", False), ("batch size", True)),
        *(("median", True), ("interval", True), ("rounds", True)),
    )
    rows = [
        (panel.name, line.configuration, str(size), *_time(time), str(time.rounds))
        for panel in panels
        for line in panel.lines
        for size, time in zip(line.batch_sizes, line.times, strict=True)
    ]
    return Table("Latency by batch size", columns, rows)


def _speedup_table(panels: Sequence[SpeedupPanel]) -> Table:
    columns = (
        *(("work", False), ("configuration", False), ("baseline", False)),
        *(("speedup", True), ("95 % CI", True), ("verdict", False)),
    )
    rows = [
        (
            group.work,
            bar.configuration,
            group.baseline,
            ratio_text(bar.speedup, bar.low, bar.high),
            interval_text(bar.speedup, bar.low, bar.high),
            f"{bar.verdict}: {bar.reason}" if bar.reason else str(bar.verdict),
        )
        for panel in panels
        for group in panel.groups
        for bar in group.bars
    ]
    return Table("Speedup over the baseline", columns, rows)


def _phases_table(panels: Sequence[PhasesPanel]) -> Table:
    phases = list(dict.fromkeys(phase for panel in panels for phase in panel.phases))
    columns = (("case", False), ("batch", False), *((phase, True) for phase in phases), ("whole step", True))
    rows = [
        (
            bar.name,
            panel.name.removeprefix("batch "),
            *(units.time(bar.parts[phase]) if phase in bar.parts else "" for phase in phases),
            _time(bar.total)[0],
        )
        for panel in panels
        for bar in panel.bars
    ]
    return Table("Phases of a step", columns, rows)


def _memory_table(panels: Sequence[MemoryPanel]) -> Table:
    columns = (
        *(("work", False), ("configuration", False), ("batch size", True)),
        *(("per second", True), ("interval", True), ("peak memory", True)),
    )
    rows = [
        (
            panel.name,
            line.configuration,
            str(point.batch_size),
            f"{_rate(point.throughput, point.low, point.high)} {panel.item}",
            "" if point.low is None or point.high is None else _rates(point.low, point.high),
            units.memory(point.memory),
        )
        for panel in panels
        for line in panel.lines
        for point in line.points
    ]
    return Table("Throughput and peak memory", columns, rows)


def _rate(rate: float, low: float | None, high: float | None) -> str:
    return units.rate(rate, None if low is None or high is None else (high - low) / 2 / rate)


def _rates(low: float, high: float) -> str:
    width = (high - low) / (high + low)
    return f"{units.rate(low, width)} – {units.rate(high, width)}"


def _accuracy_table(panels: Sequence[AccuracyPanel]) -> Table:
    columns = (
        *(("measured", False), ("model", False), ("weights", False), ("top-1", True)),
        *(("median", True), ("interval", True), ("configuration", False), ("on the frontier", False)),
    )
    rows = [
        (
            panel.name,
            point.model,
            point.weights,
            f"{point.top1:.2f} %",
            *_time(point.time),
            point.configuration,
            "yes" if point.is_on_frontier else "no",
        )
        for panel in panels
        for point in panel.points
    ]
    return Table("Accuracy and latency", columns, rows)


def _roofline_table(panels: Sequence[RooflinePanel]) -> Table:
    columns = (
        *(("case", False), ("calls", False), ("type", False), ("FLOP per byte", True)),
        *(("rate", True), ("share of the time", True), ("limited by", False)),
    )
    rows = [
        (
            panel.name,
            point.name,
            point.type,
            f"{point.intensity:.3g}",
            units.scaled(point.rate, "FLOP/s"),
            "" if point.share is None else units.share(point.share),
            point.bound or "",
        )
        for panel in panels
        for point in panel.points
    ]
    return Table("Calls under the roofline", columns, rows)


def _layers_table(panels: Sequence[LayersPanel]) -> Table:
    columns = (("case", False), ("call", False), ("type", False), ("time or FLOPs", True), ("share", True))
    rows = [
        (
            panel.name,
            "\u2003" * node.level + node.name,
            node.type,
            units.time(node.value) if panel.unit == "s" else units.scaled(node.value, panel.unit),
            "" if node.share is None else units.share(node.share),
        )
        for panel in panels
        for node in panel.nodes
    ]
    return Table("Calls within the model", columns, rows)


def _published_table(panels: Sequence[PublishedPanel]) -> Table:
    columns = (
        *(("table", False), ("model", False), ("batch", True), ("configuration", False)),
        *(("variant", False), ("measured here", True), ("published", True)),
        *(("published over measured", True), ("published on", False)),
    )
    rows = [
        (
            panel.name,
            point.model,
            str(point.batch_size),
            point.configuration,
            point.variant,
            _figure(point.measured, panel.unit),
            _figure(point.published, panel.unit),
            f"{point.published / point.measured:.3g}" if point.measured else "",
            ", ".join(filter(None, (point.device, point.software))),
        )
        for panel in panels
        for point in panel.points
    ]
    return Table("Measured and published", columns, rows)


def _figure(value: float, unit: str) -> str:
    if unit == "B":
        return units.memory(value)
    return units.time(value) if unit == "s" else f"{units.rate(value)} /s"


def _seconds_of(panel: LatencyPanel) -> Iterator[float]:
    return (time.seconds for line in panel.lines for time in line.times)


def _published_axis(panel: PublishedPanel) -> Axis:
    values = [value for point in panel.points for value in (point.measured, point.published)]
    if panel.unit == "B":
        return _bytes(values)
    return (
        _times(values) if panel.unit == "s" else _decimal(values, "/s" if panel.unit == "1/s" else panel.unit)
    )


def _memory_axes(panel: MemoryPanel) -> dict[str, Axis]:
    points = [point for line in panel.lines for point in line.points]
    rate, prefix = _decimal((point.throughput for point in points), "")
    return {
        "x": _bytes(point.memory for point in points),
        "y": (rate, f"{prefix and prefix + ' '}{panel.item}/s"),
    }


CHARTS = (
    Chart(
        "speedup",
        "Speedup over the baseline",
        "How many times as fast as the baseline of the same workload; a whisker is the 95 % CI of the ratio "
        "over rounds, and has no end if it leaves the chart; a hollow bar is not significant. Right of 1 is "
        "faster.",
        "no work was measured in two configurations: sweep engine=eager,compile",
        lambda panel: {},
        _speedup_table,
        is_first=True,
    ),
    Chart(
        "latency",
        "Latency against batch size",
        "The median over rounds of a whole step; a whisker is its interval.",
        "no case was measured with two batch sizes: sweep batch_size=1,8,32",
        lambda panel: {"y": _times(_seconds_of(panel))},
        _latency_table,
    ),
    Chart(
        "phases",
        "Phases of a step",
        "The medians of a step's phases, stacked; the diamond is the step as a whole, which is measured "
        "by itself and is not the sum of medians.",
        "no case has phases: measure mode=train",
        lambda panel: {"x": _times(bar.total.seconds for bar in panel.bars)},
        _phases_table,
    ),
    Chart(
        "memory",
        "Throughput against memory",
        "Numbers beside the points are batch sizes; a whisker is the throughput's interval. Up and left "
        "is better.",
        "peak memory is unknown, or each model has one case: sweep batch_size=1,8,32",
        _memory_axes,
        _memory_table,
    ),
    Chart(
        "accuracy",
        "Accuracy against latency",
        "Top-1 accuracy on ImageNet as torchvision publishes it for the named weights; the measured "
        "modules have the same layers with random weights. Each model in its fastest configuration. "
        "Filled points are on the Pareto frontier: by the medians, no other model is both as accurate and"
        " as fast.",
        "needs inference of two of torchvision's classifiers at the size of their published weights",
        lambda panel: {"x": _times(point.time.seconds for point in panel.points)},
        _accuracy_table,
    ),
    Chart(
        "roofline",
        "Roofline",
        "What the calls of a profile reach, under the measured peaks of this machine: arithmetic (flat) "
        "and the bandwidth of memory and of the fastest cache (slanted). A larger point takes more of the"
        " time.",
        "no timed profile with peaks in these records: add mode=profile",
        lambda panel: {"y": _decimal((point.rate for point in panel.points), "FLOP/s")},
        _roofline_table,
    ),
    Chart(
        "layers",
        "Layers",
        "An area is a call's share of the model's time (of its FLOPs in a dry run). Click to enlarge a "
        "module.",
        "no profile in these records: add mode=profile",
        lambda panel: {
            "value": _times(node.value for node in panel.nodes)
            if panel.unit == "s"
            else _decimal((node.value for node in panel.nodes), panel.unit)
        },
        _layers_table,
    ),
    Chart(
        "published",
        "Measured against published",
        "Figures that others have published for the same model, batch and phase on their machines. On the"
        " line, both are equal.",
        "no published table has these models, batches and phases",
        lambda panel: {"x": _published_axis(panel), "y": _published_axis(panel)},
        _published_table,
    ),
)
"""Every chart."""
