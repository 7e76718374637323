"""Sweeps that are interrupted in any way and completed: what is measured again, and what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from flat import rows

from microbench.records.record import decode

from .support import (
    ENDLESS,
    QUICK,
    Finished,
    Record,
    cell,
    complete,
    measure,
    measured,
    microbench,
    records_in,
    start,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

SWEEP = (
    "-m",
    *QUICK,
    "model=layer",
    "model.cls=mine.Noted,mine.Fine",
    "model.input_shape=[4]",
    "measure.rounds=2",
    "verify=false",  # builds nothing once more
)
TURNS = [(0, 0), (0, 1), (1, 0), (1, 1)]  # (place, round)

SAYS = {
    # The message of a command that a signal ended, and its exit code.
    signal.SIGINT: ("interrupted. ", 130),
    signal.SIGTERM: ("ended by SIGTERM. ", 143),
    signal.SIGHUP: ("ended by SIGHUP. ", 129),
    signal.SIGKILL: ("", -9),
}


@dataclass(frozen=True)
class Completed:
    """A sweep that a signal ended after the first of its four turns, and what completed it."""

    number: signal.Signals
    ended: Finished
    before: list[Record]
    after: Finished
    pids: list[str]


WAYS = {
    # By the signal that ends a sweep: options of the sweep, and the command that completes it.
    signal.SIGINT: ((), ("resume=run",)),
    signal.SIGTERM: (
        ("schedule=sequential",),
        (*SWEEP, "schedule=sequential", "hydra.sweep.dir=run"),
    ),
    signal.SIGKILL: ((), (*SWEEP, "resume=run")),
}


@pytest.fixture(scope="module", params=WAYS, ids=lambda number: number.name)
def completed(
    request: pytest.FixtureRequest, user_layers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Completed:
    options, again = WAYS[request.param]
    folder = tmp_path_factory.mktemp(request.param.name)
    env = user_layers | {"PIDS": str(folder / "pids")}
    sweep = start(*SWEEP, *options, cwd=folder, env=env)
    try:
        sweep.recorded(1)
        os.kill(sweep.process.pid, request.param)
        ended = sweep.finished()
    finally:
        sweep.kill()
    before = records_in(folder / "run")
    after = microbench(*again, cwd=folder, env=env)
    return Completed(request.param, ended, before, after, (folder / "pids").read_text().split())


def test_a_signal_says_what_to_do_in_one_line_and_ends_with_its_code(completed: Completed) -> None:
    text, code = SAYS[completed.number]
    said = [line for line in completed.ended.err.splitlines() if line.startswith("microbench: ")]
    advice = f"microbench: {text}What was measured is kept. Complete it: microbench resume=run"
    assert said == ([advice] if text else [])
    assert completed.ended.code == code
    assert "Traceback" not in completed.ended.err


def test_what_was_measured_before_is_kept_as_it_was(completed: Completed) -> None:
    assert 1 <= len(complete(completed.before)) < len(TURNS)
    assert completed.after.records[: len(completed.before)] == completed.before


def test_completing_measures_exactly_what_is_missing(completed: Completed) -> None:
    done = complete(completed.before)
    assert complete(completed.after.records) == TURNS
    assert measured(completed.after.err) == len(TURNS) - len(done)
    assert complete(completed.after.records[len(completed.before) :]) == sorted({*TURNS} - {*done})


def test_what_is_completed_is_one_run(completed: Completed) -> None:
    for key in ("run_id", "schedule", "schedule_seed"):
        assert len({record[key] for record in completed.after.records}) == 1, key
    well = [record for record in completed.after.records if record["status"] == "ok"]
    assert len({(record["turn"], record["order"], record["round"]) for record in well}) == len(TURNS)
    assert {record["turn"] for record in well} == set(range(len(TURNS)))


def test_the_schedule_goes_on_where_it_was(completed: Completed) -> None:
    well = [record for record in completed.after.records if record["status"] == "ok"]
    turns = [record["turn"] for record in well]
    assert turns == sorted(turns)
    if completed.number == signal.SIGTERM:
        assert {record["schedule"] for record in well} == {"sequential"}
        assert list(dict.fromkeys((record["order"], record["round"]) for record in well)) == TURNS


def test_completing_shows_the_whole_table_and_ends_well(completed: Completed) -> None:
    assert completed.after.code == 0, completed.after
    out = completed.after.out
    assert "±: half-width of the 50 % CI over 2 rounds, relative to the median" in out.splitlines()
    for name in ("Noted", "Fine"):
        assert cell(out, name, "inference")
    assert "error" not in out


def test_every_process_that_measured_was_a_fresh_one(completed: Completed) -> None:
    """Two at least; one more where the signal met a turn of the layer that notes its process."""
    assert 2 <= len(completed.pids) <= 3
    assert len(set(completed.pids)) == len(completed.pids)


class Again:
    """A sweep that is complete, given again in several ways, one after the other."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.file = folder / "run" / "records.jsonl"

        def give(*options: str) -> tuple[Finished, bytes]:
            return microbench(*SWEEP, "hydra.sweep.dir=run", *options, cwd=folder, env=env), self.read()

        self.first = give()
        self.unchanged = give()
        self.file.write_bytes(self.read()[:-100])
        self.torn = self.read()
        self.mended = give()
        self.more = give("measure.rounds=3")

    def read(self) -> bytes:
        return self.file.read_bytes()


