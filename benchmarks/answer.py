"""How long does an answer take, from pressing Enter, beside the script that most people would write?

    python benchmarks/answer.py [--repeats 3] [WORKLOAD …]

`by_hand.py` imports, builds, takes 10 steps to warm up and 40 to time, and prints their mean. microbench's
output is a pipe that is read line by line. Both are run in turn, in a random order. The medians over the
repeats may be at most

- first number: the first line with the time of a phase: the script's second step, plus 1 s;
- table: the end of the command: the end of the script, plus 3 s.

The last columns show what one has then: microbench's median and its 95 % CI over the rounds, and the script's
mean.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from microbench.records.result import load
from microbench.tables import units

WORKLOADS = {
    "dense-infer": ("model=dense", "mode=infer", "batch_size=8"),
    "resnet18-infer": ("model=resnet18", "mode=infer", "batch_size=1"),
    "resnet50-infer": ("model=resnet50", "mode=infer", "batch_size=8"),
    "vgg16-train": ("model=vgg16", "mode=train", "batch_size=8"),
}
NUMBER = re.compile(r"\b(inference|forward|loss|backward|update|total) [\d.]+ (s|ms|µs|ns)\b")
LATER = {"first number": 1.0, "table": 3.0}  # seconds after the script


@dataclass(frozen=True)
class Answer:
    """What a command has shown, and when.

    Attributes:
        first: seconds until the second step of the script, or microbench's first number.
        whole: seconds until its end.
        text: the time that it found.
        rounds: the number of processes behind it.
    """

    first: float
    whole: float
    text: str
    rounds: int = 1


def lines(*command: str) -> Iterator[tuple[float, str]]:
    """Yield the lines that a Python command prints, each with the seconds since its start."""
    start = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield time.monotonic() - start, line
        yield time.monotonic() - start, ""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def by_hand(name: str) -> Answer:
    """Run the script that most people would write."""
    at = {line.split()[0] if line else "end": (seconds, line) for seconds, line in lines(HAND, name)}
    return Answer(at["second"][0], at["end"][0], units.time(float(at["mean"][1].split()[1])))


def by_microbench(name: str) -> Answer:
    """Run microbench with its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        command = ("-m", "microbench", *WORKLOADS[name], "device=cpu", f"hydra.run.dir={folder}/run")
        found = list(lines(*command))
        (case,) = load(Path(folder) / "run").cases()
    first = next(seconds for seconds, line in found if NUMBER.search(line))
    whole = case.whole
    assert whole is not None
    return Answer(first, found[-1][0], units.median_and_interval(whole), whole.rounds)


HAND = str(Path(__file__).with_name("by_hand.py"))
SIDES = {"by hand": by_hand, "microbench": by_microbench}


def measured(name: str, repeats: int) -> dict[str, list[Answer]]:
    """Run both sides of a workload in turn."""
    found: dict[str, list[Answer]] = {side: [] for side in SIDES}
    for number in range(repeats):
        for side in random.sample(list(SIDES), 2):
            found[side].append(SIDES[side](name))
        print(f"{name} {number + 1}/{repeats}", file=sys.stderr)
    return found


def row(name: str, found: dict[str, list[Answer]]) -> tuple[str, bool]:
    """Return a workload's row, and whether it keeps its limits."""

    def typical(side: str) -> Sequence[float]:
        return [median(each.first for each in found[side]), median(each.whole for each in found[side])]

    script, ours = typical("by hand"), typical("microbench")
    limits = [seconds + later for seconds, later in zip(script, LATER.values(), strict=True)]
    cells = [f"{here:6.1f} s {limit:6.1f} s" for here, limit in zip(ours, limits, strict=True)]
    last = found["microbench"][-1]
    text = f"{name:15} {'  '.join(cells)}  {script[1]:5.1f} s  {last.rounds:6}  {last.text:18}"
    is_kept = all(here <= limit for here, limit in zip(ours, limits, strict=True))
    return f"{text}  {found['by hand'][-1].text:9}{'' if is_kept else '  too slow'}", is_kept


def main() -> int:
    """Print one row per workload; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD", help=", ".join(WORKLOADS)
    )
    arguments = parser.parse_args()
    subprocess.run([sys.executable, "-c", "import torch, torchvision"], check=True)  # read from disk once
    print(f"{'':15} first number          table               by hand  rounds  {'median':18}  mean by hand")
    print(f"{'':15}     took    limit      took    limit")
    kept = []
    for name in arguments.workloads:
        text, is_kept = row(name, measured(name, arguments.repeats))
        print(text, flush=True)
        kept.append(is_kept)
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
