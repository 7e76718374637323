"""What `trust.py --simulate` prints: verdicts on log times of processes that are drawn, not measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from microbench.analysis.verdict import Verdict, judge, judgement
from microbench.config import MARGIN, ROUNDS
from microbench.records.record import Readings
from microbench.stats.ratio import Ratio, paired
from microbench.stats.sequential import FIRST_LOOK, looks, race

Floats = NDArray[np.float64]
Generator = np.random.Generator

MOST = 10  # rounds of an adaptive run
SPREAD = 0.1  # the standard deviation between the logarithms of processes' times


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
