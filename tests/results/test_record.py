from __future__ import annotations

import json
import math
from array import array
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from microbench.measure.summary import summarize
from microbench.results.record import (
    SCHEMA_VERSION,
    Caution,
    Check,
    Outcome,
    Readings,
    Series,
    Status,
    StopReason,
    Summary,
    Verdict,
    WarningCode,
    records_of,
    to_json,
    unverified,
    with_check,
)
from microbench.results.store import Store, read

IDENTITY = {
    "run_id": "r",
    "case_id": "c",
    "order": 0,
    "round": 0,
    "config": {"batch_size": 8},
    "cfg_mode": "train",
}
SAMPLES = array("d", [0.1, 0.2, 0.3, 0.4, 0.5, 1 / 3])
WARMUP = array("d", [2.5, 0.1])
STATE = {
    "peak_memory": 1024,
    "page_faults_per_call": 0.5,
    "involuntary_switches": 3,
    "cpu_utilization": 1.5,
}


def outcome() -> Outcome:
    return Outcome(
        series=(
            Series("total", "fake", SAMPLES, WARMUP, summary=summarize(SAMPLES)),
            Series(
                "prepare", "perf_counter_ns", array("d", [0.25]), summary=summarize([0.25]), sampled=False
            ),
            Series("forward", "fake", array("d", [0.5]), calls_per_sample=7),
        ),
        stop_reason=StopReason.REL_CI,
        cautions=(Caution(WarningCode.DRIFT, "it drifts"),),
        cost={"params": 10},
        state=STATE,
    )


def round_trip(found: Outcome, folder: Path) -> list[dict[str, object]]:
    with Store(folder) as store:
        store.append(records_of(found, IDENTITY))
    return read(folder)


def test_a_record_is_one_series_and_comes_back_as_it_was(tmp_path: Path) -> None:
    total, prepare, forward = round_trip(outcome(), tmp_path)
    assert total["samples"] == SAMPLES.tolist()  # to the last bit
    assert total["warmup"] == WARMUP.tolist()
    assert {key: total[key] for key in vars(summarize(SAMPLES))} == vars(summarize(SAMPLES))
    assert (total["phase"], total["metric"], total["unit"], total["clock"]) == ("total", "time", "s", "fake")
    assert (prepare["phase"], prepare["clock"], prepare["n"]) == ("prepare", "perf_counter_ns", 1)
    assert (forward["phase"], forward["calls_per_sample"]) == ("forward", 7)


def test_every_record_has_what_came_of_checking_the_answer(tmp_path: Path) -> None:
    check = Check(Verdict.SAME, 0.5, 0.25, 1.0, 0.125, 0.3, 0.4)
    for record in round_trip(with_check(outcome(), check), tmp_path):
        assert (record["status"], record["error"], record["answer"]) == ("ok", None, "same")
        assert (record["error_abs"], record["error_rel"], record["top1_agreement"]) == (0.5, 0.25, 1.0)
        assert (record["gradient_error"], record["tolerance"], record["gradient_tolerance"]) == (
            0.125,
            0.3,
            0.4,
        )


def test_an_error_without_bounds_is_null_in_the_file_and_before(tmp_path: Path) -> None:
    wrong = with_check(outcome(), Check(Verdict.MISMATCH, math.inf, math.inf, reason="it is not finite"))
    assert records_of(wrong, IDENTITY)[0]["error_rel"] is None
    record = round_trip(wrong, tmp_path)[0]
    assert (record["error_abs"], record["error_rel"]) == (None, None)
    assert (record["status"], record["error"], record["answer"]) == (
        "mismatch",
        "it is not finite",
        "mismatch",
    )
    assert record["samples"] == SAMPLES.tolist()


def test_an_answer_that_cannot_be_told_is_a_warning() -> None:
    (record, *_) = records_of(with_check(outcome(), Check(Verdict.UNCLEAR, reason="why not")), IDENTITY)
    assert (record["status"], record["answer"]) == ("ok", "unclear")
    assert record["warnings"][-1] == {"code": "unverified", "message": "why not"}


