"""The cache of journals: what it gives is what they hold, and nothing that happens to it does harm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factory import BUSY, configured, machine_of, record_of, series_of
from msgspec.structs import replace

from microbench.errors import UserError
from microbench.records import cache
from microbench.records.record import Call, Kind, Outcome, Role, RoundRecord, Status, encode
from microbench.records.result import Result, load


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the entries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "microbench" / "records"


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals, however small, are read by several processes."""
    monkeypatch.setattr(cache, "ALONE", 0)
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda _: {0, 1})


def rounds() -> list[RoundRecord]:
    """Return rounds of all kinds: measured, of one phase or none, failed, profiled, on another's device."""
    call = Call(
        name="a", index=0, order=1, depth=1, kind=Kind.MODULE, type="Linear", flops=7, times=[0.5, 0.6]
    )
    once = series_of("prepare", [0.1], role=Role.ONCE)
    return [
        record_of({"forward": 1.0, "total": [2.0, 2.5, 3.0], "prepare": once}, configured(mode="train")),
        record_of({"inference": 1.5}, configured(batch_size=4, precision="bf16"), order=1, readings=BUSY),
        record_of(order=2, outcome=Outcome(status=Status.ERROR, error="ünable", traceback="a\nb")),
        record_of({"inference": 2.0}, configured(mode="profile"), order=3, calls=[call]),
        record_of({"inference": 3.0}, order=4, machine=machine_of(load_average=1.25, extra={"fans": 2})),
    ]


def written(path: Path, *records: RoundRecord) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(encode(each) + b"\n" for each in records))
    return path


def frame_of(records: list[RoundRecord]) -> pd.DataFrame:
    return Result(records, Path()).to_frame()


def test_a_frame_is_the_same_from_records_journals_and_cache(tmp_path: Path, home: Path) -> None:
    written(tmp_path / "run" / "records.jsonl", *rounds())
    expected = frame_of(rounds())
    assert expected["env_load_average"].dropna().tolist() == [1.25]
    for _ in range(2):
        pd.testing.assert_frame_equal(load(tmp_path / "run").to_frame(), expected)
        assert len(list(home.iterdir())) == 1


