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
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.special import bdtrc

import microbench
from microbench.analysis.ranking import rankings
from microbench.analysis.verdict import Verdict, judge, judgement
from microbench.config import MARGIN, ROUNDS
from microbench.records.cases import CaseResult
from microbench.records.record import Readings, Series
from microbench.records.result import Result
from microbench.stats.ratio import Ratio, paired
from microbench.stats.sequential import FIRST_LOOK, looks, race

Floats = NDArray[np.float64]
Generator = np.random.Generator

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


@dataclass
class Share:
    """A number of hits out of a total."""

    hits: int = 0
    of: int = 0

    def add(self, hit: bool) -> None:
        """Count one comparison."""
        self.hits += hit
        self.of += 1

    def __str__(self) -> str:
        return f"{self.share} of {self.of}" if self.of else ""

    @property
    def share(self) -> str:
        """The share of hits in percent."""
        return f"{self.hits / self.of:6.1%}".replace("%", " %")

    def is_above(self, share: float) -> bool:
        """Return whether so many hits would be a surprise (1 %) if that were the true share."""
        return self.hits > 0 and float(bdtrc(self.hits - 1, self.of, share)) < 0.01


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


MOST = 10  # rounds of an adaptive run
SPREAD = 0.1  # the standard deviation between the logarithms of processes' times


def light(draw: Generator, shape: tuple[int, ...]) -> Floats:
    """Draw normal logarithms."""
    return SPREAD * draw.standard_normal(shape)


def t3(draw: Generator, shape: tuple[int, ...]) -> Floats:
    """Draw from Student's t with three degrees of freedom."""
    return SPREAD * draw.standard_t(3, shape) / math.sqrt(3)


def bimodal(draw: Generator, shape: tuple[int, ...]) -> Floats:
    """Draw from two kinds of processes, 20 % apart, that hardly differ within a kind."""
    return SPREAD * (0.15 * draw.standard_normal(shape) + 2 * (draw.random(shape) < 0.5))


KINDS: Sequence[Callable[[Generator, tuple[int, ...]], Floats]] = (light, t3, bimodal)


