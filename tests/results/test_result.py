from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microbench.errors import UserError
from microbench.results.record import Check, Record, Verdict
from microbench.results.result import Result, load
from microbench.results.store import FILE_NAME, Store

MakeRecord = Callable[..., Record]


def result(*records: Record) -> Result:
    return Result(list(records), Path("records.jsonl"))


@pytest.fixture
def trained(record: MakeRecord) -> Result:
    """A result of one case, of which the loss could not be summarized."""
    return result(record("forward", 0.5), record("total", 2.0), record("loss", None))


def test_median_is_that_of_the_phase(trained: Result) -> None:
    assert trained.median("total") == 2.0


def test_median_is_that_of_the_rounds_medians(record: MakeRecord) -> None:
    rounds = [record("total", median, round=i, rounds=3) for i, median in enumerate([4.0, 1.0, 2.0])]
    assert result(*rounds).median("total") == 2.0


def test_median_of_a_phase_that_is_not_there_names_those_that_are(trained: Result) -> None:
    with pytest.raises(KeyError, match="phase 'inference' was not measured: measured phases: forward, total"):
        trained.median("inference")


def test_median_of_a_phase_that_was_not_summarized_is_an_error(trained: Result) -> None:
    with pytest.raises(KeyError, match="phase 'loss' was not measured: measured phases: forward, total"):
        trained.median("loss")


def test_median_of_several_cases_is_an_error_that_says_how_to_pick_one(record: MakeRecord) -> None:
    several = result(record("total", 1.0), record("total", 2.0, order=1))
    with pytest.raises(KeyError, match=r"2 cases: pick one of result\.cases\(\)"):
        several.median("total")
    assert [case.estimates["total"].median for case in several.cases()] == [1.0, 2.0]


def test_median_without_a_case_is_an_error() -> None:
    with pytest.raises(KeyError, match="0 cases"):
        result().median("total")


@pytest.mark.parametrize("phase", [None, "total"])
def test_median_of_a_failed_case_says_what_went_wrong(phase: str | None, record: MakeRecord) -> None:
    failed = result(record(phase, None, "error", error="it broke"))
    with pytest.raises(KeyError, match=r"phase 'total' was not measured: it broke"):
        failed.median("total")


def test_ok_where_every_case_ended_well(trained: Result) -> None:
    assert trained.ok


@pytest.mark.parametrize("status", ["oom", "error", "timeout"])
def test_not_ok_where_one_case_failed(status: str, record: MakeRecord) -> None:
    assert not result(record("total", 1.0), record(None, None, status, order=1)).ok


@pytest.mark.parametrize("status", ["oom", "error", "timeout"])
def test_not_ok_where_one_round_failed(status: str, record: MakeRecord) -> None:
    assert not result(record("total", 1.0), record(None, None, status, round=1)).ok


def test_ok_where_a_round_that_failed_was_measured_again(record: MakeRecord) -> None:
    failed = record(None, None, "error", started_at="before")
    assert result(failed, record("total", 1.0, started_at="again")).ok


def test_what_this_machine_cannot_run_is_no_failure(record: MakeRecord) -> None:
    skipped = record(None, None, "skipped", order=1)
    assert result(record("total", 1.0), skipped).ok
    assert not result(skipped).ok  # for nothing was measured


def test_not_ok_without_records() -> None:
    assert not result().ok


def test_cases_are_those_of_a_run_and_a_place_with_their_rounds(record: MakeRecord) -> None:
    first = [record("forward", 1.0), record("total", 2.0)]
    second = [record("inference", 1.0, order=1)]
    again = [record("forward", 1.0, round=1), record("total", 2.0, round=1)]
    elsewhere = [record("forward", 1.0, run_id="s")]
    cases = result(*second, *elsewhere, *first, *again).cases()
    assert [case.rounds for case in cases] == [{0: first, 1: again}, {0: second}, {0: elsewhere}]


def test_a_wrong_answer_has_no_median_that_counts_and_says_why(timed: Any) -> None:
    wrong = result(*timed([1.0], check=Check(Verdict.MISMATCH, reason="the output is off")))
    assert not wrong.ok
    with pytest.raises(KeyError, match="'inference' has no median that counts: the output is off"):
        wrong.median("inference")
    assert wrong.summary().empty
    assert wrong.to_frame()["median"].tolist() == [1.0]


def test_a_frame_has_a_row_a_series_and_a_column_a_field(trained: Result) -> None:
    frame = trained.to_frame()
    assert list(frame["phase"]) == ["forward", "total", "loss"]
    assert list(frame.columns) == list(trained.records[0])
    assert frame["median"].isna().tolist() == [False, False, True]
    assert frame.loc[frame["phase"] == "total", "median"].item() == 2.0


