"""The rows that charts are drawn from, beside numbers computed here from the times."""

from __future__ import annotations

import csv
import runpy
from dataclasses import replace as replace_dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pytest
from factory import FAST, IMPLAUSIBLE, SLOW, WRONG, call_of, configured, record_of, told
from msgspec.structs import replace

from microbench.analysis.accuracy import FILE, weights_of
from microbench.analysis.charts import OWN, Charts, charts
from microbench.analysis.verdict import SEPARATE_RUNS, Verdict
from microbench.config import ModelConfig
from microbench.records.cases import cases_of
from microbench.records.peaks import Peaks
from microbench.records.record import Kind, RoundRecord

ROOT = Path(__file__).parents[2]


def drawn(*made: list[RoundRecord]) -> Charts:
    return charts(cases_of([record for case in made for record in case]))


def model(name: str, side: int = 224) -> ModelConfig:
    return ModelConfig("torchvision", name, input_shape=[3, side, side])


def test_latency_is_one_line_per_configuration_by_ascending_batch_size(timed: Any) -> None:
    found = drawn(
        timed(SLOW, 0, batch_size=8),
        timed(FAST, 1, batch_size=1),
        timed(FAST, 2, batch_size=1, engine="compile"),
    )
    (panel,) = found.latency
    assert (panel.name, panel.phase) == ("dense infer", "inference")
    lines = {line.configuration: line for line in panel.lines}
    assert lines["eager fp32"].batch_sizes == [1, 8]
    assert [time.key for time in lines["eager fp32"].times] == ["r/1", "r/0"]
    assert lines["compile fp32"].batch_sizes == [1]
    time = lines["eager fp32"].times[0]
    assert (time.low, time.seconds, time.high, time.rounds) == (0.99, pytest.approx(1.005), 1.02, 6)
    assert drawn(timed(FAST, 0)).latency == []


def test_a_speedup_is_the_baseline_s_time_over_its_own(timed: Any) -> None:
    found = drawn(timed(FAST, 0, engine="compile"), timed(SLOW, 1), timed(SLOW, 2, batch_size=1))
    (panel,) = found.speedup
    (group,) = panel.groups
    assert (panel.name, group.work, group.baseline) == ("infer", "dense infer, batch 8", "eager fp32")
    (bar,) = group.bars
    assert (bar.key, bar.configuration, bar.verdict) == ("r/0", "compile fp32", Verdict.FASTER)
    assert bar.speedup == pytest.approx(geometric_mean(SLOW) / geometric_mean(FAST))
    assert bar.low is not None
    assert bar.high is not None
    assert 1 < bar.low < bar.speedup < bar.high


def test_a_speedup_over_a_separate_run_has_no_verdict(timed: Any) -> None:
    found = drawn(timed(FAST, engine="compile"), timed(SLOW, run_id="later"))
    ((bar,),) = [group.bars for group in found.speedup[0].groups]
    assert (bar.verdict, bar.reason) == (Verdict.INCONCLUSIVE, SEPARATE_RUNS)
    assert bar.speedup == pytest.approx(geometric_mean(SLOW) / geometric_mean(FAST))


@pytest.mark.parametrize("how", [{"check": WRONG}, {"warnings": (IMPLAUSIBLE,)}])
def test_a_case_whose_time_does_not_count_is_not_drawn(timed: Any, how: dict[str, Any]) -> None:
    wrong = timed(FAST[:1], 1, engine="compile", check=how.get("check", WRONG))
    if "warnings" in how:
        wrong = told(timed(FAST, 1, engine="compile"), **how)
    found = drawn(timed(SLOW, 0), wrong, timed(SLOW, 2, batch_size=1))
    assert found.speedup == []
    assert [line.configuration for line in found.latency[0].lines] == ["eager fp32"]


def test_of_a_case_that_was_measured_again_the_latest_is_drawn(timed: Any) -> None:
    old, new = timed(SLOW, run_id="old"), timed(FAST, run_id="new")
    new = [replace(each, started_at=each.started_at.replace("2026", "2027")) for each in new]
    for order in ((old, new), (new, old)):
        found = drawn(*order, timed(SLOW, 1, batch_size=1))
        assert {time.key for line in found.latency[0].lines for time in line.times} == {"new/0", "r/1"}


def test_phases_are_the_parts_of_a_step_and_its_measured_total(timed: Any) -> None:
    times = {"forward": [1.0] * 6, "backward": [2.0] * 6, "update": [0.5] * 6, "total": [3.6] * 6}
    found = drawn(timed(times, 0, mode="train"), timed(FAST, 1))
    (panel,) = found.phases
    assert (panel.name, panel.phases) == ("batch 8", ["forward", "backward", "update"])
    (bar,) = panel.bars
    assert bar.name == "dense train, eager fp32"
    assert bar.parts == {"forward": 1.0, "backward": 2.0, "update": 0.5}
    assert bar.total.seconds == 3.6


def test_throughput_stands_against_peak_memory(timed: Any) -> None:
    first = told(timed(FAST, 0), peak_memory=2**20)
    second = told(timed(SLOW, 1, batch_size=1), peak_memory=2**19)
    (panel,) = drawn(first, second, timed(SLOW, 2, batch_size=2)).memory
    (line,) = panel.lines
    small, large = line.points
    assert (small.batch_size, small.memory, large.memory) == (1, 2**19, 2**20)
    assert large.throughput == pytest.approx(8 / 1.005)
    assert large.low == pytest.approx(8 / 1.02)
    assert large.high == pytest.approx(8 / 0.99)


