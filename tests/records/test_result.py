from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory import configured, machine_of, record_of

import microbench.api
from microbench.errors import UserError
from microbench.records.cases import RAN_ON
from microbench.records.record import (
    Call,
    Check,
    Correctness,
    Kind,
    Outcome,
    RoundRecord,
    RunInfo,
    Series,
    Status,
)
from microbench.records.result import Result, load
from microbench.records.store import FILE_NAME, Store
from microbench.verify.judging import Checked

MakeRecord = Callable[..., RoundRecord]


def result(*records: RoundRecord) -> Result:
    return Result(list(records), Path("records.jsonl"))


@pytest.fixture
def trained(record: MakeRecord) -> Result:
    """A result of one case, of which the loss could not be summarized."""
    return result(record_of({"forward": 0.5, "total": 2.0, "loss": Series("loss", "fake", [0.5])}))


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


def test_a_result_is_ok_if_every_case_ended_well(trained: Result) -> None:
    assert trained.ok


@pytest.mark.parametrize("status", ["oom", "error", "timeout"])
def test_a_result_is_not_ok_if_one_case_failed(status: str, record: MakeRecord) -> None:
    assert not result(record("total", 1.0), record(None, None, status, order=1)).ok


@pytest.mark.parametrize("status", ["oom", "error", "timeout"])
def test_a_result_is_not_ok_if_one_round_failed(status: str, record: MakeRecord) -> None:
    assert not result(record("total", 1.0), record(None, None, status, round=1)).ok


def test_ok_where_a_round_that_failed_was_measured_again(record: MakeRecord) -> None:
    failed = record(None, None, "error", started_at="before")
    assert result(failed, record("total", 1.0, started_at="again")).ok


def test_what_this_machine_cannot_run_is_no_failure(record: MakeRecord) -> None:
    skipped = record(None, None, "skipped", order=1)
    assert result(record("total", 1.0), skipped).ok
    assert not result(skipped).ok  # for nothing was measured


def test_a_result_without_records_is_not_ok() -> None:
    assert not result().ok


def test_cases_are_those_of_a_run_and_a_place_with_their_rounds(record: MakeRecord) -> None:
    first, again = record("total", 1.0), record("total", 2.0, round=1)
    second, elsewhere = record("inference", 1.0, order=1), record("forward", 1.0, run="s")
    cases = result(second, elsewhere, first, again).cases()
    assert [case.rounds for case in cases] == [{0: first, 1: again}, {0: second}, {0: elsewhere}]


def test_a_wrong_answer_has_no_median_that_counts_and_says_why(timed: Any) -> None:
    wrong = result(*timed([1.0], check=Checked(Check(Correctness.MISMATCH), "the output is off")))
    assert not wrong.ok
    with pytest.raises(KeyError, match="'inference' has no median that counts: the output is off"):
        wrong.median("inference")
    assert wrong.summary().empty
    assert wrong.to_frame()["median"].tolist() == [1.0]


def test_a_frame_has_one_row_per_series_and_one_column_per_field(trained: Result) -> None:
    frame = trained.to_frame()
    assert list(frame["phase"]) == ["forward", "total", "loss"]
    assert not frame.columns.duplicated().any()
    assert frame["median"].isna().tolist() == [False, False, True]
    assert frame.loc[frame["phase"] == "total", "median"].item() == 2.0


def test_every_column_of_a_frame_is_there_whatever_was_found(trained: Result) -> None:
    failed = result(record_of(outcome=Outcome(status=Status.ERROR, error="it broke")))
    assert list(failed.to_frame().columns) == list(trained.to_frame().columns)