def test_a_summary_has_a_row_a_case_and_phase_with_what_its_rounds_say(record: MakeRecord) -> None:
    machine = {"host_id": "h", "env_cpu": "Some CPU", "env_torch": "2.9"}
    rounds = [
        record(phase, median * (1 + i), round=i, rounds=3, cfg_batch_size=8, peak_memory=i, **machine)
        for i in range(3)
        for phase, median in (("forward", 1.0), ("total", 2.0))
    ]
    other = record("inference", 4.0, order=1, case_id="d", cfg_batch_size=1, peak_memory=None, **machine)
    failed = record(None, None, "error", order=2, cfg_batch_size=2)
    frame = result(*rounds, other, failed).summary()
    assert list(frame.columns) == [
        "run_id",
        "case_id",
        "status",
        "cfg_batch_size",
        "phase",
        "median",
        "ci_low",
        "ci_high",
        "confidence",
        "spread",
        "rounds",
        "samples",
        "throughput",
        "peak_memory",
        "answer",
        "error_abs",
        "error_rel",
        "top1_agreement",
        "gradient_error",
        "warnings",
        *machine,
    ]
    assert frame["phase"].tolist() == ["forward", "total", "inference"]
    assert frame["case_id"].tolist() == ["c", "c", "d"]
    total = frame[frame["phase"] == "total"].iloc[0]
    assert (total["median"], total["ci_low"], total["ci_high"]) == (4.0, 2.0, 6.0)
    assert (total["confidence"], total["rounds"], total["samples"]) == (0.75, 3, 60)
    assert total["spread"] == 0.5
    assert (total["throughput"], total["peak_memory"], total["env_torch"]) == (2.0, 1.0, "2.9")
    assert frame["throughput"].isna().tolist() == [True, False, False]
    assert frame["spread"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("began", "command"),
    [
        ("python -m microbench doctor model=vgg16", "doctor"),
        ("/usr/bin/python3 -m microbench -m model=a,b", ""),
        ("python -m microbench model=doctor", ""),
        ("microbench doctor", "doctor"),
        (None, ""),
    ],
)
def test_the_command_that_began_a_run_is_known(began: str | None, command: str, record: MakeRecord) -> None:
    assert result(record("total", 1.0, run_command=began)).command == command


def stored(folder: Path, *records: Record) -> Path:
    with Store(folder) as store:
        store.append(records)
    return folder


def test_load_reads_a_file_or_its_folder(trained: Result, tmp_path: Path) -> None:
    stored(tmp_path, *trained.records)
    for place in (tmp_path, tmp_path / FILE_NAME, str(tmp_path)):
        loaded = load(place)
        assert loaded.records == trained.records
        assert loaded.path == tmp_path / FILE_NAME


def test_load_of_several_files_has_the_records_of_all_in_order(record: MakeRecord, tmp_path: Path) -> None:
    a = stored(tmp_path / "a", record("total", 1.0))
    b = stored(tmp_path / "b", record("total", 2.0, run_id="s"), record("total", 3.0, run_id="s", order=1))
    loaded = load([b, a / FILE_NAME])
    assert [each["median"] for each in loaded.records] == [2.0, 3.0, 1.0]
    assert [list(case.rounds) for case in loaded.cases()] == [[0], [0], [0]]
    assert [case.first["median"] for case in loaded.cases()] == [2.0, 3.0, 1.0]


def test_records_that_are_read_twice_count_once(record: MakeRecord, tmp_path: Path) -> None:
    found = [
        record(phase, 1.0, n_series=2, round=each) for each in range(2) for phase in ("forward", "total")
    ]
    a = stored(tmp_path / "a", *found)
    twice = stored(tmp_path / "twice", *found, *found)
    link = tmp_path / "link"
    link.symlink_to(a)
    for place in (twice, [a, a], [a, link], [a, a / FILE_NAME], [twice, a]):
        loaded = load(place)
        assert loaded.records == found
        (case,) = loaded.cases()
        assert {phase: each.rounds for phase, each in case.estimates.items()} == {"forward": 2, "total": 2}


def test_calls_of_a_profile_that_are_read_twice_count_once(record: MakeRecord, tmp_path: Path) -> None:
    calls = [
        record("inference", 1.0, metric=metric, layer_order=order, n_series=4)
        for metric in ("lat", "flops")
        for order in range(2)
    ]
    a = stored(tmp_path / "a", *calls)
    assert load([a, a]).records == calls


def test_alike_rounds_of_several_runs_and_machines_all_count(record: MakeRecord, tmp_path: Path) -> None:
    runs = [record("total", 1.0, run_id=run, host_id=host) for run in "rs" for host in "hi"]
    assert load(stored(tmp_path, *runs)).records == runs


def test_load_of_a_missing_file_is_the_users_mistake(record: MakeRecord, tmp_path: Path) -> None:
    stored(tmp_path / "a", record("total", 1.0))
    with pytest.raises(UserError, match=r"Cannot read .*missing"):
        load([tmp_path / "a", tmp_path / "missing"])


def test_a_json_object_that_is_no_record_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"schema_version":2,"run_id":"a"}\n')
    with pytest.raises(UserError, match=r"^Cannot read .*records\.jsonl: a record of it has no 'case_id'\.$"):
        load(path)


def test_a_profile_of_something_else_is_refused_in_one_line(trained: Result) -> None:
    with pytest.raises(UserError, match=r"^There is no profile: the case has another mode\.$"):
        trained.profile()
    with pytest.raises(UserError, match=r"^There is no case 3: give a place from 0 to 0\.$"):
        trained.profile(3)
    with pytest.raises(UserError, match=r"^There is no one profile: pick one of 0 cases by its place"):
        result().profile()
