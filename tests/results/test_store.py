from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from microbench.errors import UserError
from microbench.results.store import FILE_NAME, Store, read


def written(folder: Path, *records: dict[str, object]) -> Path:
    with Store(folder) as store:
        store.append(records)
    return store.path


def test_records_of_several_appends_are_read_in_order(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.append([{"i": 0}, {"i": 1}])
        store.append([{"i": 2}])
        assert read(store.path) == [{"i": 0}, {"i": 1}, {"i": 2}]  # before it is left: on the disk at once


def test_a_store_of_a_folder_that_has_records_adds_to_them(tmp_path: Path) -> None:
    written(tmp_path, {"i": 0})
    written(tmp_path, {"i": 1})
    assert read(tmp_path) == [{"i": 0}, {"i": 1}]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = written(tmp_path / "a" / "b", {"i": 0})
    assert path == tmp_path / "a" / "b" / FILE_NAME
    assert read(tmp_path / "a" / "b") == [{"i": 0}]


def test_each_record_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, {"i": 0}, {"i": 1})
    assert path.read_bytes() == b'{"i":0}\n{"i":1}\n'


def test_a_torn_last_line_is_left_out_and_the_whole_records_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"i": 0}, {"i": 1})
    path.write_bytes(path.read_bytes() + b'{"i":2,"sam')
    assert read(path) == [{"i": 0}, {"i": 1}]


def test_a_torn_last_line_is_kept_apart_from_what_is_written_next(tmp_path: Path) -> None:
    path = written(tmp_path, {"i": 0})
    path.write_bytes(path.read_bytes() + b'{"i":1,"sam')
    written(tmp_path, {"i": 2})
    assert path.read_bytes() == b'{"i":0}\n{"i":1,"sam\n{"i":2}\n'
    assert read(path) == [{"i": 0}, {"i": 2}]


def test_lines_that_are_no_objects_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('3\n\n{"i":0}\n[1]\nnull\n')
    assert read(path) == [{"i": 0}]


@pytest.mark.parametrize("text", ["not json\n", "3\n[4]\n"])
def test_a_file_without_any_record_is_the_users_mistake(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"Cannot read .*other\.txt: no line of it is a record"):
        read(path)


def test_a_binary_file_is_the_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\xff\xfe\n")
    with pytest.raises(UserError, match=r"Cannot read .*image\.png: it is not a file of records"):
        read(path)


def test_an_empty_file_holds_no_records(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.touch()
    assert read(path) == []


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
    path = written(tmp_path, {"i": 0})
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "other").touch()
    for folder in (tmp_path, tmp_path / "empty"):
        with Store(folder):
            pass
    assert read(path) == [{"i": 0}]
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
        store.append([{"i": 0}])
        assert store.written
    assert store.written


@pytest.mark.parametrize("made", [True, False])
def test_a_store_that_is_left_without_writing_does_not_harm_another(made: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    if not made:
        folder.mkdir()
    with Store(folder) as writing:
        with Store(folder) as idle:
            assert not idle.written
        writing.append([{"i": 0}])
    assert read(folder) == [{"i": 0}]


def test_the_store_that_made_the_folder_does_not_harm_another_when_it_is_left_first(tmp_path: Path) -> None:
    made = Store(tmp_path / "run")
    with Store(tmp_path / "run") as writing:
        with made:
            pass
        writing.append([{"i": 0}])
    assert read(tmp_path / "run") == [{"i": 0}]


def test_two_stores_of_one_folder_have_the_records_of_both(tmp_path: Path) -> None:
    with Store(tmp_path / "run") as one, Store(tmp_path / "run") as two:
        one.append([{"i": 0}])
        two.append([{"i": 1}])
        one.append([{"i": 2}])
    assert read(tmp_path / "run") == [{"i": 0}, {"i": 1}, {"i": 2}]


def test_whole_appends_of_several_processes_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from microbench.results.store import Store\n"
        "with Store(Path(sys.argv[1])) as store:\n"
        "    for i in range(20):\n"
        "        store.append([{'who': sys.argv[2], 'i': i, 'part': p, 'x': 'x' * 5000} for p in range(2)])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    writers = [subprocess.Popen([*command, who]) for who in ("a", "b")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    records = read(tmp_path / "run")
    for who in ("a", "b"):
        mine = [(each["i"], each["part"]) for each in records if each["who"] == who]
        assert mine == [(i, part) for i in range(20) for part in range(2)]
    # The two records of an append stand side by side, whoever else wrote meanwhile.
    assert all(one["who"] == two["who"] for one, two in zip(records[::2], records[1::2], strict=True))


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_an_error_of_one_line_and_other_records_are_kept(tmp_path: Path) -> None:
    earlier = written(tmp_path / "earlier", {"i": 0})
    full = tmp_path / "full"
    full.mkdir()
    (full / FILE_NAME).symlink_to("/dev/full")
    with Store(full) as store:
        with pytest.raises(UserError) as caught:
            store.append([{"i": 1}])
        assert not store.written
    assert str(caught.value) == (
        f"Cannot write {full / FILE_NAME}: No space left on device. Give hydra.run.dir=DIR."
    )
    assert read(earlier) == [{"i": 0}]


APPENDS_BEYOND_A_LIMIT = """
import os, resource, signal, sys
from pathlib import Path
from microbench.errors import UserError
from microbench.results.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
wrote, write = [], os.write

def noting(file, data):
    wrote.append(write(file, data))
    return wrote[-1]

os.write = noting
with Store(Path(sys.argv[1])) as store:
    for size in (10, 100_000, 11):
        try:
            store.append([{"size": size, "x": "x" * size}])
            print(store.written, "kept")
        except UserError as error:
            print(store.written, error)
print(len(wrote), wrote[1])
"""


@pytest.mark.parametrize("torn", [b"", b'{"torn":'])
def test_an_append_that_fails_half_way_leaves_the_file_as_it_was(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run" / FILE_NAME
    path.parent.mkdir()
    path.write_bytes(b'{"size":0}\n' + torn)
    found = subprocess.run(
        [sys.executable, "-c", APPENDS_BEYOND_A_LIMIT, str(path.parent)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *told, writes = found.stdout.splitlines()
    assert told == [
        "True kept",
        f"True Cannot write {path}: File too large. Records written before are kept.",
        "True kept",
    ]
    # Three writes came through, the second of which filled the file up to its limit.
    kept = b'{"size":0}\n' + torn + b"\n" * bool(torn) + b'{"size":10,"x":"xxxxxxxxxx"}\n'
    assert writes == f"3 {4096 - len(kept)}"
    assert path.read_bytes() == kept + b'{"size":11,"x":"xxxxxxxxxxx"}\n'
    assert [record["size"] for record in read(path)] == [0, 10, 11]
