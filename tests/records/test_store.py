from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from factory import record_of
from msgspec.structs import replace

from microbench.errors import UserError
from microbench.records.record import SCHEMA_VERSION, RoundRecord, encode
from microbench.records.store import FILE_NAME, Store, read, readable

ADVICE = "Give another folder: hydra.run.dir=DIR."


def line(i: int) -> RoundRecord:
    """Return a record, as short as one can be."""
    return record_of(order=i)


def text(i: int) -> bytes:
    """Return that record as written."""
    return encode(line(i)) + b"\n"


def other(version: object) -> bytes:
    """Return a line of another version of the schema."""
    return json.dumps({"schema_version": version, "i": 0}).encode() + b"\n"


def written(folder: Path, *records: RoundRecord) -> Path:
    with Store(folder) as store:
        for record in records:
            store.append(record)
    return store.path


def test_records_of_several_appends_are_read_in_order(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for i in range(3):
            store.append(line(i))
        assert read(store.path) == [line(0), line(1), line(2)]  # before it is left: on the disk at once


def test_a_store_of_a_folder_that_has_records_adds_to_them(tmp_path: Path) -> None:
    written(tmp_path, line(0))
    written(tmp_path, line(1))
    assert read(tmp_path) == [line(0), line(1)]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = written(tmp_path / "a" / "b", line(0))
    assert path == tmp_path / "a" / "b" / FILE_NAME
    assert read(tmp_path / "a" / "b") == [line(0)]


def test_each_record_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, line(0), line(1))
    assert path.read_bytes() == text(0) + text(1)
    assert text(0).startswith(b'{"schema_version":3,')


def test_a_torn_last_line_is_left_out_and_the_whole_records_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, line(0), line(1))
    path.write_bytes(path.read_bytes() + b'{"i":2,"sam')
    assert read(path) == [line(0), line(1)]


def test_a_torn_last_line_is_kept_apart_from_what_is_written_next(tmp_path: Path) -> None:
    path = written(tmp_path, line(0))
    path.write_bytes(path.read_bytes() + b'{"i":1,"sam')
    written(tmp_path, line(2))
    assert path.read_bytes() == text(0) + b'{"i":1,"sam\n' + text(2)
    assert read(path) == [line(0), line(2)]


def test_lines_that_are_no_objects_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"3\n\n" + text(0) + b"[1]\nnull\n")
    assert read(path) == [line(0)]


