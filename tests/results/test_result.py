from __future__ import annotations

from pathlib import Path

import pytest

from microbench.errors import UserError
from microbench.results.result import Record, Result, load
from microbench.results.store import FILE_NAME, Store


def record(phase: str | None, median: float | None, status: str = "ok", **identity: object) -> Record:
    shared: Record = {"run_id": "r", "order": 0, "round": 0, "status": status, "error": None}
    return shared | {"phase": phase, "median": median} | identity


def result(*records: Record) -> Result:
    return Result(list(records), Path("records.jsonl"))


TRAINED = result(record("forward", 0.5), record("total", 2.0), record("loss", None))


def test_median_is_that_of_the_phase() -> None:
    assert TRAINED.median("total") == 2.0


def test_median_of_a_phase_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(KeyError, match="0 series of phase 'inference'; measured phases: forward, total"):
        TRAINED.median("inference")


def test_median_of_a_phase_that_was_not_summarized_is_an_error() -> None:
    with pytest.raises(KeyError, match="phase 'loss'; measured phases: forward, total"):
        TRAINED.median("loss")


def test_median_of_several_cases_is_an_error() -> None:
    with pytest.raises(KeyError, match="2 series of phase 'total'"):
        result(record("total", 1.0), record("total", 2.0, order=1)).median("total")


@pytest.mark.parametrize("phase", [None, "total"])
def test_median_of_a_failed_case_says_what_went_wrong(phase: str | None) -> None:
    failed = result(record(phase, None, "error", error="it broke"))
    with pytest.raises(KeyError, match=r"phase 'total' was not measured: it broke"):
        failed.median("total")


def test_ok_where_every_case_ended_well() -> None:
    assert TRAINED.ok


@pytest.mark.parametrize("status", ["oom", "error", "timeout"])
def test_not_ok_where_one_case_failed(status: str) -> None:
    assert not result(record("total", 1.0), record(None, None, status, order=1)).ok


def test_not_ok_without_records() -> None:
    assert not result().ok


def test_cases_are_the_records_of_one_run_case_and_round() -> None:
    first = [record("forward", 1.0), record("total", 2.0)]
    second = [record("inference", 1.0, order=1)]
    again = [record("forward", 1.0, round=1), record("total", 2.0, round=1)]
    elsewhere = [record("forward", 1.0, run_id="s")]
    assert result(*first, *elsewhere, *second, *again).cases() == [first, elsewhere, second, again]


def test_a_frame_has_a_row_a_series_and_a_column_a_field() -> None:
    frame = TRAINED.to_frame()
    assert list(frame["phase"]) == ["forward", "total", "loss"]
    assert list(frame.columns) == list(TRAINED.records[0])
    assert frame["median"].isna().tolist() == [False, False, True]
    assert frame.loc[frame["phase"] == "total", "median"].item() == 2.0


def stored(folder: Path, *records: Record) -> Path:
    with Store(folder) as store:
        store.append(records)
    return folder


def test_load_reads_a_file_or_its_folder(tmp_path: Path) -> None:
    stored(tmp_path, *TRAINED.records)
    for place in (tmp_path, tmp_path / FILE_NAME, str(tmp_path)):
        loaded = load(place)
        assert loaded.records == TRAINED.records
        assert loaded.path == tmp_path / FILE_NAME


def test_load_of_several_files_has_the_records_of_all_in_order(tmp_path: Path) -> None:
    a = stored(tmp_path / "a", record("total", 1.0))
    b = stored(tmp_path / "b", record("total", 2.0, run_id="s"), record("total", 3.0, run_id="s", order=1))
    loaded = load([b, a / FILE_NAME])
    assert [each["median"] for each in loaded.records] == [2.0, 3.0, 1.0]
    assert [len(case) for case in loaded.cases()] == [1, 1, 1]


def test_load_of_a_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    stored(tmp_path / "a", record("total", 1.0))
    with pytest.raises(UserError, match=r"Cannot read .*missing"):
        load([tmp_path / "a", tmp_path / "missing"])