def simulate(number: int) -> bool:
    """Print how often verdicts on simulated cases are false; return whether they can be trusted."""
    shares = [*compare(number), *rank(number // 2)]
    return not any(each.is_above(0.05) for each in shares) and disturb(number)


def compare(number: int) -> Iterator[Share]:
    """Print what comparisons of two cases find; yield the shares of false verdicts."""
    heads = "false verdicts", "interval holds", "10 % found", "rounds", "20 % found", "rounds"
    print(f"{'comparisons':26}" + "".join(f"{head:>16}" for head in heads))
    for kind in KINDS:
        logs = kind(np.random.default_rng(1), (number, 2, MOST))
        for name, stop in (("six rounds", at_once), ("up to ten, adaptive", in_turn)):
            false, holds, cells = Share(), Share(), list[str]()
            for factor in (1.0, 1.1, 1.2):
                ratios = [stop(b - a + math.log(factor)) for a, b in logs]
                verdicts = [judge([ratio])[0].verdict for ratio in ratios]
                if factor > 1:
                    rounds = fmean(ratio.parts[0].rounds for ratio in ratios)
                    found = Share(verdicts.count(Verdict.SLOWER), number)
                    cells += [found.share, f"{rounds:.1f}"]
                    continue
                false.of = holds.of = number
                false.hits = sum(each in (Verdict.FASTER, Verdict.SLOWER) for each in verdicts)
                holds.hits = sum(
                    low <= 1 <= high for low, high in (each.interval or (1, 1) for each in ratios)
                )
            print(
                f"{kind.__name__:8}{name:18}"
                + "".join(f"{each:>16}" for each in (false.share, holds.share, *cells))
            )
            yield false
            yield Share(holds.of - holds.hits, holds.of)


def at_once(logs: Floats) -> Ratio:
    """Return the ratio of six rounds, given their log ratios."""
    return paired(np.ones(ROUNDS), np.exp(logs[:ROUNDS]))


def in_turn(logs: Floats) -> Ratio:
    """Return the ratio as it is at the first look with a verdict, or after ten rounds."""
    seen = looks(logs[None], np.full((1, MOST), MOST))
    is_told = np.minimum(seen.p_slower, seen.p_faster)[0] <= 0.05
    rounds = int(is_told.argmax()) + 1 if is_told.any() else MOST
    return looks(logs[None, :rounds], np.full((1, rounds), MOST)).last(0)


def rank(number: int) -> Iterator[Share]:
    """Print which of four cases rankings call slower; yield the shares with a false verdict."""
    factors = 1.0, 1.1, 1.3, 2.0
    heads = "equal: any", *(f"{factor:g} times" for factor in factors), "rounds"
    print(f"\n{'rankings of four, slower':26}" + "".join(f"{head:>12}" for head in heads))
    for kind in KINDS:
        logs = kind(np.random.default_rng(2), (number, 4, MOST))
        for name, slower in (("six rounds", slower_at_once), ("up to ten, adaptive", slower_in_turn)):
            equal = Share(sum(bool(slower(each)[0]) for each in logs), number)
            found = [slower(each + np.log(factors)[:, None]) for each in logs]
            places = [Share(sum(place in left for left, _ in found), number) for place in range(4)]
            rounds = f"{fmean(each for _, each in found):.1f}"
            cells = *(each.share for each in (equal, *places)), rounds
            print(f"{kind.__name__:8}{name:18}" + "".join(f"{each:>12}" for each in cells))
            yield equal
            yield places[0]


def slower_at_once(logs: Floats) -> tuple[set[int], float]:
    """Return which cases are slower than the fastest after six rounds each, and the rounds per case."""
    times = np.exp(logs[:, :ROUNDS])
    leader, *others = np.argsort(np.median(times, axis=1)).tolist()
    pairs = len(times) * (len(times) - 1) // 2
    ratios = {other: paired(times[leader], times[other]) for other in others}
    found = {
        other: judgement(ratio, min(1.0, (ratio.p or 0.0) * pairs), pairs, MARGIN).verdict
        for other, ratio in ratios.items()
    }
    return {other for other, verdict in found.items() if verdict is Verdict.SLOWER}, ROUNDS


def slower_in_turn(logs: Floats) -> tuple[set[int], float]:
    """Return which cases leave a race of at most ten rounds, and the rounds per case."""
    rounds, total = FIRST_LOOK, FIRST_LOOK * len(logs)
    while True:
        left = race(logs[:, :rounds], np.full(rounds, MOST)).left
        alive = len(logs) - len(left)
        if alive == 1 or rounds == MOST:
            return set(left), total / len(logs)
        rounds, total = rounds + 1, total + alive


def disturb(number: int) -> bool:
    """Print what measuring disturbed rounds again does to comparisons; return whether it adds no bias.

    A disturbed round takes 1.3 to 8 times as long. The sensors notice a share of them, and 3 % of the others.
    """
    print(f"\n{'disturbed rounds':38}{'bias':>18}{'false verdicts':>16}{'20 % found':>12}{'rounds':>8}")
    unbiased = True
    for shares, noticed in (((0.0, 0.0), 1.0), ((0.1, 0.1), 1.0), ((0.1, 0.1), 0.8), ((0.05, 0.2), 0.8)):
        for is_repeated in (False, True):
            draw = np.random.default_rng(3)
            logs, sees = light(draw, (number, 2, 2 * ROUNDS)), draw.random((number, 2, 2 * ROUNDS))
            hit = draw.random(logs.shape) < np.asarray(shares)[:, None]
            logs += hit * draw.uniform(math.log(1.3), math.log(8), logs.shape)
            seen = np.where(hit, sees < noticed, sees < 0.03)
            counted = [
                kept(each, ~disturbed.any(0) | (not is_repeated))
                for each, disturbed in zip(logs[:, 1] - logs[:, 0], read(seen), strict=True)
            ]
            ratios = [at_once(each) for each, _ in counted]
            bias = fmean(ratio.log for ratio in ratios)
            error = float(np.std([ratio.log for ratio in ratios])) / math.sqrt(number)
            false = Share(sum((ratio.p or 1.0) <= 0.05 for ratio in ratios), number)
            found = [paired(np.ones(ROUNDS), np.exp(each + math.log(1.2))) for each, _ in counted]
            slower = Share(sum(judge([ratio])[0].verdict is Verdict.SLOWER for ratio in found), number)
            name = f"{shares[0]:.0%}, {shares[1]:.0%}; {noticed:.0%} noticed".replace("%", " %")
            what = "repeated" if is_repeated else "counted"
            rounds = fmean(each for _, each in counted)
            cells = f"{false.share:>16}{slower.share:>12}{rounds:8.1f}"
            print(f"{name:28}{what:10}{bias:+10.4f} ±{2 * error:.4f}{cells}")
            if is_repeated and (noticed == 1.0 or shares[0] == shares[1]):
                unbiased = unbiased and abs(bias) < 3 * error and not false.is_above(0.05)
    return unbiased


def kept(logs: Floats, counts: NDArray[np.bool_]) -> tuple[Floats, int]:
    """Return the first six log ratios that count, or all if there are fewer, and how many were measured."""
    rounds = np.flatnonzero(counts)[:ROUNDS]
    return (logs[rounds], int(rounds[-1]) + 1) if len(rounds) == ROUNDS else (logs[:ROUNDS], len(logs))


def read(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which processes count as disturbed, by what the sensors read beside them."""
    noticed, quiet = (reading(load).is_disturbed for load in (0.5, 0.01))
    return np.where(seen, noticed, quiet)


def reading(load: float) -> Readings:
    """Return the readings of a process beside which others used that many CPUs."""
    untold: dict[str, Any] = dict.fromkeys(Readings.__struct_fields__)
    return Readings(**untold | {"sampling_seconds": 1.0, "run_delay": load, "foreign_cpus": load})


if __name__ == "__main__":
    sys.exit(main())
