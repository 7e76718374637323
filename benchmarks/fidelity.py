"""Are microbench's medians those of a hand-written loop?

    python benchmarks/fidelity.py [--rounds 10] [CASE …]

Each round runs both sides of a case in fresh processes, one after the other, in a random order. The ratio of
a round is microbench's median over the loop's. It prints the geometric mean of the rounds' ratios and its 95
% CI (Student's t over the logarithms). An interval that contains 1 shows no difference.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

from hand_loop import CASES
from scipy.stats import t as student

from microbench.records.store import read
from microbench.system.cpus import physical_cores

SECONDS = {"vgg16-train": 1.0, "resnet18-infer": 5.0, "conv3x3_1-train": 3.0, "dense-infer": 2.0}


def by_hand(case: str, threads: int) -> dict[str, float]:
    """Return the hand-written loop's medians by phase, in seconds."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("hand_loop.py")),
        case,
        str(SECONDS[case]),
        str(threads),
    ]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def by_microbench(case: str, threads: int) -> dict[str, float]:
    """Return microbench's medians by phase, in seconds."""
    model, mode = case.split("-")
    seconds = SECONDS[case]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "microbench", f"model={model}", f"mode={mode}", f"threads={threads}"]
        command += [
            "device=cpu",
            "measure.rounds=1",
            "measure.rel_ci=1e-9",
            f"measure.max_time={seconds}",
            f"hydra.run.dir={folder}",
        ]
        command += ["measure.max_samples=1000000", f"measure.max_warmup={seconds}"]
        subprocess.run(command, check=True, capture_output=True)
        (record,) = read(Path(folder))
        return {each.phase: each.summary.median for each in record.series if each.summary is not None}


def compare(case: str, rounds: int) -> dict[str, list[float]]:
    """Return the rounds' ratios by phase."""
    threads = physical_cores()
    sides = {"hand": by_hand, "microbench": by_microbench}
    ratios: dict[str, list[float]] = {}
    for number in range(rounds):
        order = random.sample(list(sides), 2)
        medians = {side: sides[side](case, threads) for side in order}
        for phase, seconds in medians["hand"].items():
            ratios.setdefault(phase, []).append(medians["microbench"][phase] / seconds)
        print(f"{case} round {number + 1}/{rounds}", file=sys.stderr)
    return ratios


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Return the geometric mean and the ends of its 95 % CI."""
    logs = [math.log(ratio) for ratio in ratios]
    half = float(student.ppf(0.975, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean(logs)), math.exp(mean(logs) - half), math.exp(mean(logs) + half)


def main() -> int:
    """Print one row per phase; return how many intervals do not contain 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("cases", nargs="*", default=CASES, metavar="CASE", help=", ".join(CASES))
    arguments = parser.parse_args()
    different = 0
    print(f"{'case':18} {'phase':10} {'ratio':>6}  95 % CI")
    for case in arguments.cases:
        for phase, ratios in compare(case, arguments.rounds).items():
            ratio, low, high = interval(ratios)
            different += not low <= 1 <= high
            verdict = "same" if low <= 1 <= high else "differs"
            print(f"{case:18} {phase:10} {ratio:6.3f}  {low:.3f} to {high:.3f}  {verdict}", flush=True)
    return different


if __name__ == "__main__":
    sys.exit(main())
