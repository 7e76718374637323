"""What a report shows of a case: its phases, how it was measured, its intervals."""

from __future__ import annotations

from typing import Any

import pytest
from factory import told

from microbench.analysis.case import Facts, Interval, case_report, intervals, phase_times, shown
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Check, Correctness, StopReason
from microbench.verify.judging import Checked

TRAIN = {"forward": [0.01], "loss": [0.0001], "backward": [0.02], "total": [0.04]}
WRONG = Checked(Check(Correctness.MISMATCH, 0.5, 0.25, tolerance=0.02), "the output is off")


def case_of(made: Any) -> CaseResult:
    (case,) = cases_of(made)
    return case


def test_phases_have_their_rate_and_memory(timed: Any) -> None:
    times = phase_times(case_of(told(timed(TRAIN, mode="train", batch_size=8), peak_memory=100)))
    assert shown(times) == ["forward", "backward", "total"], "the loss is too short to matter"
    assert times["total"].rate == pytest.approx(200)
    assert (times["forward"].rate, times["forward"].memory) == (None, 100)


def test_a_wrong_answer_makes_phases_invalid_without_a_rate(timed: Any) -> None:
    (time,) = phase_times(case_of(timed([0.1], check=WRONG))).values()
    assert (time.estimate.median, time.is_valid, time.rate) == (0.1, False, None)


def test_facts_say_how_a_case_was_measured(timed: Any) -> None:
    made = timed({"inference": [0.1, 0.1], "prepare": [2.0, 2.0], "first_call": [1.0, 1.0]})
    assert case_report(case_of(made)).facts == Facts(
        2, None, 1, {StopReason.REL_CI: 2}, 0, prepare=2.0, first_call=1.0
    )
    assert case_report(case_of(timed([None]))).facts == Facts(0)


def test_intervals_are_distinguished_by_their_confidence(timed: Any) -> None:
    made = [timed([0.01] * rounds, order) for order, rounds in enumerate((1, 10, 3, 6))]
    assert intervals([case_of(each) for each in made]) == [
        Interval(0.75, 3, 3),
        Interval(0.95, 6, 10),
        Interval(0.95, 1, 1),
    ]