def test_a_frame_has_the_columns_that_analyses_are_written_against(trained: Result) -> None:
    columns = set(trained.to_frame().columns)
    assert {
        "run_id",
        "case_id",
        "host_id",
        "order",
        "round",
        "turn",
        "status",
        "error",
        "warnings",
    } <= columns
    assert {"phase", "metric", "unit", "clock", "samples", "warmup", "n", "median", "ci_low"} <= columns
    assert {"peak_memory", "joules", "foreign_cpus", "stop_reason", "answer", "error_rel"} <= columns
    assert {"cfg_model", "cfg_batch_size", "cfg_input_shape", "cfg_cold_cache", "config"} <= columns
    assert {"env_cpu", "env_torch", "env_threads", "env_allocator", "env_engine", "env_peaks"} <= columns
    assert {"layer", "layer_index", "layer_order", "layer_kind", "layer_count"} <= columns


def test_the_calls_of_a_profile_are_rows_of_a_frame_too() -> None:
    call = Call(
        name="a",
        index=0,
        order=1,
        depth=1,
        kind=Kind.MODULE,
        type="Linear",
        flops=7,
        backward=14,
        times=[0.5],
    )
    frame = result(record_of({"inference": 2.0}, configured(mode="profile"), calls=[call])).to_frame()
    found = frame[["phase", "metric", "unit", "median", "layer", "layer_order"]].astype(object)
    assert found.where(found.notna(), None).to_numpy().tolist() == [
        ["inference", "time", "s", 2.0, None, None],
        ["inference", "flops", "FLOP", 7.0, "a", 1.0],
        ["backward", "flops", "FLOP", 14.0, "a", 1.0],
        ["inference", "lat", "s", 0.5, "a", 1.0],
    ]


def test_a_summary_has_a_row_a_case_and_phase_with_what_its_rounds_say() -> None:
    rounds = [
        record_of(
            {"forward": 1.0 + i, "total": 2.0 * (1 + i)},
            configured(mode="train", batch_size=8),
            round=i,
            peak_memory=i,
        )
        for i in range(3)
    ]
    other = record_of({"inference": 4.0}, configured(batch_size=1), order=1)
    failed = record_of(order=2, outcome=Outcome(status=Status.ERROR))
    frame = result(*rounds, other, failed).summary()
    ends = [name for name in frame.columns if not name.startswith("cfg_")]
    assert ends == [
        "run_id",
        "case_id",
        "status",
        "phase",
        "median",
        "ci_low",
        "ci_high",
        "confidence",
        "spread",
        "rounds",
        "samples",
        "calls_per_sample",
        *(
            f"{name}{end}"
            for name in ("p50", "p90", "p95", "p99", "p99_9")
            for end in ("", "_ci_low", "_ci_high")
        ),
        "throughput",
        "item",
        "peak_memory",
        "answer",
        "error_abs",
        "error_rel",
        "top1_agreement",
        "gradient_error",
        "warnings",
        "host_id",
        *(f"env_{name}" for name in RAN_ON),
    ]
    assert frame["phase"].tolist() == ["forward", "total", "inference"]
    total = frame[frame["phase"] == "total"].iloc[0]
    assert (total["median"], total["ci_low"], total["ci_high"]) == (4.0, 2.0, 6.0)
    assert (total["confidence"], total["rounds"], total["samples"]) == (0.75, 3, 60)
    assert total["spread"] == 0.5
    assert (total["throughput"], total["peak_memory"], total["env_torch"]) == (2.0, 1.0, "2.11")
    assert frame["throughput"].isna().tolist() == [True, False, False]
    assert frame["spread"].isna().tolist() == [False, False, True]


def test_the_command_that_began_a_run_is_known() -> None:
    assert result(record_of(run=RunInfo(id="r", command="doctor"))).command == "doctor"
    assert result(record_of()).command == result().command == ""


def stored(folder: Path, *records: RoundRecord) -> Path:
    with Store(folder) as store:
        for record in records:
            store.append(record)
    return folder


def test_load_reads_a_file_or_its_folder(trained: Result, tmp_path: Path) -> None:
    stored(tmp_path, *trained.records)
    for place in (tmp_path, tmp_path / FILE_NAME, str(tmp_path)):
        loaded = load(place)
        assert loaded.records == trained.records
        assert loaded.path == tmp_path / FILE_NAME