@pytest.fixture(scope="module")
def again(user_layers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Again:
    folder = tmp_path_factory.mktemp("again")
    return Again(folder, user_layers | {"PIDS": str(folder / "pids")})


def parsed(text: bytes) -> list[Record]:
    """Return the whole records of a file's text."""
    found = []
    for line in text.decode().splitlines():
        try:
            found += rows(decode(line.encode() if isinstance(line, str) else line))
        except msgspec.DecodeError:
            continue
    return found


def test_a_sweep_with_nothing_missing_measures_nothing_and_shows_the_table(again: Again) -> None:
    (first, written), (second, unchanged) = again.first, again.unchanged
    assert (first.code, second.code) == (0, 0)
    assert measured(first.err) == len(TURNS)
    assert second.err == f"microbench: {len(TURNS)} of {len(TURNS)} rounds were already measured.\n"
    assert second.out == first.out
    assert unchanged == written


def test_a_round_that_lost_its_last_line_in_part_is_measured_again(again: Again) -> None:
    mended, text = again.mended
    assert mended.code == 0, mended
    assert measured(mended.err) == 1
    assert text.startswith(again.torn + b"\n"), "what was torn stays by itself"
    assert len(complete(parsed(again.torn))) == len(TURNS) - 1
    assert complete(parsed(text)) == TURNS
    assert len(parsed(text)) == len(parsed(again.torn)) + 3


def test_more_rounds_are_added_to_those_there_are(again: Again) -> None:
    more, text = again.more
    assert more.code == 0, more
    assert measured(more.err) == 2
    assert complete(parsed(text)) == sorted([*TURNS, (0, 2), (1, 2)])
    assert "±: half-width of the 75 % CI over 3 rounds, relative to the median" in more.out.splitlines()


TORN = b'{"schema_version":3,"run":{"id":"2026'


def test_a_run_that_was_killed_before_its_first_record_was_whole_is_begun_again(tmp_path: Path) -> None:
    begun = start("model=dense", *QUICK, cwd=tmp_path)
    try:
        wait_until((tmp_path / "run").exists)
        os.kill(begun.process.pid, signal.SIGKILL)
        assert begun.finished().code == -signal.SIGKILL
    finally:
        begun.kill()
    assert list((tmp_path / "run").iterdir()) == []
    (tmp_path / "run" / "records.jsonl").write_bytes(TORN)
    alone = microbench("resume=run", cwd=tmp_path)
    assert "resume=run: its records do not say which command began the run" in alone.complaint
    done = measure("model=dense", "resume=run", cwd=tmp_path)
    assert done.code == 0, done
    text = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert text.startswith(TORN + b"\n")
    assert complete(parsed(text)) == [(0, 0)]


def test_a_round_whose_worker_was_killed_is_the_one_that_completing_measures(
    user_layers: dict[str, str], tmp_path: Path
) -> None:
    env = user_layers | {"PIDS": str(tmp_path / "pids")}
    options = ("model=layer", "model.cls=mine.DiesInItsSecondProcess", "model.input_shape=[4]")
    options += ("verify=false",)  # builds nothing once more
    first = measure(*options, "measure.rounds=2", cwd=tmp_path, env=env)
    assert first.code == 1, first
    assert complete(first.records) == [(0, 0)]
    error = "the worker was killed by SIGKILL; the kernel sends it when memory runs out"
    assert f"error: {error} (in 1 of 2 rounds)" in first.out.splitlines()
    assert [line for line in first.out.splitlines() if line.startswith("inference ")]
    completed = microbench("resume=run", cwd=tmp_path, env=env)
    assert completed.code == 0, completed
    assert complete(completed.records) == [(0, 0), (0, 1)]
    assert measured(completed.err) == 1
    assert "error" not in completed.out


def test_a_terminal_that_is_closed_ends_the_run(tmp_path: Path) -> None:
    """It is closed while a worker measures, and that does not end by itself."""
    begun = start("model=dense", "measure.max_time=600", *ENDLESS, cwd=tmp_path)
    try:
        wait_until(lambda: "measuring" in begun.err and begun.workers())
        os.kill(begun.process.pid, signal.SIGHUP)
        ended = begun.finished()
    finally:
        begun.kill()
    text, code = SAYS[signal.SIGHUP]
    assert ended.code == code
    assert ended.err.splitlines()[-1].startswith(f"microbench: {text}")


def test_the_hint_of_a_run_in_a_folder_of_an_odd_name_can_be_pasted(tmp_path: Path) -> None:
    name = "it's, $HOME=ü"
    done = microbench(*QUICK, "model=dense", "model.input_shape=[3]", f"hydra.run.dir={name}", cwd=tmp_path)
    (hint,) = [line for line in done.err.splitlines() if "repeat what failed: " in line]
    pasted = hint.partition("failed: microbench ")[2]
    shell = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {pasted}"], capture_output=True, text=True, check=True
    )
    again = microbench(*shell.stdout.split("\0")[:-1], cwd=tmp_path)
    assert [record["status"] for record in records_in(tmp_path / name)] == ["error", "error"], again
    assert f"failed: microbench {pasted}" in again.err
