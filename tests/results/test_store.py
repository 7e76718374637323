from __future__ import annotations

from pathlib import Path

import pytest

from microbench.errors import UserError
from microbench.results.store import FILE_NAME, Store, read


def written(folder: Path, *records: dict[str, object]) -> Path:
    store = Store(folder)
    store.append(records)
    store.close()
    return store.path


def test_records_of_several_appends_are_read_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([{"i": 0}, {"i": 1}])
    store.append([{"i": 2}])
    assert read(store.path) == [{"i": 0}, {"i": 1}, {"i": 2}]  # before it is closed: on the disk at once
    store.close()


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
    store = Store(tmp_path / "run")
    assert not store.written
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_given_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    path = written(tmp_path, {"i": 0})
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "other").touch()
    for folder in (tmp_path, tmp_path / "empty"):
        Store(folder).close()
    assert read(path) == [{"i": 0}]
    assert [file.name for file in (tmp_path / "empty").iterdir()] == ["other"]


def test_a_store_that_was_given_nothing_leaves_an_empty_folder_it_has_not_made(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    Store(tmp_path / "mine").close()
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_store_says_whether_it_holds_anything(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([{"i": 0}])
    assert store.written
    store.close()


def test_a_folder_below_a_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        Store(tmp_path / "file" / "folder")
    _assert_one_line(caught.value, str(tmp_path / "file" / "folder"))


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError) as caught:
        Store(Path("/proc/microbench"))
    _assert_one_line(caught.value, "/proc/microbench")


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
    store = Store(full)
    with pytest.raises(UserError) as caught:
        store.append([{"i": 1}])
    store.close()
    assert str(caught.value) == (
        f"Cannot write {full / FILE_NAME}: No space left on device. Records written before are kept."
    )
    assert read(earlier) == [{"i": 0}]
