"""Can verdicts be trusted? How often they are wrong, what they find, how often intervals contain the truth.

    python benchmarks/trust.py --simulate [--simulations 4000]
    python benchmarks/trust.py [--rounds 24] [--copies 5] [--rankings 20] [--folder DIR] [WORKLOAD …]

The simulation draws log times of processes and hands them to the code that gives verdicts: comparisons and
rankings of equal cases with six rounds each and with up to ten adaptive ones, and comparisons in which
disturbed rounds are measured again. It takes about a minute.

Without --simulate, cases are measured on this machine, in about ten minutes. Each workload is measured as
several copies of one case, interleaved, in many rounds; the records stay in the folder, and a second call
completes or only reads them. The rounds are cut into blocks of R, each as a user's run of `measure.rounds=R`
would have it, and in each block

- every copy is compared with every other: they are the same case, so "faster" or "slower" is a false verdict;
- a copy is compared with a slower one: is the slowdown found? It is planted in the numbers of one side (times
  1.03 and 1.10), and, for `repeat`, in fact: 103 multiplications instead of 100;
- does each copy's interval contain the median of all copies' rounds, as the long-run value?

Then rankings of three equal configurations are measured with `schedule=adaptive`: how many call one slower,
and how often does the interval of a ratio contain 1?
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

from msgspec.structs import replace
from trust_simulated import Share, simulate

import microbench
from microbench.analysis.ranking import rankings
from microbench.analysis.verdict import Verdict
from microbench.config import ROUNDS
from microbench.records.cases import CaseResult
from microbench.records.record import Series
from microbench.records.result import Result

HERE = Path(__file__).parent
BUDGET = 12.0  # seconds of a copy
WORKLOADS: dict[str, dict[str, Any]] = {
    "repeat": {
        "model": "layer",
        "mode": "infer",
        "model.cls": "planted.Repeat",
        "model.input_shape": [[256]],
        "batch_size": 32,
        "threads": 1,
    },
    "resnet18": {"model": "resnet18", "mode": "infer", "batch_size": 1},
    "conv3x3_1": {"model": "conv3x3_1", "mode": "train", "batch_size": 2, "allocator": "tuned"},
}
PLANTED = {"3 %": 1.03, "10 %": 1.10}
SIZES = (2, 3, 4, 5, 6, 8, 10)


def measured(name: str, rounds: int, copies: int, folder: Path) -> list[CaseResult]:
    """Measure a workload's copies, followed for `repeat` by one that is actually slower."""
    options: dict[str, Any] = {**WORKLOADS[name], "measure.budget": BUDGET, "measure.rounds": rounds}
    if name == "repeat":
        options["model.args"] = [[100]] * copies + [[103]]
    else:
        options["seed"] = [0] * copies
    return microbench.sweep(folder=folder / name, **options).cases()


def block(case: CaseResult, numbers: Sequence[int], factor: float = 1.0) -> Result:
    """Return a result of one case with only these rounds, and its times multiplied by a factor."""
    records = [case.rounds[number] for number in numbers]
    scaled = [
        replace(each, series=tuple(_times(series, factor) for series in each.series)) for each in records
    ]
    return Result(scaled, Path())


def _times(series: Series, factor: float) -> Series:
    """Return a series with its median multiplied by a factor."""
    if series.summary is None:
        return series
    return replace(series, summary=replace(series.summary, median=series.summary.median * factor))


def verdict(a: Result, b: Result, by: str | None = None) -> str:
    """Return the verdict on the second result compared with the first; `by` is an option that may differ."""
    return str(microbench.compare(a, b, by=by).rows[0].verdict)


def blocks(case: CaseResult, size: int) -> Iterator[Sequence[int]]:
    """Yield the rounds of a case in blocks of `size`."""
    numbers = sorted(case.rounds)
    for start in range(0, len(numbers) - size + 1, size):
        yield numbers[start : start + size]


