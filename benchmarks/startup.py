"""The cost of microbench besides the work: starting, running one case, and each further case of a sweep.

    python benchmarks/startup.py

- `microbench --help` may take at most 0.5 s;
- a run of `model=dense mode=infer` at most what importing torch and torchvision takes, plus 1 s, plus its
  measuring time;
- each further case of a sweep, in a process of its own, at most 0.3 s beyond building and measuring it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from microbench.records.result import load

REPEATS, FURTHER = 7, 20
SHORT = ["measure.max_time=0.1", "measure.max_warmup=0.1"]
ONE, TWO = ["measure.rounds=1"], ["measure.rounds=2"]


def seconds(*command: str) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - start


def run(*options: str) -> tuple[float, float]:
    """Return the seconds that a run of microbench takes, and how many of them it measured."""
    with tempfile.TemporaryDirectory() as folder:
        taken = seconds("-m", "microbench", f"hydra.run.dir={folder}", *options)
        return taken, measuring(Path(folder))


def measuring(folder: Path) -> float:
    """Return the seconds spent in the calls of all phases, including first calls and warm-up."""
    series = [each for record in load(folder).records for each in record.series]
    return sum(
        sum(each.samples) * each.calls_per_sample + sum(each.warmup)
        for each in series
        if each.phase in ("inference", "first_call")
    )


def main() -> int:
    """Print the three costs and return 1 if one is above its limit."""
    helps, imports, wholes, singles, sweeps, rounds = [], [], [], [], [], []
    for _ in range(REPEATS):
        helps.append(seconds("-m", "microbench", "--help"))
        imports.append(seconds("-c", "import torch, torchvision"))
        taken, measured = run("model=dense", "mode=infer", *ONE)
        wholes.append(taken - measured)
    for _ in range(3):
        one = run("model=dense", *SHORT, *ONE)
        two = run("model=dense", *SHORT, *TWO)
        many = run("-m", "model=dense", f"seed=range({FURTHER + 1})", *SHORT, *ONE)
        rounds.append(two[0] - two[1] - (one[0] - one[1]))
        singles.append(one[0] - one[1])
        sweeps.append(many[0] - many[1])
    further = (median(sweeps) - median(singles)) / FURTHER
    whole, imported = median(wholes), median(imports)
    print(f"--help                                   {median(helps):5.2f} s  limit 0.5 s")
    print(f"model=dense mode=infer, without measuring {whole:4.2f} s  limit {imported + 1:.2f} s", end="")
    print(f" (importing torch and torchvision {imported:.2f} s, plus 1 s)")
    print(f"each further case, without measuring     {further:5.2f} s  limit 0.3 s")
    print(f"each further round, without measuring    {median(rounds):5.2f} s  (it imports torch again)")
    return int(median(helps) > 0.5 or whole > imported + 1 or further > 0.3)


if __name__ == "__main__":
    sys.exit(main())
