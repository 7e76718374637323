"""The rows of a sweep."""

from __future__ import annotations

from typing import Any

from factory import told

from microbench.analysis.sweep import sweep
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Check, Correctness, Status
from microbench.verify.judging import Checked

TRAIN = {"forward": [0.01], "loss": [0.0001], "backward": [0.02], "total": [0.04]}
WRONG = Checked(Check(Correctness.MISMATCH, 0.5, 0.25, tolerance=0.02), "the output is off")


def case_of(made: Any) -> CaseResult:
    (case,) = cases_of(made)
    return case


def test_modes_share_a_row_and_settings_do_not(timed: Any) -> None:
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


def test_a_repeated_case_has_a_row_of_its_own(timed: Any) -> None:
    found = sweep([case_of(timed([time], order)) for order, time in enumerate((0.1, 0.2))])
    assert [row.key for row in found.rows] == [("dense",), ("dense",)]


def test_a_row_says_how_its_cases_ended_and_their_error(timed: Any) -> None:
    check = Check(Correctness.SAME, 0.5, 0.0031, tolerance=0.02)
    made = [
        timed([0.1, None, None], 0, check=check),
        timed([None], 1, threads=1, error=(Status.OOM, "no memory")),
        timed([0.1], 2, engine="export", check=WRONG),
    ]
    found = sweep([case_of(each) for each in made])
    assert [row.statuses for row in found.rows] == [["ok, 2 of 3 rounds failed"], ["oom"], ["mismatch"]]
    assert [row.error for row in found.rows] == [0.0031, None, 0.25]
    assert (found.references, found.has_gradients, found.is_unchecked) == (["eager fp32"], False, False)


def test_a_row_shows_what_was_sampled_before_an_interruption_as_such(timed: Any) -> None:
    begun = told(timed([0.1], 0), status=Status.INTERRUPTED)
    later = timed([0.2, None], 1, threads=1, error=(Status.INTERRUPTED, "Ctrl-C before the first sample"))
    found = sweep([case_of(each) for each in (begun, later)])
    assert [row.statuses for row in found.rows] == [["interrupted"], ["ok"]]
    assert [row.phases["inference"].estimate.median for row in found.rows] == [0.1, 0.2]
