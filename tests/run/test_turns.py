"""One round at a time on a GPU, of all runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from microbench.run import turns
from microbench.run.turns import Turns, place

HOLDS = """
import sys
from microbench.run.turns import Turns

with Turns(print).on(sys.argv[1]):
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another run, which has its turn on the GPU `GPU-1`."""
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, "GPU-1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


class Waiting:
    """A run in a thread that waits for its turns, one after the other."""

    def __init__(self, uuid: str | None, number: int = 1) -> None:
        self.said: list[str] = []
        self.turns = Turns(self.said.append)
        self.had = 0
        self.thread = threading.Thread(target=self._take, args=(uuid, number), daemon=True)
        self.thread.start()

    def _take(self, uuid: str | None, number: int) -> None:
        for _ in range(number):
            with self.turns.on(uuid):
                self.had += 1


def test_a_turn_waits_for_another_runs_says_so_once_and_its_clock_stands_still(
    other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Waiting("GPU-1", number=3)
    waiting.thread.join(0.2)
    assert waiting.thread.is_alive()
    assert (waiting.had, waiting.said) == (0, [turns.WAITING])
    before = turns.time.monotonic()
    other.communicate("")  # it ends its turn
    waiting.thread.join(60)
    assert waiting.had == 3
    assert waiting.said == [turns.WAITING]
    assert waiting.turns.now() < before


def test_a_run_that_is_killed_gives_up_its_turn(other: subprocess.Popen[str]) -> None:
    waiting = Waiting("GPU-1")
    other.kill()
    waiting.thread.join(60)
    assert waiting.had == 1


@pytest.mark.parametrize("uuid", ["GPU-2", None])
def test_on_another_gpu_or_none_nothing_waits(uuid: str | None, other: subprocess.Popen[str]) -> None:
    waiting = Waiting(uuid)
    waiting.thread.join(60)
    assert (waiting.had, waiting.said) == (1, [])


def test_a_turn_that_fails_is_over() -> None:
    run = Turns(pytest.fail)
    for _ in range(2):
        with pytest.raises(KeyError), run.on("GPU-1"):
            raise KeyError


def test_another_user_may_open_the_lock() -> None:
    before = os.umask(0o077)
    try:
        with Turns(pytest.fail).on("GPU-1"):
            assert place("GPU-1").stat().st_mode & 0o444 == 0o444
    finally:
        os.umask(before)


def test_where_no_file_can_be_opened_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with Turns(pytest.fail).on("GPU-1"):
        pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    place("GPU-1").symlink_to(tmp_path / "elsewhere")
    with Turns(pytest.fail).on("GPU-1"):
        pass
    assert not (tmp_path / "elsewhere").exists()
