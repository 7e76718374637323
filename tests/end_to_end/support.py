"""Shared by these tests: the command run as a subprocess, its records, and a look at processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flat import rows

from microbench.errors import ExitCode
from microbench.records.record import RoundRecord
from microbench.records.store import FILE_NAME, Store, read

from .warm import environment, run
from .zygote import MARK, NAME

Record = dict[str, Any]

COMMAND = (sys.executable, "-m", "microbench")
LEAST = ("measure.rounds=1", "measure.min_time=0", "measure.max_warmup=0.05", "measure.min_samples=6")
# One thread, because on a shared machine two that wait for each other take a scheduler's slice per barrier.
QUICK = ("threads=1", "measure.max_time=0.05", *LEAST)
ENDLESS = (
    "threads=1",
    "measure.budget=null",
    "measure.rel_ci=1e-9",
    "measure.max_samples=100000000",
    *LEAST,
)
PATIENCE = 240  # seconds after which a subprocess certainly hangs


@dataclass(frozen=True)
class Finished:
    """A command that has ended: its exit code, what it wrote, and the folder it ran in."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def records(self) -> list[Record]:
        return records_in(self.folder / "run")

    @property
    def complaint(self) -> str:
        """The error of an invalid command: one line, without a traceback, with exit code 2."""
        return self.complaint_with(ExitCode.USAGE)

    def complaint_with(self, code: ExitCode) -> str:
        """Return the error of a failed command: one line, without a traceback."""
        assert self.code == code, self
        assert self.out == "", self.out
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("microbench: "), self.err
        return lines[0]


def microbench(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run the command in a folder, its output a pipe, until it ends; forked, where that is the same."""
    mark = uuid.uuid4().hex
    command = ("-m", "microbench", *arguments)
    code, out, err = run(command, cwd, environment({MARK: mark, **(env or {})}), PATIENCE)
    assert_none_left(mark)
    return Finished(code, out, err, cwd)


def measure(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run the command with its records in the folder `run`, and few samples unless the arguments say more."""
    return microbench(*QUICK, "hydra.run.dir=run", *arguments, cwd=cwd, env=env)


def write(folder: Path, *cases: list[RoundRecord]) -> Path:
    """Make a run's folder with the records of cases, and return it; without any, its file is empty."""
    folder.mkdir()
    (folder / FILE_NAME).touch()
    with Store(folder) as store:
        for record in (record for case in cases for record in case):
            store.append(record)
    return folder


def records_in(folder: Path) -> list[Record]:
    """Return the complete records of a run's folder as flat rows, one per series."""
    path = folder / "records.jsonl"
    return rows(*read(path)) if path.exists() else []


def by_case(records: list[Record]) -> list[list[Record]]:
    """Return the records of each case, in the order of the cases."""
    orders = sorted({record["order"] for record in records})
    return [[record for record in records if record["order"] == order] for order in orders]


def page_faults(record: Record) -> float:
    """Return all page faults of a round's samples."""
    calls = len(record["samples"]) * record["calls_per_sample"]
    return float(record["page_faults_per_call"] * calls)


def complete(records: list[Record]) -> list[tuple[int, int]]:
    """Return the (place, round) of every turn that ended well, as often as its records are there."""
    turns: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = (record["run_id"], record["started_at"], record["order"], record["round"])
        turns.setdefault(key, []).append(record)
    return sorted(
        (order, number) for (_, _, order, number), of_turn in turns.items() if of_turn[0]["status"] == "ok"
    )


def measured(err: str) -> int:
    """Return how many turns a command's log says that it measured."""
    return len([line for line in err.splitlines() if line.endswith(": measuring")])


def cell(table: str, row: str, column: str) -> str:
    """Return a sweep table's cell in the row that begins with the words `row`, under the header `column`.

    All columns but the first are right-justified and two spaces apart, and `column` is the first header that
    begins with that word.
    """
    header = next(line for line in table.splitlines() if line.startswith("model "))
    end = f"{header}  ".index(f" {column}  ") + 1 + len(column)
    line = next(line for line in table.splitlines() if line.split()[: len(row.split())] == row.split())
    return line[:end].rpartition("  ")[2].strip()


@dataclass(frozen=True)
class Started:
    """A command that runs, in a session of its own, as in a terminal of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    mark: str

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def finished(self) -> Finished:
        """Wait for its end, and for that of every process it started."""
        code = self.process.wait(PATIENCE)
        assert_none_left(self.mark)
        return Finished(code, self.out, self.err, self.folder)

    def recorded(self, rounds: int) -> None:
        """Wait until that many rounds of cases are on disk."""

        def there() -> bool:
            assert self.process.poll() is None, f"it ended: {self.out}{self.err}"
            return len({record["turn"] for record in records_in(self.folder / "run")}) >= rounds

        wait_until(there)

    def workers(self) -> list[tuple[int, int]]:
        """Return the process ids of its running servers and their workers."""
        return [(server, worker) for server in children(self.process.pid) for worker in children(server)]

    def sampling(self) -> tuple[int, int]:
        """Wait until a worker has sampled for a while; the process ids of the server and of the worker.

        A worker builds a layer and warms up in much less than the CPU time waited for, and reports every half
        second.
        """
        pids: list[tuple[int, int]] = []

        def sampled() -> bool:
            assert self.process.poll() is None, f"it ended: {self.out}{self.err}"
            pids[:] = [each for each in self.workers() if cpu_seconds(each[1]) >= 1.5]
            return bool(pids)

        wait_until(sampled)
        return pids[0]

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the terminal's foreground gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill it, and the processes it started if they outlive it."""
        self.process.kill()
        self.process.wait(PATIENCE)
        kill_left(self.mark)


def nothing() -> None:
    """Do nothing: what a command does before it starts by default."""


def start(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, first: Callable[[], None] = nothing
) -> Started:
    """Start the command, its records in the folder `run`, after doing `first` in its process."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a job in a shell's background ignores
        first()

    mark = uuid.uuid4().hex
    with (cwd / "out").open("wb") as out, (cwd / "err").open("wb") as err:
        process = subprocess.Popen(
            [*COMMAND, *arguments, "hydra.run.dir=run"],
            cwd=cwd,
            env=environment({MARK: mark, **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=prepare,
        )
    return Started(process, cwd, mark)


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third (the state) on; none if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Return whether a process exists and has not ended (a zombie has)."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def children(pid: int) -> list[int]:
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [child for child in found if _stat(child)[1:2] == [str(pid)]]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has taken."""
    fields = _stat(pid)
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def left(mark: str) -> list[int]:
    """Return the remaining processes of a command with this mark in its environment."""
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in found if f"{MARK}={mark}".encode() in _environ(pid) or _name(pid) == mark[:NAME]]


def _environ(pid: int) -> bytes:
    """Return a process's initial environment; nothing if it is gone, has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except (OSError, ProcessLookupError):
        return b""


def _name(pid: int) -> str:
    """Return the name of a process, which identifies those forked from a zygote; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ProcessLookupError):
        return ""


def assert_none_left(mark: str) -> None:
    """Assert that no process of a command is left.

    It may take a moment: a server learns that its parent was killed once it has imported torch.
    """
    try:
        wait_until(lambda: not left(mark), seconds=30)
    finally:
        kill_left(mark)


def kill_left(mark: str) -> None:
    for pid in left(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
