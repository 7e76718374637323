"""The digest of a file's contents, which is kept on disk for large files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from microbench.system import digests
from microbench.system.digests import LARGE, digest

FAKE = "0123456789ab"
"""What a test keeps in place of a digest, to see whether the file is read again."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of kept digests; files count as settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED", 0.0)
    return tmp_path / "cache" / "microbench" / "digests.json"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return written(tmp_path / "weights.bin", b"a")


def written(path: Path, first: bytes, size: int = LARGE) -> Path:
    with path.open("wb") as file:
        file.write(first)
        file.truncate(size)
    return path


def as_another_process(path: Path, text: str = "") -> str:
    digests._digest.cache_clear()
    return digest(path, text)


def sha(path: Path, text: str = "") -> str:
    return hashlib.sha256(text.encode() + path.read_bytes()).hexdigest()[:12]


def test_it_is_of_the_contents_and_the_text(large: Path, tmp_path: Path) -> None:
    small = written(tmp_path / "small", b"a", 10)
    for each in (large, small):
        assert as_another_process(each) == sha(each)
        assert as_another_process(each, ":Net") == sha(each, ":Net") != sha(each)


def test_a_large_file_is_read_once_by_all_processes(large: Path, cache: Path) -> None:
    digest(large)
    (kept,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({kept: FAKE}))
    assert as_another_process(large) == FAKE
    assert as_another_process(large, "text") == sha(large, "text")


def test_a_file_that_changed_is_read_again(large: Path, cache: Path) -> None:
    digest(large)
    cache.write_text(json.dumps(dict.fromkeys(json.loads(cache.read_text()), FAKE)))
    written(large, b"b")
    assert as_another_process(large) == sha(large)


def test_neither_a_small_file_nor_one_that_may_be_changing_is_kept(
    large: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest(written(tmp_path / "small", b"a", 10))
    monkeypatch.setattr(digests, "SETTLED", 60.0)
    digest(large)
    assert not cache.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_faulty_cache_does_no_harm(text: str, large: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    assert as_another_process(large) == sha(large)


def test_a_cache_that_cannot_be_written_does_no_harm(large: Path, cache: Path) -> None:
    cache.parent.parent.write_text("a file, not a folder")
    assert as_another_process(large) == sha(large)


def test_only_the_newest_are_kept(
    large: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "MOST", 2)
    for text in ("a", "b", "c"):
        as_another_process(large, text)
    assert [json.loads(key)[1] for key in json.loads(cache.read_text())] == ["b", "c"]
