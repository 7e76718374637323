"""Cases beside published figures: which agree, and the ratios of both, against arithmetic by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from microbench.analysis.beside import Row, Section, beside, flat
from microbench.analysis.published_tables import Figure, Table
from microbench.errors import UserError
from microbench.records.cases import cases_of
from microbench.records.record import BenchmarkWarning, RoundRecord, WarningCode

Timed = Callable[..., list[RoundRecord]]

EAGER, FAST = [0.040, 0.042, 0.041, 0.039, 0.040, 0.043], [0.020, 0.022, 0.020, 0.019, 0.021, 0.021]
RESNET = {"model__name": "resnet18", "model__input_shape": [3, 224, 224], "batch_size": 1}
VGG = RESNET | {"model__name": "vgg16"}
TRAIN = {"forward": EAGER, "backward": [2 * each for each in FAST], "total": [0.1] * 6}


def figure(variant: str = "eager", quantity: str = "latency", value: float = 0.1, **more: Any) -> Figure:
    texts = {"source": "lab", "device": "CPU", "software": "", "workload": "resnet18", "unit": "s"}
    others = {"batch_size": 1, "input_shape": "3x224x224"}
    return Figure(**{**texts, **others, "variant": variant, "quantity": quantity, "value": value, **more})


def table(*figures: Figure, baseline: tuple[str, str] | None = ("variant", "eager"), **more: Any) -> Table:
    variants: dict[str, Any] = {"eager": {}, "fast": {"engine": ["openvino", "onnxruntime"]}}
    quantities = {each.quantity: each.quantity for each in figures} | {"latency": "inference"}
    told = {"variants": variants, "quantities": quantities, "baseline": baseline} | more
    return Table("lab", Path("lab.csv"), figures, **told)


BOTH = table(figure(), figure("fast", value=0.025))


def section(found: Table, *made: Sequence[RoundRecord]) -> Section:
    (only,) = beside(cases_of([record for records in made for record in records]), [found])
    return only


def rows(found: Table, *made: Sequence[RoundRecord]) -> Sequence[Row]:
    return section(found, *made).rows


class TestRatios:
    def test_the_ratio_of_speedups_has_the_interval_of_the_one_here(self, timed: Timed) -> None:
        made = timed(EAGER, 0, **RESNET), timed(FAST, 1, engine="openvino", **RESNET)
        base, fast = rows(BOTH, *made)
        assert (base.measured_ratio, base.published_ratio, base.ratio_of_ratios) == (None, None, None)
        assert base.ratio is not None
        assert base.ratio.value == pytest.approx(0.0405 / 0.1)
        logs = np.log(np.divide(EAGER, FAST))
        ends = np.exp(stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs)))
        assert fast.published_ratio == pytest.approx(4.0)
        assert fast.measured_ratio is not None
        assert fast.measured_ratio.value == pytest.approx(geometric_mean(np.divide(EAGER, FAST)))
        assert (fast.measured_ratio.low, fast.measured_ratio.high) == pytest.approx(tuple(ends))
        assert fast.ratio_of_ratios is not None
        assert fast.ratio_of_ratios.value == pytest.approx(fast.measured_ratio.value / 4)
        assert (fast.ratio_of_ratios.low, fast.ratio_of_ratios.high) == pytest.approx(tuple(ends / 4))

    def test_a_rate_has_the_speedup_of_its_time(self, timed: Timed) -> None:
        rate = {"quantity": "inference images/s", "unit": "1/s"}
        found = table(*BOTH.figures, figure(value=10, **rate), figure("fast", value=40, **rate))
        made = timed(EAGER, 0, **RESNET), timed(FAST, 1, engine="openvino", **RESNET)
        _, of_rate, time, fast = rows(found, *made)
        assert of_rate.measured is not None
        assert of_rate.measured.value == pytest.approx(1 / 0.0405)
        assert of_rate.measured.low < of_rate.measured.value < of_rate.measured.high  # type: ignore[operator]
        assert fast.measured_ratio == time.measured_ratio

    def test_phases_of_one_case_are_paired_by_round(self, timed: Timed) -> None:
        names = {name: name for name in ("forward", "backward")}
        figures = figure(quantity="forward"), figure(quantity="backward", value=0.3)
        found = table(*figures, baseline=("quantity", "forward"), quantities=names)
        _, backward = rows(found, timed(TRAIN, mode="train", schedule="sequential", **RESNET))
        assert backward.measured_ratio is not None
        logs = np.log(np.divide(TRAIN["backward"], TRAIN["forward"]))
        ends = np.exp(stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs)))
        assert (backward.measured_ratio.low, backward.measured_ratio.high) == pytest.approx(tuple(ends))
        assert backward.ratio_of_ratios is not None
        assert backward.ratio_of_ratios.value == pytest.approx(np.exp(logs.mean()) / 3)

    def test_a_workload_takes_so_many_times_what_another_takes(self, timed: Timed) -> None:
        found = table(figure(), figure(workload="vgg16", value=0.3), baseline=("workload", "resnet18"))
        _, vgg = rows(found, timed(FAST, 0, **RESNET), timed(EAGER, 1, **VGG))
        assert vgg.measured_ratio is not None
        assert vgg.measured_ratio.value == pytest.approx(geometric_mean(np.divide(EAGER, FAST)))
        assert vgg.published_ratio == pytest.approx(3)

    def test_quantities_of_different_units_have_no_ratio(self, timed: Timed) -> None:
        rate = figure(quantity="inference images/s", unit="1/s", value=10)
        found = table(figure(), rate, baseline=("quantity", "latency"))
        of_rate = next(row for row in rows(found, timed(EAGER, **RESNET)) if row.unit == "1/s")
        assert (of_rate.measured_ratio, of_rate.published_ratio) == (None, None)

    def test_without_the_baseline_here_the_published_ratio_stays_and_a_remark_says_why(
        self, timed: Timed
    ) -> None:
        found = section(BOTH, timed(FAST, engine="openvino", **RESNET))
        (fast,) = found.rows
        assert (fast.measured_ratio, fast.published_ratio) == (None, pytest.approx(4.0))
        assert found.remarks == ["no ratio here without eager, measured in the same way: resnet18"]

    def test_one_round_has_a_ratio_without_an_interval(self, timed: Timed) -> None:
        _, fast = rows(BOTH, timed([0.04], 0, **RESNET), timed([0.02], 1, engine="openvino", **RESNET))
        assert fast.ratio_of_ratios is not None
        assert (fast.ratio_of_ratios.value, fast.ratio_of_ratios.low) == (pytest.approx(0.5), None)


class TestAgreement:
    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"batch_size": 4}, "resnet18: published at batch 1, not 4"),
            (
                {"model__input_shape": [3, 96, 96]},
                "resnet18: published with inputs of 3x224x224, not 3x96x96",
            ),
            ({"precision": "bf16"}, "not published at batch 1 as infer, eager bf16, contiguous"),
            ({"mode": "train"}, "not published at batch 1 as train, eager fp32, contiguous"),
            ({"model__part": "layer1"}, "none of their models is in a table"),
            ({"model__kwargs": {"norm_layer": None}}, "none of their models is in a table"),
            ({"model__name": "resnet34"}, "none of their models is in a table"),
        ],
    )
    def test_what_agrees_only_in_part_is_not_shown_as_agreeing(
        self, settings: dict[str, Any], why: str, timed: Timed
    ) -> None:
        phases = {"total": EAGER} if settings.get("mode") == "train" else {"inference": EAGER}
        with pytest.raises(UserError) as told:
            rows(BOTH, timed(phases, **RESNET | settings))
        assert str(told.value).startswith("No published figure agrees with these cases: ")
        assert why in str(told.value)

    def test_a_work_without_a_figure_is_told_beside_others(self, timed: Timed) -> None:
        found = section(BOTH, timed(EAGER, 0, **RESNET), timed(EAGER, 1, **RESNET | {"batch_size": 2}))
        assert found.remarks == ["resnet18: published at batch 1, not 2"]

    def test_a_shape_that_was_not_published_is_told(self, timed: Timed) -> None:
        found = section(table(figure(input_shape="")), timed(EAGER, **RESNET))
        assert found.remarks == ["the input's shape was not published; here: 3x224x224"]

    def test_a_case_with_warnings_is_told(self, timed: Timed) -> None:
        told = BenchmarkWarning(WarningCode.FOREIGN_LOAD, "others kept a CPU busy")
        made = timed(EAGER, **RESNET)
        warned = [replace(each, outcome=replace(each.outcome, warnings=(told,))) for each in made]
        assert section(BOTH, made).remarks == []
        assert section(BOTH, warned).remarks == [
            "measured with warnings (microbench show PATH --warnings): resnet18"
        ]

    def test_a_case_that_failed_or_is_implausible_has_no_figure_of_its_own(self, timed: Timed) -> None:
        told = BenchmarkWarning(WarningCode.IMPLAUSIBLE, "3e+15 FLOP/s")
        fast = timed(FAST, 1, engine="openvino", **RESNET)
        doubted = [replace(each, outcome=replace(each.outcome, warnings=(told,))) for each in fast]
        failed, implausible = rows(BOTH, timed([None], 0, **RESNET), doubted)
        assert [row.case.standing for row in (failed, implausible)] == ["error", "implausible"]
        assert {row.measured for row in (failed, implausible)} == {None}
        assert {row.ratio_of_ratios for row in (failed, implausible)} == {None}

    def test_of_a_case_measured_twice_the_latest_counts(self, timed: Timed) -> None:
        (row,) = rows(BOTH, timed([0.2] * 3, 0, "old", **RESNET), timed([0.1] * 3, 0, "new", **RESNET))
        assert row.case.run.id == "new"


def test_rows_for_other_programs_have_both_machines_and_the_ends_of_intervals(timed: Timed) -> None:
    made = timed(EAGER, 0, **RESNET), timed(FAST, 1, engine="openvino", **RESNET)
    base, fast = flat(section(BOTH, *made))
    assert (fast["published_device"], fast["measured_device"]) == ("CPU", "Some CPU")
    assert fast["published_software"] is None
    assert fast["ratio_of_ratios_ci_low"] < fast["ratio_of_ratios"] < fast["ratio_of_ratios_ci_high"]
    assert base["ratio_of_ratios"] is None
    assert base.keys() == fast.keys()