def test_an_answer_that_could_not_be_checked_is_a_warning_that_says_how_to_do_without() -> None:
    (record, *_) = records_of(unverified(outcome(), "no memory"), IDENTITY)
    assert (record["status"], record["answer"], len(record["warnings"])) == ("ok", None, 2)
    assert record["warnings"][-1]["message"] == "no memory; verify=false leaves the check out"


def test_records_of_a_case_share_what_is_the_cases(tmp_path: Path) -> None:
    for record in round_trip(outcome(), tmp_path):
        assert record["schema_version"] == SCHEMA_VERSION
        assert (record["status"], record["error"], record["traceback"]) == ("ok", None, None)
        assert record["n_series"] == 3
        assert record["warnings"] == [{"code": "drift", "message": "it drifts"}]
        assert record["params"] == 10
        assert {key: record[key] for key in IDENTITY} == IDENTITY


def test_only_series_that_were_sampled_have_a_stop_reason_and_a_state(tmp_path: Path) -> None:
    total, prepare, forward = round_trip(outcome(), tmp_path)
    for sampled in (total, forward):
        assert sampled["stop_reason"] == "rel_ci"
        assert {key: sampled[key] for key in STATE} == STATE
    assert prepare["stop_reason"] is None
    assert {key: prepare[key] for key in STATE} == dict.fromkeys(STATE)


def test_a_state_that_is_not_known_is_null(tmp_path: Path) -> None:
    found = replace(outcome(), state={"peak_memory": 0, "cpu_utilization": None})
    total, *_ = round_trip(found, tmp_path)
    assert {key: total[key] for key in STATE} == dict.fromkeys(STATE) | {"peak_memory": 0}
    assert {total[each.name] for each in fields(Readings)} == {None}


@pytest.mark.parametrize("n", [0, 1, 3])
def test_each_record_says_how_many_series_its_case_has(n: int) -> None:
    records = records_of(replace(outcome(), series=outcome().series[:n]), IDENTITY)
    assert [record["n_series"] for record in records] == [n] * max(1, n)


def test_samples_without_a_summary_are_kept_and_every_statistic_is_null(tmp_path: Path) -> None:
    record = round_trip(outcome(), tmp_path)[2]
    assert record["samples"] == [0.5]
    assert record["n"] == 1
    assert all(record[name] is None for name in Summary.__dataclass_fields__ if name != "n")


def test_a_failed_case_without_series_is_one_record_without_a_phase(tmp_path: Path) -> None:
    failed = Outcome(Status.OOM, error="out of memory", traceback="Traceback …")
    (record,) = round_trip(failed, tmp_path)
    assert (record["status"], record["error"], record["traceback"]) == ("oom", "out of memory", "Traceback …")
    assert (record["phase"], record["clock"], record["stop_reason"], record["median"]) == (None,) * 4
    assert (record["samples"], record["warmup"], record["warnings"]) == ([], [], [])


def test_every_series_of_a_case_has_the_same_keys() -> None:
    assert len({tuple(record) for record in records_of(outcome(), IDENTITY)}) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_is_not_finite_becomes_null_wherever_it_is(value: float) -> None:
    record = {"a": value, "b": [value, 1.5], "c": {"d": (value,)}, "samples": array("d", [value, 2.0])}
    line = to_json(record)
    assert json.loads(line) == {"a": None, "b": [None, 1.5], "c": {"d": [None]}, "samples": [None, 2.0]}
    assert "NaN" not in line
    assert "Infinity" not in line


def test_a_record_is_one_line_whatever_its_texts_hold() -> None:
    line = to_json({"error": "two\nlines\u2028and\x85more"})
    assert line.splitlines() == [line]
    assert json.loads(line) == {"error": "two\nlines\u2028and\x85more"}


@pytest.mark.parametrize(
    ("median", "low", "high", "half_width"),
    [(2.0, 1.5, 2.5, 0.25), (2.0, None, None, None), (0.0, 0.0, 1.0, None)],
)
def test_half_width_is_a_share_of_the_median_and_unknown_without_one(
    median: float, low: float | None, high: float | None, half_width: float | None
) -> None:
    summary = replace(summarize(SAMPLES), median=median, ci_low=low, ci_high=high)
    assert summary.half_width == half_width