def test_the_frontier_has_the_models_that_none_beats_in_both(timed: Any) -> None:
    times = {"alexnet": 1.0, "resnet18": 3.0, "resnet50": 9.0, "googlenet": 4.0, "vgg11": 3.0}
    cases = [
        timed([time] * 6, order, model=model(name), batch_size=1)
        for order, (name, time) in enumerate(times.items())
    ]
    slower = timed([9.0] * 6, 7, model=model("resnet18"), batch_size=1, engine="export")
    small = timed([0.1] * 6, 8, model=model("resnet101", 64), batch_size=1)
    (panel,) = drawn(*cases, slower, small).accuracy
    points = {point.model: point for point in panel.points}
    assert points.keys() == times.keys()
    frontier = {
        name
        for name, time in times.items()
        if not any(
            other <= time
            and points[rival].top1 >= points[name].top1
            and (other, points[rival].top1) != (time, points[name].top1)
            for rival, other in times.items()
            if rival != name
        )
    }
    assert {name for name, point in points.items() if point.is_on_frontier} == frontier
    assert points["resnet18"].time.seconds == 3.0
    assert points["resnet50"].weights == "IMAGENET1K_V2"


def test_a_model_is_a_point_at_each_size_that_weights_were_trained_for(timed: Any) -> None:
    cases = [
        timed([time] * 6, order, model=model("vit_b_16", side), batch_size=1, engine=engine)
        for order, (side, engine, time) in enumerate(
            [(224, "eager", 1.0), (224, "export", 2.0), (384, "eager", 4.0), (384, "export", 3.0)]
        )
    ]
    (panel,) = drawn(*cases).accuracy
    assert [(point.weights, point.time.seconds, point.configuration) for point in panel.points] == [
        ("IMAGENET1K_V1", 1.0, "eager fp32"),
        ("IMAGENET1K_SWAG_E2E_V1", 3.0, "export fp32"),
    ]


@pytest.mark.parametrize("other", [{"num_classes": 10}, {"kwargs": {"width_mult": 2}}, {"part": "layer1"}])
def test_a_model_with_other_layers_has_no_published_accuracy(other: dict[str, Any]) -> None:
    assert weights_of(replace_dataclass(model("mobilenet_v2"), **other)) is None
    assert weights_of(replace_dataclass(model("mobilenet_v2"), kwargs={"init_weights": True})) is not None


def test_accuracies_are_those_of_torchvision_s_weights() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "imagenet.py"))
    with FILE.open(encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    assert tuple(columns) == made["COLUMNS"]
    assert {tuple(row) for row in rows} == {tuple(map(str, row)) for row in made["rows"]()}


@pytest.mark.parametrize(
    ("name", "side", "weights"),
    [
        ("resnet50", 224, "IMAGENET1K_V2"),
        ("resnet50", 64, None),
        ("vit_b_16", 224, "IMAGENET1K_V1"),
        ("vit_b_16", 384, "IMAGENET1K_SWAG_E2E_V1"),
        ("vit_h_14", 224, "IMAGENET1K_SWAG_LINEAR_V1"),
        ("no_such_model", 224, None),
    ],
)
def test_weights_are_those_for_the_size_of_the_input(name: str, side: int, weights: str | None) -> None:
    found = weights_of(model(name, side))
    assert (found.name if found else None) == weights


def profile(timed_too: bool = True) -> RoundRecord:
    """A model of two layers, of which the second takes three quarters of its time."""
    times = [[4.0] * 4, [1.0] * 4, [2.9] * 4] if timed_too else [[]] * 3
    figures = {"flops": 100, "mem_r": 30, "mem_w": 20}
    calls = [
        call_of(0, "", Kind.CONTAINER, "Net", 0, times=times[0]),
        call_of(1, "a", Kind.MODULE, "Conv2d", 1, times=times[1], **figures),
        call_of(2, "b", Kind.MODULE, "Linear", 1, times=times[2], **figures | {"flops": 0}),
    ]
    peaks = Peaks(fp32=1e3, bf16=None, fp32_by="", bf16_by="", bandwidths=((1000, 50.0),), call_seconds=1e-6)
    config = configured(mode="profile", batch_size=1)
    return record_of({"inference": 4.0} if timed_too else {}, config, calls=calls, peaks=peaks)


def test_a_profile_s_calls_stand_under_the_roofline() -> None:
    (panel,) = drawn([profile()]).roofline
    assert panel.peaks == {"fp32": 1e3}
    assert panel.bandwidths == ((1000, 50.0),)
    points = {point.name: point for point in panel.points}
    assert points.keys() == {"a", "total"}
    assert (points["a"].intensity, points["a"].rate, points["a"].share) == (2.0, 100.0, 0.25)


def test_layers_add_up_to_what_is_around_them() -> None:
    (panel,) = drawn([profile()]).layers
    assert panel.unit == "s"
    assert [(node.name, node.level) for node in panel.nodes] == [("dense", 0), (OWN, 1), ("a", 1), ("b", 1)]
    values = [node.value for node in panel.nodes]
    assert sum(values[1:]) == pytest.approx(values[0]) == 4.0
    assert panel.nodes[3].share == pytest.approx(2.9 / 4)
    (dry,) = drawn([profile(timed_too=False)]).layers
    assert (dry.unit, [node.value for node in dry.nodes]) == ("FLOP", [100, 100])


def test_published_figures_stand_beside_the_case_s_own(timed: Any) -> None:
    case = timed([0.5] * 6, model=model("resnext101_32x8d"), batch_size=1)
    panels = {panel.name: panel for panel in drawn(case).published}
    times, rates = (panels[f"convnet_benchmark_pytorch: inference{unit}"] for unit in ("", " images/s"))
    assert (times.unit, rates.unit) == ("s", "1/s")
    (time,), (rate,) = times.points, rates.points
    assert (time.measured, time.published, time.variant) == (0.5, pytest.approx(0.09252), "native")
    assert (rate.measured, rate.published) == (2.0, 10.81)
