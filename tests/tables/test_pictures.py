"""Pictures of charts: what they show, and that equal results give equal files."""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer

from microbench.analysis.charts import (
    AccuracyPanel,
    AccuracyPoint,
    Charts,
    LatencyLine,
    LatencyPanel,
    MemoryLine,
    MemoryPanel,
    MemoryPoint,
    PhaseBar,
    PhasesPanel,
    PublishedPanel,
    PublishedPoint,
    RooflinePanel,
    RooflinePoint,
    SpeedupBar,
    SpeedupGroup,
    SpeedupPanel,
    Time,
)
from microbench.analysis.verdict import Verdict
from microbench.errors import StoppedError, UserError
from microbench.tables import pictures
from microbench.tables.pictures import CHARTS, picture
from microbench.tables.pictures.drawing import DRAWINGS
from microbench.tables.pictures.style import DARK, LIGHT, Style


def time(milliseconds: float, half_width: float | None = 0.5) -> Time:
    seconds, half = milliseconds / 1000, None if half_width is None else half_width / 1000
    ends = (None, None) if half is None else (seconds - half, seconds + half)
    return Time("r/0", seconds, *ends, 6)


POINT = {"key": "r/0", "low": None, "high": None}
LATENCY = [LatencyPanel("net infer", "inference", [LatencyLine("eager fp32", [1, 8], [time(10), time(60)])])]
SPEEDUP = [
    SpeedupPanel(
        "infer",
        [
            SpeedupGroup(
                "net $x_1$",
                "eager fp32",
                [
                    SpeedupBar("r/1", "openvino fp32", 2.0, 1.9, 2.1, Verdict.FASTER, None),
                    SpeedupBar("r/2", "compile fp32", 1.1, 0.9, 1.3, Verdict.INCONCLUSIVE, "noise"),
                ],
            )
        ],
    )
]
PHASES = [
    PhasesPanel(
        "batch 8",
        ["forward", "backward"],
        [PhaseBar("net train", {"forward": 0.01, "backward": 0.02}, time(31))],
    )
]
MEMORY = [
    MemoryPanel(
        "net infer", "images", [MemoryLine("eager", [MemoryPoint("r/0", 8, 100.0, 90.0, 110.0, 2.0**28)])]
    )
]
ACCURACY = [
    AccuracyPanel(
        "infer, batch 1",
        [
            AccuracyPoint(f"net{place}", "eager fp32", "V1", 70 + place / 10, time(10 + place), True)
            for place in range(4)
        ],
    )
]
ROOFLINE = [
    RooflinePanel(
        "net",
        {"fp32": 3e11},
        [(2**25, 2e10)],
        [
            RooflinePoint("conv", "Conv2d", 20.0, 4e10, 0.6, "compute"),
            RooflinePoint("total", "", 9.0, 2e10, None, "compute"),
        ],
    )
]
PUBLISHED = [
    PublishedPanel(
        "lab: inference",
        "s",
        [
            PublishedPoint("r/0", "net", 1, "eager", "eager fp32", 0.02, 0.04, "CPU", "torch 2.1"),
            PublishedPoint("r/0", "net", 1, "eager", "eager fp32", 0.02, 0.01, "GPU", ""),
        ],
    )
]
ALL = Charts(LATENCY, SPEEDUP, PHASES, MEMORY, ACCURACY, ROOFLINE, [], PUBLISHED)
NONE = Charts([], [], [], [], [], [], [], [])


def drawn(name: str, panels: Sequence[Any], style: Style = LIGHT) -> Any:
    with rc_context(style.settings):
        return pictures._figure(name, panels, [], style)


def axes_of(name: str, style: Style = LIGHT) -> Axes:
    (found,) = drawn(name, getattr(ALL, name), style).axes
    assert isinstance(found, Axes)
    return found


def test_each_chart_is_drawn_and_tells_what_it_needs() -> None:
    assert list(CHARTS) == list(DRAWINGS)
    assert set(CHARTS) < set(Charts.__dataclass_fields__)


@pytest.mark.parametrize("name", CHARTS)
def test_the_axes_have_units_and_no_texts_overlap(name: str) -> None:
    figure = drawn(name, getattr(ALL, name))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert re.search(r"\bms\b|MiB|FLOP|speedup|batch size", axes.get_xlabel())
    texts = [each for each in (*axes.texts, *axes.get_yticklabels(), axes.title) if each.get_text()]
    texts += [*(each for legend in figure.legends for each in legend.get_texts()), axes.xaxis.label]
    boxes = {each.get_text(): each.get_window_extent() for each in texts}
    for (first, box), (second, other) in combinations(boxes.items(), 2):
        assert not box.overlaps(other), f"{first!r} and {second!r}"


