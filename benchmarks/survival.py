"""Does a sweep survive being killed? Kill it at random moments, complete it, and check for losses.

    python benchmarks/survival.py [--times 20] [--seed 0]

A sweep of twelve small cases is started, its parent process killed by SIGKILL, which no program can catch,
and the same command given again. After that there must be twelve cases that ended well, no round twice, no
earlier record changed, nothing measured again, and neither after the kill nor after the end any process that
the sweep started. The kill comes, in turn,

- at a moment between the start and a little after the usual end, evenly distributed;
- when the file of records grows beyond a size, also evenly distributed: during a write, or right after it;
- at such a moment, with the last line of the file truncated in addition, as after a power failure.

The exit code is the number of violations. Linux only: it looks for processes in /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from microbench.records.record import RoundRecord
from microbench.records.result import load
from microbench.records.store import FILE_NAME, read

SWEEP = (
    "-m",
    "model=dense,gelu,softmax,layernorm",
    "batch_size=1,2,3",
    "mode=infer",
    "device=cpu",
    "threads=1",
    "measure.rounds=1",
    "measure.min_time=0",
    "measure.max_time=0.05",
    "measure.min_samples=6",
    "measure.max_samples=50",
    "measure.max_warmup=0.05",
)
CASES = 12
PATIENCE = 120  # seconds after which a sweep counts as hanging, or a process as left behind
MARK = "MICROBENCH_SURVIVAL"  # a variable that every process of a sweep inherits


@dataclass(frozen=True)
class Sweep:
    """A running sweep, and the folder of its records.

    Attributes:
        process: its parent process.
        folder: the folder of its records.
        mark: the value of a variable in the environment of all its processes.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    mark: str

    @property
    def file(self) -> Path:
        """The file of its records."""
        return self.folder / FILE_NAME

    @property
    def size(self) -> int:
        """The length of its file in bytes; 0 if there is none."""
        try:
            return self.file.stat().st_size
        except FileNotFoundError:
            return 0

    def wait(self, seconds: float) -> None:
        """Wait that many seconds, or until it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def wait_for(self, size: int) -> None:
        """Wait, without pausing, until its file is larger than `size` bytes or it has ended."""
        while self.process.poll() is None and self.size <= size:
            pass

    def kill(self) -> None:
        """Kill its parent process."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def left(self) -> list[int]:
        """Return its remaining processes, after a grace period for those that end slowly."""
        deadline = time.monotonic() + PATIENCE
        while (found := list(_marked(self.mark))) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found


