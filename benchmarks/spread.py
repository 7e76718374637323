"""Do processes forked from one server differ as much as those with a server each?

    python benchmarks/spread.py [--rounds 20] [--folder outputs/spread] [WORKLOAD …]

A round is one observation of how processes differ: where memory lies, what the allocator did first. Rounds
that fork from one server have its memory layout in common, so that they might differ less than real runs do,
and intervals be too narrow. Each workload is measured with measure.share_server=true and with false, their
rounds interleaved; a second call completes or only reads the records. It prints

- the standard deviation between the logarithms of the rounds' times, of both;
- their ratio, with a 95 % CI: a ratio of variances follows the F distribution if the logarithms are normal
  (Snedecor & Cochran, Statistical Methods, 8th ed., section 6.9);
- the ratio of the medians.

Pairs of rounds of which one was disturbed are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median, stdev
from typing import Any

from scipy.stats import f as snedecor

import microbench
from microbench.records.cases import CaseResult

LIMITS = {"measure.budget": None, "measure.max_time": 1.0, "measure.max_warmup": 1.0, "verify": False}
LEAST = 6  # pairs of rounds
WORKLOADS: dict[str, dict[str, Any]] = {
    "resnet18-infer": {"model": "resnet18", "mode": "infer", "batch_size": 1},
    "conv3x3_1-train": {"model": "conv3x3_1", "mode": "train", "batch_size": 2},
    "dense-infer": {"model": "dense", "mode": "infer", "batch_size": 8},
}


def measured(name: str, rounds: int, folder: Path) -> tuple[CaseResult, CaseResult]:
    """Measure a workload with a shared server, and with one for each round."""
    servers = {"measure.share_server": [True, False], "measure.rounds": rounds}
    shared, own = microbench.sweep(folder=folder / name, **WORKLOADS[name], **LIMITS, **servers).cases()
    return shared, own


def paired(*cases: CaseResult) -> list[list[float]]:
    """Return the logarithms of the cases' times in the rounds that were undisturbed in all of them."""
    wholes = [case.whole for case in cases]
    numbers = [
        number
        for number in cases[0].rounds
        if all(number in case.rounds and not case.rounds[number].is_disturbed for case in cases)
    ]
    return [[math.log(whole.medians[number]) for number in numbers] for whole in wholes if whole is not None]


def ratio_of_spreads(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Return the ratio of two standard deviations, and the ends of its 95 % CI."""
    ratio, freedom = stdev(one) / stdev(other), (len(one) - 1, len(other) - 1)
    low, high = (ratio / math.sqrt(float(snedecor.ppf(level, *freedom))) for level in (0.975, 0.025))
    return ratio, low, high


def main() -> int:
    """Print one row per workload; return 1 if a shared server's rounds certainly differ less."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("outputs/spread"))
    parser.add_argument(
        "workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD", help=", ".join(WORKLOADS)
    )
    arguments = parser.parse_args()
    print(f"{'workload':16} rounds  shared     own  ratio  95 % CI       ratio of medians")
    less = 0
    for name in arguments.workloads:
        shared, own = paired(*measured(name, arguments.rounds, arguments.folder))
        if len(shared) < LEAST:
            print(f"{name:16} {len(shared):6}  too few undisturbed rounds")
            continue
        ratio, low, high = ratio_of_spreads(shared, own)
        less += high < 1
        times = math.exp(median(shared) - median(own))
        print(
            f"{name:16} {len(shared):6}  {stdev(shared):5.1%}  {stdev(own):6.1%}  {ratio:5.2f}  "
            f"{low:.2f} to {high:.2f}  {times:.3f}",
            flush=True,
        )
    return int(less > 0)


if __name__ == "__main__":
    sys.exit(main())