def test_intervals_are_error_bars_in_the_axis_s_unit() -> None:
    axes = axes_of("latency")
    (line,) = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    data, _, (bars,) = line.lines
    assert data.get_ydata() == pytest.approx([10, 60])  # type: ignore[union-attr]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [
        pytest.approx([9.5, 10.5]),
        pytest.approx([59.5, 60.5]),
    ]
    assert axes.get_ylabel() == "inference, ms per call"


def test_a_speedup_is_a_bar_with_its_verdict_unless_that_is_certain() -> None:
    axes = axes_of("speedup")
    bars = [each for each in axes.containers if isinstance(each, BarContainer)]
    assert [bar.patches[0].get_width() for bar in bars] == [2.0, 1.1]
    assert [text.get_text() for text in axes.texts] == ["2.00", "1.10  inconclusive"]


def test_a_bar_that_is_not_significant_is_hollow() -> None:
    bars = [each.patches[0] for each in axes_of("speedup").containers if isinstance(each, BarContainer)]
    assert [to_hex(bar.get_facecolor()) == LIGHT.paper for bar in bars] == [False, True]


def test_the_time_of_a_step_stands_beside_its_bar() -> None:
    assert [text.get_text() for text in axes_of("phases").texts] == ["31.0 ms"]


def test_a_name_lies_on_no_line() -> None:
    figure = drawn("accuracy", ACCURACY)
    axes = figure.axes[0]
    (frontier,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    path = frontier.get_path().transformed(frontier.get_transform())
    assert len(axes.texts) > 1
    assert not any(path.intersects_bbox(text.get_window_extent(), filled=False) for text in axes.texts)


def test_a_bandwidth_s_name_is_within_the_axes() -> None:
    figure = drawn("roofline", ROOFLINE)
    box = figure.axes[0].bbox
    for text in figure.axes[0].texts:
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0 <= extent.x1 <= box.x1


@pytest.mark.filterwarnings("error")
def test_odd_characters_and_absurd_numbers_raise_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    bar = SpeedupBar("r/1", "\x1b[31mred\x07 中", 1e-300, 1e-308, 1e308, Verdict.INCONCLUSIVE, None)
    panel = SpeedupPanel("in\x00fer", [SpeedupGroup("net", "eager fp32", [bar])])
    found = picture(Charts([], [panel], [], [], [], [], [], []), [], "svg", None, is_dark=False)
    assert not re.search(rb"[\x00-\x08\x1b]", found)
    assert capfd.readouterr().err == ""


def test_what_has_no_interval_has_no_error_bar() -> None:
    bar = SpeedupBar("r/1", "openvino fp32", 2.0, None, None, Verdict.INCONCLUSIVE, "one round")
    axes = drawn("speedup", [SpeedupPanel("infer", [SpeedupGroup("net", "eager fp32", [bar])])]).axes[0]
    (errors,) = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    drawn_bars = [segment for bars in errors.lines[2] for segment in bars.get_segments() if len(segment)]
    assert not any(np.isfinite(segment).all() for segment in drawn_bars)


def test_series_differ_in_more_than_their_colours() -> None:
    bars = [each.patches[0] for each in axes_of("speedup").containers if isinstance(each, BarContainer)]
    assert len({bar.get_hatch() for bar in bars}) == len({bar.get_facecolor() for bar in bars}) == 2


def test_several_published_figures_of_a_case_are_in_one_row() -> None:
    axes = axes_of("published")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["net, batch 1, eager fp32"]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() not in ("None", "none", "")]
    assert points == pytest.approx([40, 20, 10, 20])  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_equal_results_give_equal_files(form: str) -> None:
    first, again = (picture(ALL, [], form, "speedup", is_dark=False) for _ in range(2))
    assert first == again
    assert picture(ALL, [], form, "speedup", is_dark=True) != first


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_can_be_read_on_their_background(style: Style) -> None:
    for text in (style.ink, style.faint):
        dark, light = sorted(map(luminance, (text, style.paper)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("charts", "chart", "words"),
    [
        (ALL, "sped", "Unknown chart 'sped'. Did you mean speedup?"),
        (NONE, None, "Nothing to draw: speedup needs two configurations of the same workload; "),
        (NONE, "roofline", "--chart roofline has no data in these cases: it needs a case of mode=profile."),
        (Charts(LATENCY * 13, [], [], [], [], [], [], []), None, "--chart latency has 13 panels, at most 12"),
    ],
)
def test_what_cannot_be_drawn_is_reported(charts: Charts, chart: str | None, words: str) -> None:
    with pytest.raises(UserError) as told:
        picture(charts, [], "png", chart, is_dark=False)
    assert words in str(told.value)


def test_without_matplotlib_its_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoppedError, match=r"A picture needs matplotlib: pip install .*\[plot\]"):
        picture(ALL, [], "png", None, is_dark=False)