def _marked(mark: str) -> Iterator[int]:
    """Yield the processes with a mark in their environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes():
                yield int(path.parent.name)


def start(folder: Path) -> Sweep:
    """Start the sweep, or give the same command again."""
    mark = uuid.uuid4().hex
    with (folder.parent / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "microbench", *SWEEP, f"hydra.sweep.dir={folder}"],
            env={**os.environ, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Sweep(process, folder, mark)


@dataclass(frozen=True)
class Usual:
    """An undisturbed sweep: its seconds, and the bytes of its records."""

    seconds: float
    size: int


def at_a_moment(sweep: Sweep, share: float, usual: Usual) -> str:
    """Kill it after a share of its usual seconds, and a little more."""
    moment = 1.05 * share * usual.seconds
    sweep.wait(moment)
    sweep.kill()
    return f"after {moment:.2f} s"


def in_a_write(sweep: Sweep, share: float, usual: Usual) -> str:
    """Kill it when its file has just grown beyond a share of its usual size."""
    size = int(share * usual.size)
    sweep.wait_for(size)
    sweep.kill()
    return f"as its file grew beyond {size} bytes"


def with_a_torn_line(sweep: Sweep, share: float, usual: Usual) -> str:
    """Kill it at a moment, and truncate the last line of its file."""
    told = at_a_moment(sweep, share, usual)
    text = sweep.file.read_bytes() if sweep.size else b""
    if not text:
        return told
    last = len(text) - text.rstrip(b"\n").rfind(b"\n") - 1
    cut = 1 + int(share * (last - 1))
    os.truncate(sweep.file, len(text) - cut)
    return f"{told}, {cut} bytes cut off"


KILLS = (at_a_moment, in_a_write, at_a_moment, with_a_torn_line)


def whole_records(file: Path) -> list[RoundRecord]:
    """Return the records in complete lines."""
    return read(file) if file.exists() else []


def measured(records: Sequence[RoundRecord]) -> Counter[tuple[int, int]]:
    """Return how often each (case, round) was measured well."""
    return Counter((record.case.order, record.round) for record in records if record.ok)


def violations(before: list[RoundRecord], sweep: Sweep) -> Iterator[str]:
    """Yield what is wrong with a completed sweep that had the records `before`."""
    if (code := sweep.process.returncode) != 0:
        yield f"it was not completed: exit code {code}"
        return
    after, cases = whole_records(sweep.file), load(sweep.folder).cases()
    if after[: len(before)] != before:
        yield "records of before the kill are lost"
    if len(cases) != CASES or not all(case.ok for case in cases):
        yield f"{len(cases)} cases, {sum(case.ok for case in cases)} of them ok"
    if twice := [turn for turn, times in measured(after).items() if times > 1]:
        yield f"measured more than once: {twice}"
    if len(measured(after)) != CASES:
        yield f"{len(measured(after))} rounds instead of {CASES}"
    anew = len(after) - len(before)
    if anew != CASES - len(measured(before)):
        yield f"measured {anew} rounds after the kill, where {CASES - len(measured(before))} were missing"
    if len({record.run.id for record in after}) != 1:
        yield "several runs"


def survive(number: int, times: int, draw: random.Random, usual: Usual) -> list[str]:
    """Start, kill and complete one sweep; print a line, and return what was wrong."""
    with tempfile.TemporaryDirectory(prefix="microbench-") as base:
        folder = Path(base) / "run"
        share = (number + draw.random()) / times
        sweep = start(folder)
        how = KILLS[number % len(KILLS)](sweep, share, usual)
        found = [f"processes left after the kill: {left}" for left in [sweep.left()] if left]
        before = whole_records(sweep.file)
        again = start(folder)
        again.wait(PATIENCE)
        again.kill()
        found += [f"processes left after the end: {left}" for left in [again.left()] if left]
        found += violations(before, again)
        log = (Path(base) / "log").read_text()
    done = len(measured(before))
    told = f"{done:2} of {CASES} measured, then {CASES - done:2}: {'; '.join(found) or 'ok'}"
    print(f"{number + 1:3}  killed {how}: {told}", flush=True)
    if found:
        print(log, file=sys.stderr)
    return found


def left_alone() -> Usual:
    """Run a sweep that nobody kills."""
    with tempfile.TemporaryDirectory(prefix="microbench-") as base:
        began = time.monotonic()
        sweep = start(Path(base) / "run")
        if sweep.process.wait(PATIENCE) != 0:
            sys.exit("the sweep fails even when it is left alone:\n" + (Path(base) / "log").read_text())
        return Usual(time.monotonic() - began, sweep.size)


def main() -> int:
    """Print one line per kill, and return the number of violations."""
    parser = argparse.ArgumentParser(description="Kill sweeps at random moments, and complete them.")
    parser.add_argument("--times", type=int, default=20, help="how often (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    usual = min(left_alone(), left_alone(), key=lambda each: each.seconds)  # the first fills the disk's cache
    print(f"a sweep of {CASES} cases takes {usual.seconds:.1f} s when it is left alone", flush=True)
    found = [each for number in range(options.times) for each in survive(number, options.times, draw, usual)]
    print(f"{options.times} sweeps killed and completed: {len(found)} violations")
    return min(len(found), 125)


if __name__ == "__main__":
    sys.exit(main())
