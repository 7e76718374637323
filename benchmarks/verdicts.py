"""How often are equal sides called different, and how often are differences found? A simulation.

    python benchmarks/verdicts.py [--rounds 6] [--comparisons 4000]

Draws the logarithms of the rounds' times of two sides and compares them by microbench's two methods
(`paired`, for rounds of one interleaved run, and `welch`, for separate runs) and by two that use ranks: the
exact intervals of Wilcoxon's signed ranks for paired rounds, and of Mann & Whitney's for separate ones, both
around Hodges & Lehmann's estimates. It prints the share of comparisons whose 95 % CI excludes 1; what the
looks of adaptive runs and the pairs of a ranking cost is in `trust.py --simulate`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from microbench.stats.ratio import LEVEL, Ratio, paired, unpaired

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, float, tuple[int, int]], Floats]
SPREADS, DIFFERENCES = (0.02, 0.05), (0.0, 0.03, 0.1)


def normal(generator: np.random.Generator, spread: float, shape: tuple[int, int]) -> Floats:
    """Draw normal logarithms."""
    return spread * generator.standard_normal(shape)


def outliers(generator: np.random.Generator, spread: float, shape: tuple[int, int]) -> Floats:
    """Draw normal logarithms, with every tenth round of a side 1.3 times as slow."""
    return normal(generator, spread, shape) + math.log(1.3) * (generator.random(shape) < 0.1)


def heavy(generator: np.random.Generator, spread: float, shape: tuple[int, int]) -> Floats:
    """Draw from Student's t with three degrees of freedom."""
    return spread / math.sqrt(3) * generator.standard_t(3, shape)


def skewed(generator: np.random.Generator, spread: float, shape: tuple[int, int]) -> Floats:
    """Draw from an exponential distribution."""
    return spread * generator.exponential(size=shape)


def common(generator: np.random.Generator, spread: float, shape: tuple[int, int]) -> Floats:
    """Draw normal logarithms, with a disturbance of 10 % that both sides of a round share."""
    shared = 0.1 * np.repeat(generator.standard_normal((1, shape[1])), shape[0], axis=0)
    return normal(generator, spread, shape) + shared


def outside(ratio: Ratio) -> bool:
    """Return whether a ratio's interval excludes 1."""
    return ratio.p is not None and ratio.p < LEVEL


def signed_ranks(a: Floats, b: Floats) -> bool:
    """Return whether the exact interval of Wilcoxon's signed ranks excludes no difference."""
    d = b - a
    first, second = np.triu_indices(len(d))
    ways = np.ones(1)
    for rank in range(1, len(d) + 1):
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    return _ordered((d[first] + d[second]) / 2, ways)


def rank_sums(a: Floats, b: Floats) -> bool:
    """Return whether the exact interval of Mann and Whitney's test excludes no difference."""
    n = len(a)
    ways = np.zeros((n + 1, n * n + 1))  # by size of b, the sum of how many of a lie below each
    ways[0, 0] = 1
    for below in range(n + 1):
        for number in range(1, n + 1):
            ways[number, below:] += ways[number - 1, : n * n + 1 - below]
    return _ordered((b[:, None] - a[None, :]).ravel(), ways[n])


def _ordered(differences: Floats, ways: Floats) -> bool:
    """Return whether the interval between order statistics, from a count's exact distribution, excludes 0."""
    left_out = int(np.searchsorted(np.cumsum(ways) / ways.sum(), LEVEL / 2, side="right"))
    if left_out == 0:
        return False
    ordered = np.sort(differences)
    return bool(ordered[left_out - 1] > 0 or ordered[-left_out] < 0)


METHODS: dict[str, Callable[[Floats, Floats], bool]] = {
    "paired": lambda a, b: outside(paired(np.exp(a), np.exp(b))),
    "signed ranks": signed_ranks,
    "welch": lambda a, b: outside(unpaired(np.exp(a), np.exp(b))),
    "rank sums": rank_sums,
}


def compare(rounds: int, comparisons: int) -> None:
    """Print how often each method finds a difference."""
    print(f"{'rounds':10} {'spread':>7} {'difference':>10} {'':2}", *(f"{name:>12}" for name in METHODS))
    for draw in (normal, outliers, heavy, skewed, common):
        for spread in SPREADS:
            for difference in DIFFERENCES:
                generator, found = np.random.default_rng(0), dict.fromkeys(METHODS, 0)
                for _ in range(comparisons):
                    a, b = draw(generator, spread, (2, rounds))
                    for name, differs in METHODS.items():
                        found[name] += differs(a, b + math.log1p(difference))
                shares = (f"{number / comparisons:12.1%}" for number in found.values())
                print(f"{draw.__name__:10} {spread:7.0%} {difference:10.0%} {'':2}", *shares)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--comparisons", type=int, default=4000)
    arguments = parser.parse_args()
    compare(arguments.rounds, arguments.comparisons)


if __name__ == "__main__":
    main()