def main() -> int:
    """Print the simulation, or one row per workload and number of rounds; return 1 if it cannot be trusted.

    That is, if more than 5 % of the verdicts are false, or fewer than 93 % of the intervals contain the
    truth; measured on a machine, by more than chance explains.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--rankings", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("outputs/trust"))
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    arguments = parser.parse_args()
    if arguments.simulate:
        return int(not simulate(arguments.simulations))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    sys.path.insert(0, str(HERE))
    false_verdicts, missed = Share(), Share()
    heads = ("false verdicts", "3 % found", "10 % found", "3 % in fact", "interval holds")
    print(f"{'workload':10} rounds  {'':>7}" + "".join(f"{head:>18}" for head in heads))
    for name in arguments.workloads:
        cases = measured(name, arguments.rounds, arguments.copies, arguments.folder)
        for size in (each for each in SIZES if each <= arguments.rounds):
            shares, width = evaluate(cases, arguments.copies, size)
            print(
                f"{name:10} {size:6}  ±{width:6.1%}" + "".join(f"{share!s:>18}" for share in shares),
                flush=True,
            )
            if size == ROUNDS:
                false_verdicts.hits += shares[0].hits
                false_verdicts.of += shares[0].of
                missed.hits += shares[-1].of - shares[-1].hits
                missed.of += shares[-1].of
    print(f"false verdicts with the default of {ROUNDS} rounds: {false_verdicts}")
    false_rankings, outside, rounds = adaptive(arguments.rankings, arguments.folder)
    print(
        f"adaptive: rankings that call an equal configuration slower: {false_rankings}; intervals without 1: "
        f"{outside}; {rounds:.1f} rounds per case"
    )
    is_false = false_verdicts.is_above(0.05) or false_rankings.is_above(0.05)
    return int(is_false or missed.is_above(0.07) or outside.is_above(0.07))


def adaptive(number: int, folder: Path) -> tuple[Share, Share, float]:
    """Rank equal configurations in an adaptive run.

    Returns:
        How many of the rankings call one of them slower, how many intervals of ratios do not contain 1, and
        the mean number of rounds.
    """
    settings = {
        **WORKLOADS["repeat"],
        "model.args": [[100]],
        "measure.budget": 4.0,
        "schedule": "adaptive",
        "seed": list(range(number)),
        "precision.tolerance": [1e-4, 1.1e-4, 1.2e-4],  # changes neither the work nor its time
    }
    run = microbench.sweep(folder=folder / "adaptive", **settings)
    false, outside, cases = Share(), Share(), run.cases()
    for ranking in rankings(cases):
        judgements = [place.judgement for place in ranking.places if place.judgement is not None]
        false.add(any(each.verdict is Verdict.SLOWER for each in judgements))
    for row in microbench.compare(run, by="precision.tolerance").rows:
        if row.low is not None and row.high is not None:
            outside.add(not row.low <= 1 <= row.high)
    return false, outside, fmean(len(case.measured_rounds) for case in cases)


def evaluate(cases: Sequence[CaseResult], copies: int, size: int) -> tuple[list[Share], float]:
    """Return the shares of false verdicts, slowdowns found, and intervals with the truth; and their ±."""
    same, slower = cases[:copies], cases[copies:]
    phase = next(each for each in ("total", "inference") if each in same[0].estimates)
    truth = median(value for case in same for value in case.estimates[phase].medians.values())
    false, planted, real, holds = Share(), {name: Share() for name in PLANTED}, Share(), Share()
    widths = []
    for numbers in blocks(same[0], size):
        for a, b in combinations(same, 2):
            false.add(verdict(block(a, numbers), block(b, numbers)) in ("faster", "slower"))
            for name, factor in PLANTED.items():
                planted[name].add(verdict(block(a, numbers), block(b, numbers, factor)) == "slower")
        for a in same:
            for b in slower:
                real.add(verdict(block(a, numbers), block(b, numbers), by="model.args") == "slower")
            estimate = block(a, numbers).cases()[0].estimates[phase]
            assert estimate.low is not None
            assert estimate.high is not None
            holds.add(estimate.low <= truth <= estimate.high)
            widths.append(estimate.relative_half_width or 0.0)
    return [false, *planted.values(), real, holds], median(widths)


if __name__ == "__main__":
    sys.exit(main())