def test_load_of_several_files_has_the_records_of_all_in_order(record: MakeRecord, tmp_path: Path) -> None:
    a = stored(tmp_path / "a", record("total", 1.0))
    b = stored(tmp_path / "b", record("total", 2.0, run="s"), record("total", 3.0, run="s", order=1))
    loaded = load([b, a / FILE_NAME])
    assert [list(case.rounds) for case in loaded.cases()] == [[0], [0], [0]]
    assert [case.estimates["total"].median for case in loaded.cases()] == [2.0, 3.0, 1.0]


def test_records_that_are_read_twice_count_once(record: MakeRecord, tmp_path: Path) -> None:
    found = [record_of({"forward": 1.0, "total": 1.0}, round=each) for each in range(2)]
    a = stored(tmp_path / "a", *found)
    twice = stored(tmp_path / "twice", *found, *found)
    link = tmp_path / "link"
    link.symlink_to(a)
    for place in (twice, [a, a], [a, link], [a, a / FILE_NAME], [twice, a]):
        loaded = load(place)
        assert loaded.records == found
        (case,) = loaded.cases()
        assert {phase: each.rounds for phase, each in case.estimates.items()} == {"forward": 2, "total": 2}


def test_of_a_round_that_occurs_twice_the_first_counts_in_records_and_tables(tmp_path: Path) -> None:
    loaded = load(stored(tmp_path, record_of({"total": 1.0}), record_of({"total": 2.0})))
    assert [each.series[0].summary.median for each in loaded.records if each.series[0].summary] == [1.0]
    assert list(loaded.to_frame()["median"]) == [1.0]


@pytest.mark.parametrize("first", ["records", "tables"])
def test_a_result_stays_what_it_was_while_a_run_appends(first: str, tmp_path: Path) -> None:
    stored(tmp_path, record_of({"total": 1.0}, round=0))
    loaded = load(tmp_path)
    if first == "tables":
        assert len(loaded.to_frame()) == 1
    else:
        assert len(loaded.records) == 1
    stored(tmp_path, record_of({"total": 1.0}, round=1))
    assert (len(loaded.records), len(loaded.to_frame())) == (1, 1)
    assert (len(load(tmp_path).records), len(load(tmp_path).to_frame())) == (2, 2)


def test_alike_rounds_of_several_runs_and_machines_all_count(record: MakeRecord, tmp_path: Path) -> None:
    runs = [record("total", 1.0, run=run, machine=machine_of(host_id=host)) for run in "rs" for host in "hi"]
    assert load(stored(tmp_path, *runs)).records == runs


def test_load_of_a_missing_file_is_the_users_mistake(record: MakeRecord, tmp_path: Path) -> None:
    stored(tmp_path / "a", record("total", 1.0))
    with pytest.raises(UserError, match=r"Cannot read .*missing"):
        load([tmp_path / "a", tmp_path / "missing"])


def test_a_json_object_that_is_no_record_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"schema_version":3,"run":{"id":"a"}}\n')
    with pytest.raises(UserError, match=r"^Cannot read .*: no line of it is a record \(.* field `case`\)"):
        load(path)


def test_a_profile_of_something_else_is_refused_in_one_line(trained: Result) -> None:
    found = microbench.api.Result(**vars(trained))
    with pytest.raises(UserError, match=r"^There is no profile: the case has another mode\.$"):
        found.profile()
    with pytest.raises(UserError, match=r"^There is no case 3: give a place from 0 to 0\.$"):
        found.profile(3)
    with pytest.raises(UserError, match=r"^There is no one profile: pick one of 0 cases by its place"):
        microbench.api.Result([], Path()).profile()


def test_a_run_that_was_no_search_says_so(timed: Any) -> None:
    with pytest.raises(UserError, match=r"^This run was no search: \+experiment=fastest is one\.$"):
        microbench.api.Result(timed([1.0]), Path()).search()