def test_several_processes_read_the_same_in_the_same_order(
    tmp_path: Path, several: None, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [replace(each, round=turn) for turn in range(6) for each in rounds()]
    for turn in range(6):
        written(tmp_path / f"run{turn}" / "records.jsonl", *found[5 * turn : 5 * turn + 5])
    with (tmp_path / "run2" / "records.jsonl").open("ab") as file:
        file.write(b'{"torn')
    written(tmp_path / "run3" / "empty" / "records.jsonl")
    result = load(tmp_path)
    for _ in range(2):
        pd.testing.assert_frame_equal(result.to_frame(), frame_of(found))
        assert "run2/records.jsonl: skipped 1 line that is not a record\n" in capsys.readouterr().err


def test_one_large_journal_is_divided_at_its_lines_without_a_cache_too(
    tmp_path: Path, several: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    found = [replace(each, round=number) for number in range(20) for each in rounds()]
    path = written(tmp_path / "records.jsonl", *found)
    pd.testing.assert_frame_equal(load(tmp_path).to_frame(), frame_of(found))
    with path.open("ab") as file:
        file.write(b'{"schema_version":4}\n')
    with pytest.raises(UserError, match=r"schema_version 4, and this microbench reads 3: update microbench"):
        load(path).to_frame()


def test_a_round_that_was_read_twice_is_there_once(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", *rounds(), *rounds())
    written(tmp_path / "b.jsonl", *rounds())
    found = load([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    pd.testing.assert_frame_equal(found.to_frame(), frame_of(rounds()))


def test_a_changed_journal_is_read_again_and_its_old_entry_removed(tmp_path: Path, home: Path) -> None:
    path = written(tmp_path / "records.jsonl", *rounds()[:1])
    before = len(load(path).to_frame())
    (entry,) = home.iterdir()
    with path.open("ab") as file:
        file.write(encode(rounds()[1]) + b"\n")
    assert len(load(path).to_frame()) == before + 1
    assert [each.name for each in home.iterdir()] != [entry.name]
    assert len(list(home.iterdir())) == 1


def test_a_journal_written_anew_is_read_again_though_its_size_and_time_are_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "records.jsonl", record_of({"inference": 1.5}))
    assert load(path).to_frame()["median"].tolist() == [1.5]
    state = path.stat()
    written(path, record_of({"inference": 2.5}))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert load(path).to_frame()["median"].tolist() == [2.5]


def test_an_entry_that_another_process_removes_is_passed_over(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "records.jsonl", *rounds())
    home.mkdir(parents=True)
    listed = Path.iterdir

    def gone(folder: Path) -> Iterator[Path]:
        yield from listed(folder)
        if folder == home:
            yield folder / "new-gone"

    monkeypatch.setattr(Path, "iterdir", gone)
    pd.testing.assert_frame_equal(load(path).to_frame(), frame_of(rounds()))


def test_the_processes_run_nothing_of_the_working_folder(
    tmp_path: Path, several: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "run" / "records.jsonl", *rounds())
    (tmp_path / "random.py").write_text("open('executed', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "_fill_here", None)  # the processes read all
    pd.testing.assert_frame_equal(load("run").to_frame(), frame_of(rounds()))
    assert not Path("executed").exists()


def test_no_process_is_left_when_another_cannot_be_started(
    tmp_path: Path, several: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "records.jsonl", *rounds())
    real, started = subprocess.Popen, list[Any]()

    def second_fails(command: list[str], **more: Any) -> Any:
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(real([command[0], "-c", "import time; time.sleep(600)"], **more))
        return started[0]

    monkeypatch.setattr(cache.subprocess, "Popen", second_fails)
    pd.testing.assert_frame_equal(load(path).to_frame(), frame_of(rounds()))
    assert [each.returncode for each in started] == [-signal.SIGKILL]


def cut(entry: Path) -> None:
    file = entry / "0.series.parquet"
    file.write_bytes(file.read_bytes()[:100])


def corrupted(entry: Path) -> None:
    (entry / "meta.json").write_text("{}")


def emptied(entry: Path) -> None:
    for each in entry.iterdir():
        each.unlink()


@pytest.mark.parametrize("damage", [cut, corrupted, emptied, shutil.rmtree])
def test_a_damaged_entry_is_made_anew(damage: Callable[[Path], None], tmp_path: Path, home: Path) -> None:
    path = written(tmp_path / "records.jsonl", *rounds())
    expected = load(path).to_frame()
    (entry,) = home.iterdir()
    damage(entry)
    for _ in range(2):
        pd.testing.assert_frame_equal(load(path).to_frame(), expected)
    assert (entry / "0.series.parquet").stat().st_size > 100


def test_without_a_cache_folder_there_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "records.jsonl", *rounds())
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    pd.testing.assert_frame_equal(load(path).to_frame(), frame_of(rounds()))


def test_the_longest_unused_entries_make_room(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [written(tmp_path / f"{each}.jsonl", *rounds()) for each in "abc"]
    load(paths[0]).to_frame()
    (entry,) = home.iterdir()
    size = sum(each.stat().st_size for each in entry.iterdir())
    monkeypatch.setattr(cache, "LARGEST", 2.5 * size)
    for path in paths:
        load(path).to_frame()
    left = {each.name for each in home.iterdir()}
    assert len(left) == 2
    assert entry.name not in left


def test_records_of_a_newer_schema_are_refused_wherever_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "records.jsonl", *rounds())
    with path.open("ab") as file:
        file.write(b'{"schema_version":4}\n')
    with pytest.raises(UserError, match=r"schema_version 4, and this microbench reads 3: update microbench"):
        load(path).to_frame()
    with pytest.raises(UserError, match=r"update microbench"):
        load(path).cases()


def test_some_columns_are_those_of_the_whole_frame(tmp_path: Path) -> None:
    written(tmp_path / "records.jsonl", *rounds())
    result = load(tmp_path)
    names = ["phase", "cfg_batch_size", "median", "env_fans"]
    pd.testing.assert_frame_equal(result.to_frame(names), result.to_frame()[names])
    with pytest.raises(UserError, match=r"^Unknown column 'medain'\. Did you mean median"):
        result.to_frame(["medain"])


@pytest.mark.parametrize(
    "place", ["out/**", "out", "out/*", "out/r*", "out/*/*.jsonl", "out/**/records.jsonl"]
)
def test_journals_are_found_at_any_depth(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("out/r1/records.jsonl"), rounds()[0])
    written(Path("out/r2/records.jsonl"), rounds()[1])
    Path("out/r2/notes.txt").write_text("no record")
    assert [each.case.order for each in load(place).records] == [0, 1]


def test_a_folder_without_records_is_the_users_mistake(tmp_path: Path) -> None:
    for place in (tmp_path, f"{tmp_path}/**"):
        with pytest.raises(UserError, match=r"^No records in .*: no file there is called records\.jsonl\.$"):
            load(place)
