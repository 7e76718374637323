"""The server and its workers, with requests that need no torch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from microbench.config import Config
from microbench.records.progress import Progress, Watch
from microbench.run import workers as running
from microbench.run.protocol import Measure, Request
from microbench.run.workers import (
    Deadline,
    Forked,
    Spawned,
    WorkerDiedError,
    Workers,
    WorkerTimeoutError,
    _Server,
)


def nothing(progress: Progress) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Asks:
    """A request that does what a test specifies."""

    what: str

    def run(self, watch: Watch) -> Any:
        return getattr(self, self.what)(watch)

    def pid(self, watch: Watch) -> int:
        return os.getpid()

    def variable(self, watch: Watch) -> str | None:
        return os.environ.get("MICROBENCH_TEST")

    def reports(self, watch: Watch) -> str:
        for n in range(3):
            watch(Progress("sample", {"total": array("d", [float(n)])}, n=n))
        return "done"

    def interrupts(self, watch: Watch) -> None:
        raise KeyboardInterrupt

    def exits(self, watch: Watch) -> None:
        os._exit(3)

    def is_killed(self, watch: Watch) -> None:
        print("last words", flush=True)
        os.kill(os.getpid(), 9)

    def leaves_a_child(self, watch: Watch) -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    def reports_a_child_and_waits(self, watch: Watch) -> None:
        watch(Progress("sample", n=self.leaves_a_child(watch)))
        time.sleep(600)

    def waits(self, watch: Watch) -> None:
        time.sleep(600)

    def does_not_end(self, watch: Watch) -> int:
        os._exit = lambda code: time.sleep(600)  # type: ignore[assignment, return-value]
        return os.getpid()


class Slow(Measure):
    """A request that prepares for a long time."""

    def run(self, watch: Watch) -> None:
        watch(Progress("prepare"))
        time.sleep(600)


def ask(what: str) -> Request:
    return cast(Request, Asks(what))


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    """Return whether a process that has been killed ends, which may take some time."""
    deadline = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


@pytest.fixture(params=[Forked, Spawned])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    made: Workers = request.param(["json"])
    yield made
    made.close()


def test_each_request_has_a_process_of_its_own(workers: Workers) -> None:
    first, second = (workers.ask(ask("pid"), nothing, None).value for _ in range(2))
    assert len({first, second, os.getpid()}) == 3


@pytest.mark.parametrize("kind", [Forked, Spawned])
def test_workers_have_this_processs_variables_and_the_given_ones(
    kind: type[Forked] | type[Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROBENCH_TEST", "inherited")
    for variables, value in (
        ({}, "inherited"),
        ({"MICROBENCH_TEST": "given", "PYTHONPATH": "/elsewhere"}, "given"),
    ):
        workers = kind(["json"], variables)
        try:
            assert workers.ask(ask("variable"), nothing, None).value == value
        finally:
            workers.close()
    assert os.environ["MICROBENCH_TEST"] == "inherited"


def test_an_interrupt_that_a_workload_raises_is_reported_as_its_own(workers: Workers) -> None:
    found = workers.ask(ask("interrupts"), nothing, None)
    assert str(found.error) == "The workload's own code raised KeyboardInterrupt."


def test_progress_arrives_in_order_and_before_the_answer(workers: Workers) -> None:
    seen: list[Progress] = []
    assert workers.ask(ask("reports"), seen.append, None).value == "done"
    assert [(progress.n, list(progress.samples["total"])) for progress in seen] == [
        (0, [0.0]),
        (1, [1.0]),
        (2, [2.0]),
    ]


def test_an_exit_and_a_signal_are_distinguished_and_the_next_request_runs(workers: Workers) -> None:
    with pytest.raises(WorkerDiedError, match="exited with code 3"):
        workers.ask(ask("exits"), nothing, None)
    with pytest.raises(WorkerDiedError, match="killed by SIGKILL") as caught:
        workers.ask(ask("is_killed"), nothing, None)
    assert "last words" in caught.value.log
    assert workers.ask(ask("reports"), nothing, None).value == "done"


def test_a_request_that_takes_too_long_is_killed_and_the_next_one_runs(workers: Workers) -> None:
    with pytest.raises(WorkerTimeoutError):
        workers.ask(ask("waits"), nothing, 0.2)
    assert workers.ask(ask("reports"), nothing, None).value == "done"


def test_a_stage_that_takes_too_long_ends_the_worker_and_is_named() -> None:
    workers = Forked(["microbench.run.protocol"])
    try:
        with pytest.raises(WorkerTimeoutError) as caught:
            workers.ask(Slow(Config(), is_first=True, limits={"prepare": 0.1}), nothing, None)
        assert caught.value.stage == "prepare"
        assert workers.ask(ask("reports"), nothing, None).value == "done"
    finally:
        workers.close()


@pytest.mark.parametrize(
    ("stages", "late"),
    [
        ([("prepare", 0.0)], "prepare"),
        ([("prepare", 0.0), ("prepare", 60.0)], "prepare"),  # it continues, without more time
        ([("prepare", 0.0), ("warmup", None)], None),
        ([("prepare", 60.0)], None),
    ],
)
def test_each_stage_has_its_time_once(stages: Sequence[tuple[str, float | None]], late: str | None) -> None:
    deadline = Deadline(0.0 if late is None else 60.0)
    for stage, limit in stages:
        deadline.begin(stage, limit)
    silent, other = socket.socketpair()
    with silent, other, pytest.raises(WorkerTimeoutError) as caught:
        deadline.wait(silent)
    assert caught.value.stage == late


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_that_a_worker_started_end_with_it(workers: Workers) -> None:
    assert ends(workers.ask(ask("leaves_a_child"), nothing, None).value)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_watcher_that_raises_ends_the_worker_and_what_it_started(workers: Workers) -> None:
    children: list[int] = []

    def interrupts(progress: Progress) -> None:
        children.append(progress.n)
        raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError, match="the terminal is gone"):
        workers.ask(ask("reports_a_child_and_waits"), interrupts, None)
    assert ends(children[0])
    assert workers.ask(ask("reports"), nothing, None).value == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_that_takes_long_to_end_is_killed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Forked(["json"])
    try:
        kill, killed = os.kill, list[int]()

        def patient(pid: int, number: int) -> None:
            monkeypatch.undo()  # killed, it has the usual time to end
            killed.append(pid)
            kill(pid, number)

        monkeypatch.setattr(running, "ENDING", 0.2)
        monkeypatch.setattr(os, "kill", patient)
        pid = made.ask(ask("does_not_end"), nothing, None).value
        assert killed == [pid]
        assert not is_alive(pid)
        assert made.notes == []
        assert made.ask(ask("reports"), nothing, None).value == "done"
    finally:
        made.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_that_does_not_end_is_left_with_a_note_and_the_next_one_answers() -> None:
    """As a process does not that a driver holds, whatever signal it gets."""
    made = Forked(["json"])
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "ENDING", 0.2)
            patch.setattr(os, "kill", lambda pid, number: None)
            pid = made.ask(ask("does_not_end"), nothing, None).value
        (note,) = made.notes
        assert note.startswith(f"Process {pid} does not end, though it was killed: ")
        assert made.ask(ask("reports"), nothing, None).value == "done"
        assert ends(pid)  # this one can be killed
    finally:
        made.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    said = tmp_path / "child"
    program = (
        "import pathlib, test_workers as t\n"
        f"note = lambda progress: pathlib.Path({str(said)!r}).write_text(str(progress.n))\n"
        "t.Forked([]).ask(t.ask('reports_a_child_and_waits'), note, None)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}) as parent:
        deadline = time.monotonic() + 60
        while not (said.exists() and said.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        parent.kill()
    assert ends(int(said.read_text()))


def test_an_incomplete_message_means_that_the_worker_died() -> None:
    ours, theirs = socket.socketpair()
    control, server = socket.socketpair()
    with ours, theirs, control, server:
        theirs.sendall(b"\0\0\1\0only a part of the 256 bytes announced")
        theirs.shutdown(socket.SHUT_WR)
        server.sendall(b"\0\0\0\0")
        this = cast(_Server, SimpleNamespace(_control=control))
        with Connection(ours.detach()) as connection:
            assert _Server._converse(this, connection, ask("pid"), nothing, Deadline(None)) is None
