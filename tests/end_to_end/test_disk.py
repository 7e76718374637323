"""Disks that are full or may not be written, and two runs that write to one folder."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from flat import rows

from microbench.records.record import decode

from .support import (
    QUICK,
    Finished,
    Record,
    cell,
    complete,
    measured,
    microbench,
    records_in,
    start,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

BATCHES = ("256", "320", "384", "448")  # of so many, a call takes about a millisecond: a short list of times
CASES = [(order, 0) for order in range(len(BATCHES))]
ROOM = 16 * 1024  # bytes: more than the records of one case take here, less than those of all four
SWEEP = ("-m", *QUICK, "model=dense", f"batch_size={','.join(BATCHES)}", "measure.max_samples=50")


@dataclass(frozen=True)
class Small:
    """A folder with too little room, what a command does first to live with that, and how to make room."""

    folder: Path
    first: Callable[[], None]
    make_room: Callable[[], None]
    reason: str


def mounted(folder: Path) -> bool:
    """Return whether a small disk could be mounted there: for root alone, and not in every container."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    return mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """A disk of 40 KiB; where none can be mounted, files that may not be longer."""
    base = tmp_path_factory.mktemp("small")
    if not mounted(base / "run"):
        most = (ROOM, resource.RLIM_INFINITY)
        yield Small(
            base, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, most), lambda: None, "File too large"
        )
        return
    try:
        larger = ["mount", "-o", "remount,size=4m", str(base / "run")]
        yield Small(
            base, lambda: None, lambda: void(subprocess.run(larger, check=True)), "No space left on device"
        )
    finally:
        subprocess.run(["umount", str(base / "run")], check=True)


def void(done: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Filled:
    """A sweep that filled its disk, and the same sweep once there was room."""

    reason: str
    stopped: Finished
    before: list[Record]
    left: bytes
    completed: Finished


@pytest.fixture(scope="module")
def filled(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    rescue = tmp_path_factory.mktemp("tmp")
    file = small.folder / "run" / "records.jsonl"
    sweep = start(*SWEEP, cwd=small.folder, env={"TMPDIR": str(rescue)}, first=small.first)
    try:
        stopped = sweep.finished()
    finally:
        sweep.kill()
    before, left = records_in(small.folder / "run"), file.read_bytes()
    small.make_room()
    completed = microbench(*SWEEP, "hydra.sweep.dir=run", cwd=small.folder)
    return Filled(small.reason, stopped, before, left, completed)


RESCUED = r"The last round's record is in (\S+\.jsonl)\. "


def test_a_full_disk_ends_the_sweep_with_one_line_that_says_what_is_where(filled: Filled) -> None:
    assert filled.stopped.code == 1
    last = filled.stopped.err.splitlines()[-1]
    begin = f"microbench: Cannot write run/records.jsonl: {filled.reason}. Records written before are kept. "
    assert last.startswith(begin)
    assert last.endswith("Complete it: microbench resume=run")
    assert re.search(RESCUED, last)
    assert "Traceback" not in filled.stopped.err


def test_a_full_disk_keeps_the_records_of_before_whole(filled: Filled) -> None:
    assert 1 <= len(complete(filled.before)) < len(BATCHES)
    assert filled.left.endswith(b"\n")
    assert rows(*map(decode, filled.left.splitlines())) == filled.before


def test_the_last_round_is_rescued_to_a_file_of_its_own(filled: Filled) -> None:
    found = re.search(RESCUED, filled.stopped.err)
    assert found is not None
    records = rows(*map(decode, Path(found[1]).read_bytes().splitlines()))
    assert len(complete(records)) == 1
    assert not {*complete(records)} & {*complete(filled.before)}
    assert {each["run_id"] for each in records} == {each["run_id"] for each in filled.before}


def test_a_full_disk_shows_what_was_measured_also_what_was_rescued(filled: Filled) -> None:
    rows = [line for line in filled.stopped.out.splitlines() if line.startswith("dense ")]
    assert len(rows) == len(complete(filled.before)) + 1


def test_with_room_the_sweep_is_completed(filled: Filled) -> None:
    done = filled.completed
    assert done.code == 0, done
    assert complete(done.records) == CASES
    assert measured(done.err) == len(BATCHES) - len(complete(filled.before))
    assert {each["run_id"] for each in done.records} == {filled.before[0]["run_id"]}
    for batch in BATCHES:
        assert cell(done.out, f"dense {batch}", "inference")


def test_a_folder_that_may_only_be_read_is_reported_before_anything_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o555)
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    root = os.geteuid() == 0  # root may write whatever a folder's mode is
    if root and subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("root may write to any folder, and no read-only one can be mounted")
    try:
        complaint = microbench("model=dense", *QUICK, "hydra.run.dir=run", cwd=tmp_path).complaint
    finally:
        if root:
            subprocess.run(["umount", str(folder)], check=True)
    reason = "Read-only file system" if root else "Permission denied"
    assert complaint == f"microbench: Cannot write run/records.jsonl: {reason}. Give hydra.run.dir=DIR."


def test_two_sweeps_that_write_to_one_folder_at_once_are_both_complete(tmp_path: Path) -> None:
    """Started at the same time they are two runs; what one has begun, the other takes part in."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    together = f"hydra.sweep.dir={tmp_path / 'run'}"
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda name: microbench(*SWEEP, together, cwd=tmp_path / name), ("a", "b")))
    assert [each.code for each in ends] == [0, 0], ends
    lines = (tmp_path / "run" / "records.jsonl").read_bytes().splitlines()
    records = rows(*map(decode, lines))
    for run_id in {each["run_id"] for each in records}:
        found = complete([each for each in records if each["run_id"] == run_id])
        assert sorted(set(found)) == CASES
    for end in ends:
        for batch in BATCHES:
            assert cell(end.out, f"dense {batch}", "inference")