@pytest.mark.parametrize("version", [None, [3]])
def test_foreign_lines_are_skipped_and_counted(
    version: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(other(version) + text(0) + b'{"schema_version":3,"run":{}}\n\n' + text(1)[:40] + b"\n")
    assert read(path) == [line(0)]
    assert capsys.readouterr().err == f"microbench: {path}: skipped 3 lines that are not records\n"


def test_a_file_of_foreign_objects_is_the_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(other(None))
    with pytest.raises(UserError, match=r"no line of it is a record \(its objects have no schema_version\)"):
        read(path)


def test_a_line_longer_than_any_record_is_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microbench.records.store.BLOCK", 1 << 10)
    monkeypatch.setattr("microbench.records.store.LONGEST", 1 << 20)
    path = tmp_path / "zeros.bin"
    path.write_bytes(bytes(1 << 22))
    with pytest.raises(UserError, match=r"no line of it is a record \(one is longer than 1 MiB\)"):
        read(path)


@pytest.mark.parametrize("text", ["not json\n", "3\n[4]\n"])
def test_a_file_without_any_record_is_the_users_mistake(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"Cannot read .*other\.txt: no line of it is a record"):
        read(path)


def test_a_binary_file_is_the_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\xff\xfe\n")
    with pytest.raises(UserError, match=r"Cannot read .*image\.png: no line of it is a record"):
        read(path)


def test_an_empty_file_holds_no_records(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.touch()
    assert read(path) == []


def test_a_line_that_a_crash_cut_short_holds_no_records_where_it_is_the_only_one(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(text(0)[:-8])
    assert read(path) == []


@pytest.mark.parametrize("others", [[2], [1], [4]])
def test_records_of_another_version_of_the_schema_are_refused_in_one_line(
    others: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(text(0) + b"".join(map(other, others)))
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == f"Cannot read {path}: {strange(others[0])}."


def strange(version: int) -> str:
    """Return the error's text for records of that version."""
    remedy = (
        "an older microbench wrote them: measure again, or read them with that version"
        if version < SCHEMA_VERSION
        else "update microbench to read them"
    )
    return f"its records have schema_version {version}, and this microbench reads 3: {remedy}"


@pytest.mark.parametrize("others", [[2], [4]])
def test_nothing_is_added_to_records_of_another_version_of_the_schema(
    others: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"".join(map(other, others)))
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        Store(tmp_path)
    assert str(caught.value) == f"Cannot add records to {path}: {strange(others[-1])}. {ADVICE}"
    assert path.read_bytes() == before


def test_nothing_is_added_to_a_file_that_holds_something_else(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(
        UserError, match=r"no line of it is a record \(JSON is malformed.*\)\. Give another folder: "
    ):
        Store(tmp_path)


def test_records_are_added_after_some_that_another_program_rewrote(tmp_path: Path) -> None:
    anew = json.dumps(json.loads(text(0)), sort_keys=True)
    (tmp_path / FILE_NAME).write_text(f"{anew}\nnull\n")
    written(tmp_path, line(1))
    assert read(tmp_path) == [line(0), line(1)]


@pytest.mark.parametrize("name", ["nowhere.jsonl", "nowhere/records.jsonl"])
def test_a_missing_file_is_the_users_mistake(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read .*nowhere.*: No such file or directory"):
        read(tmp_path / name)


def test_a_store_that_was_given_nothing_leaves_no_file_and_no_folder(tmp_path: Path) -> None:
    with Store(tmp_path / "run") as store:
        assert not store.written
        assert list((tmp_path / "run").iterdir()) == []  # no file before the first records
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_fails_before_it_is_given_anything_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Store(tmp_path / "run"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_store_leaves_a_folder_it_has_made_in_which_there_is_something_else(tmp_path: Path) -> None:
    with Store(tmp_path / "run"):
        (tmp_path / "run" / "other").touch()
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / "other"]


def test_a_store_that_was_given_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    path = written(tmp_path, line(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "other").touch()
    for folder in (tmp_path, tmp_path / "empty"):
        with Store(folder):
            pass
    assert read(path) == [line(0)]
    assert [file.name for file in (tmp_path / "empty").iterdir()] == ["other"]


def test_a_store_that_was_given_nothing_leaves_an_empty_folder_it_has_not_made(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with Store(tmp_path / "mine"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_store_says_whether_it_holds_anything(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert not store.written
        store.append(line(0))
        assert store.written
    assert store.written


def test_a_store_says_that_it_holds_what_was_there_before(tmp_path: Path) -> None:
    written(tmp_path / "run", line(0))
    assert Store(tmp_path / "run").written
    (tmp_path / FILE_NAME).touch()
    assert not Store(tmp_path).written


@pytest.mark.parametrize("made", [True, False])
def test_a_store_that_is_left_without_writing_does_not_harm_another(made: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if not made:
        folder.mkdir()
    with Store(folder) as writing:
        with Store(folder) as idle:
            assert not idle.written
        writing.append(line(0))
    assert read(folder) == [line(0)]


def test_the_store_that_made_the_folder_does_not_harm_another_when_it_is_left_first(tmp_path: Path) -> None:
    made = Store(tmp_path / "run")
    with Store(tmp_path / "run") as writing:
        with made:
            pass
        writing.append(line(0))
    assert read(tmp_path / "run") == [line(0)]


def test_two_stores_of_one_folder_have_the_records_of_both(tmp_path: Path) -> None:
    with Store(tmp_path / "run") as one, Store(tmp_path / "run") as two:
        one.append(line(0))
        two.append(line(1))
        one.append(line(2))
    assert read(tmp_path / "run") == [line(0), line(1), line(2)]


APPENDS = """
import sys
from pathlib import Path
from msgspec.structs import replace
from microbench.records.record import decode
from microbench.records.store import Store

record = decode(sys.argv[2].encode())
with Store(Path(sys.argv[1])) as store:
    for i in range(20):
        store.append(replace(record, round=i, started_at="x" * 10_000))
"""


def test_appends_of_several_processes_at_once_stay_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", APPENDS, str(tmp_path / "run")]
    writers = [subprocess.Popen([*command, text(who).decode()]) for who in (0, 1)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    records = read(tmp_path / "run")
    for who in (0, 1):
        assert [each.round for each in records if each.case.order == who] == list(range(20))


def test_a_folder_below_a_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        Store(tmp_path / "file" / "folder")
    _assert_one_line(caught.value, str(tmp_path / "file" / "folder"))


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError) as caught:
        Store(Path("/proc/microbench"))
    _assert_one_line(caught.value, "/proc/microbench")


def test_a_file_that_cannot_be_opened_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(UserError) as caught:
        Store(tmp_path)
    _assert_one_line(caught.value, str(tmp_path / FILE_NAME))


def _assert_one_line(error: UserError, place: str) -> None:
    message = str(error)
    assert message.startswith(f"Cannot write {place}")
    assert message.endswith("Give hydra.run.dir=DIR.")
    assert "\n" not in message
    assert "None" not in message


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder for temporary files and the home folder, empty ones."""
    temporary, home = tmp_path / "temporary", tmp_path / "home"
    temporary.mkdir()
    home.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("HOME", str(home))
    return temporary, home


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """The folder of a run, on a disk that is full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / FILE_NAME).symlink_to("/dev/full")
    return tmp_path / "full"


def refused(folder: Path) -> str:
    """Return the error of a store of the folder when it is given a record."""
    with Store(folder) as store:
        with pytest.raises(UserError) as caught:
            store.append(line(1))
        assert not store.written
    return str(caught.value)


def test_records_that_a_full_disk_has_no_room_for_are_in_a_temporary_file(
    full: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    earlier = written(tmp_path / "earlier", line(0))
    told = refused(full)
    (rescued,) = folders[0].iterdir()
    assert told == (
        f"Cannot write {full / FILE_NAME}: No space left on device. The last round's record is in {rescued}."
    )
    assert rescued.suffix == ".jsonl"
    assert read(rescued) == [line(1)]
    assert list(folders[1].iterdir()) == []
    assert read(earlier) == [line(0)]


def test_where_there_is_no_room_for_temporary_files_records_are_in_the_home_folder(
    full: Path, folders: tuple[Path, Path]
) -> None:
    folders[0].rmdir()
    told = refused(full)
    (rescued,) = folders[1].iterdir()
    assert told.endswith(f". The last round's record is in {rescued}.")
    assert read(rescued) == [line(1)]


def test_a_user_without_a_home_loses_nothing_that_a_temporary_file_has_room_for(
    full: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    told = refused(full)
    (rescued,) = folders[0].iterdir()
    assert told.endswith(f". The last round's record is in {rescued}.")


def test_records_that_no_disk_has_room_for_are_reported_to_be_lost(
    full: Path, folders: tuple[Path, Path]
) -> None:
    for folder in folders:
        folder.rmdir()
    assert refused(full) == (
        f"Cannot write {full / FILE_NAME}: No space left on device. "
        "The last round's record is lost: no disk has room for it."
    )


APPENDS_BEYOND_A_LIMIT = """
import os, resource, signal, sys
from pathlib import Path
from msgspec.structs import replace
from microbench.errors import UserError
from microbench.records.record import decode
from microbench.records.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
wrote, write = [], os.write

def noting(file, data):
    count = write(file, data)
    if os.path.samestat(os.fstat(file), os.stat(sys.argv[1] + "/records.jsonl")):
        wrote.append(count)
    return count

os.write = noting
record = decode(sys.argv[2].encode())
with Store(Path(sys.argv[1])) as store:
    for size in (10, 100_000, 11):
        try:
            store.append(replace(record, started_at="x" * size))
            print(store.written, "kept")
        except UserError as error:
            print(store.written, error)
print(len(wrote), wrote[1])
"""


@pytest.mark.parametrize("torn", [b"", b'{"torn":'])
def test_an_append_that_fails_half_way_leaves_every_file_as_it_was(
    torn: bytes, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    def of_size(size: int) -> bytes:
        return encode(replace(line(0), started_at="x" * size)) + b"\n"

    path, limit = tmp_path / "run" / FILE_NAME, 4 * len(text(0))
    path.parent.mkdir()
    path.write_bytes(of_size(0) + torn)
    found = subprocess.run(
        [sys.executable, "-c", APPENDS_BEYOND_A_LIMIT, str(path.parent), text(0).decode(), str(limit)],
        env=os.environ | {"TMPDIR": str(folders[0])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *told, writes = found.stdout.splitlines()
    assert told == [
        "True kept",
        f"True Cannot write {path}: File too large. Records written before are kept. "
        "The last round's record is lost: no disk has room for it.",
        "True kept",
    ]
    # Three writes to it came through, the second of which filled the file up to its limit.
    kept = of_size(0) + torn + b"\n" * bool(torn) + of_size(10)
    assert writes == f"3 {limit - len(kept)}"
    assert path.read_bytes() == kept + of_size(11)
    assert [len(record.started_at) for record in read(path)] == [0, 10, 11]
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_a_file_that_a_search_found_and_that_cannot_be_read_is_left_out_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, picture, newer = (tmp_path / name / "records.jsonl" for name in ("good", "picture", "newer"))
    for file in (good, picture, newer):
        file.parent.mkdir()
    Store(good.parent).append(record_of({"inference": [1.0]}))
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    newer.write_bytes(good.read_bytes().replace(b'"schema_version":3', b'"schema_version":99'))
    assert readable([tmp_path]) == readable([f"{tmp_path}/**"]) == [good]
    lines = sorted(capsys.readouterr().err.splitlines())
    assert [line.startswith("microbench: left out: Cannot read ") for line in lines] == [True] * 4
    for named in (picture, picture.parent, newer):
        with pytest.raises(UserError, match="Cannot read"):
            readable([good, named])
    good.unlink()
    with pytest.raises(UserError, match="Cannot read"):
        readable([tmp_path])
