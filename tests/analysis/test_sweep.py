"""The rows of a sweep, and of the case that is alone."""

from __future__ import annotations

from typing import Any

import pytest
from factory import told

from microbench.analysis.case import Facts, Interval, case_report, intervals, items, phase_times, shown
from microbench.analysis.report import report
from microbench.analysis.sweep import sweep
from microbench.config import ModelConfig
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Check, Correctness, Status, StopReason
from microbench.verify.judging import Checked

TRAIN = {"forward": [0.01], "loss": [0.0001], "backward": [0.02], "total": [0.04]}
WRONG = Checked(Check(Correctness.MISMATCH, 0.5, 0.25, tolerance=0.02), "the output is off")


def case_of(made: Any) -> CaseResult:
    (case,) = cases_of(made)
    return case


class TestCase:
    def test_its_phases_have_their_rate_and_memory(self, timed: Any) -> None:
        times = phase_times(case_of(told(timed(TRAIN, mode="train", batch_size=8), peak_memory=100)))
        assert shown(times) == ["forward", "backward", "total"], "the loss is too short to matter"
        assert times["total"].rate == pytest.approx(200)
        assert (times["forward"].rate, times["forward"].memory) == (None, 100)

    def test_a_wrong_one_is_not_valid_and_has_no_rate(self, timed: Any) -> None:
        (time,) = phase_times(case_of(timed([0.1], check=WRONG))).values()
        assert (time.estimate.median, time.is_valid, time.rate) == (0.1, False, None)

    def test_how_it_was_measured(self, timed: Any) -> None:
        made = timed({"inference": [0.1, 0.1], "prepare": [2.0, 2.0], "first_call": [1.0, 1.0]})
        assert case_report(case_of(made)).facts == Facts(
            2, None, 1, {StopReason.REL_CI: 2}, 0, prepare=2.0, first_call=1.0
        )
        assert case_report(case_of(timed([None]))).facts == Facts(0)

    def test_layers_have_items_and_models_images(self, timed: Any) -> None:
        assert items(case_of(timed([0.1]))) == "items"
        assert items(case_of(timed([0.1], model=ModelConfig("torchvision", "vgg16")))) == "images"

    def test_intervals_are_told_apart_by_their_confidence(self, timed: Any) -> None:
        made = [timed([0.01] * rounds, order) for order, rounds in enumerate((1, 10, 3, 6))]
        assert intervals([case_of(each) for each in made]) == [
            Interval(0.75, 3, 3),
            Interval(0.95, 6, 10),
            Interval(0.95, 1, 1),
        ]


class TestSweep:
    def test_modes_share_a_row_and_settings_do_not(self, timed: Any) -> None:
        made = [
            timed(TRAIN, 0, mode="train"),
            timed([0.01], 1, mode="infer"),
            timed([0.02], 2, mode="infer", threads=1),
        ]
        found = sweep([case_of(each) for each in made])
        assert (found.settings, [row.key for row in found.rows]) == (
            ["threads"],
            [("dense", "2"), ("dense", "1")],
        )
        assert [list(row.phases) for row in found.rows] == [[*TRAIN, "inference"], ["inference"]]
        assert found.phases == ["forward", "backward", "total", "inference"]
        assert found.wholes == ["total", "inference"]
        assert found.parts == ["forward", "loss", "backward"]

    def test_the_same_case_again_has_a_row_of_its_own(self, timed: Any) -> None:
        found = sweep([case_of(timed([time], order)) for order, time in enumerate((0.1, 0.2))])
        assert [row.key for row in found.rows] == [("dense",), ("dense",)]

    def test_a_row_says_how_its_cases_ended_and_how_far_they_are_off(self, timed: Any) -> None:
        check = Check(Correctness.SAME, 0.5, 0.0031, tolerance=0.02)
        made = [
            timed([0.1, None, None], 0, check=check),
            timed([None], 1, threads=1, error=(Status.OOM, "no memory")),
            timed([0.1], 2, engine="export", check=WRONG),
        ]
        found = sweep([case_of(each) for each in made])
        assert [row.statuses for row in found.rows] == [["ok, 2 of 3 rounds failed"], ["oom"], ["mismatch"]]
        assert [row.error for row in found.rows] == [0.0031, None, 0.25]
        assert (found.is_compared, found.has_gradients, found.is_unchecked) == (True, False, False)


class TestReport:
    """Each case is in one kind of report."""

    def test_one_case_is_no_sweep(self, timed: Any) -> None:
        found = report([case_of(timed([0.1]))])
        assert (found.layers, found.profiles, found.sweep, found.rankings) == (None, [], None, ())
        assert found.case is not None

    def test_alternatives_are_a_sweep_and_ranked(self, timed: Any) -> None:
        found = report([case_of(timed([0.1], 0)), case_of(timed([0.2], 1, threads=1))])
        assert found.case is None
        assert found.sweep is not None
        assert len(found.rankings) == 1

    def test_a_profile_is_neither(self, timed: Any) -> None:
        profile = case_of(timed([0.1], 1, mode="profile"))
        found = report([case_of(timed([0.1])), profile])
        assert found.profiles == [profile]
        assert found.case is not None
        assert found.sweep is None
