"""How often a history has a false step, and which steps it finds, by simulation.

    python benchmarks/history.py

Histories of runs without a step, whose logarithms are normal, heavy-tailed, skewed, have slow runs (every
tenth is 1.3 times as slow) or resemble the run before; then histories with a step, in the middle or before
the last three runs. Three methods see the same histories: `microbench.stats.steps`; the largest t of the
logarithms themselves, with a p-value from permutations of the runs; and Pettitt's ranks, with permutations
too (A Non-Parametric Approach to the Change-Point Problem, Applied Statistics 28, 1979). A run's spread
is 2 %.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from microbench.stats import steps

HISTORIES = 2_000
PERMUTATIONS = 999
SPREAD = 0.02
RUNS = (6, 8, 12, 20, 40)
STEPS = (1.03, 1.05, 1.10)

Floats = NDArray[np.float64]
random = np.random.default_rng(0)


def normal(shape: tuple[int, int]) -> Floats:
    """Return normal noise."""
    return random.standard_normal(shape)


def heavy(shape: tuple[int, int]) -> Floats:
    """Return heavy-tailed noise of the same variance."""
    return random.standard_t(3, shape) / np.sqrt(3)


def skewed(shape: tuple[int, int]) -> Floats:
    """Return noise with a tail on the slow side."""
    return random.exponential(1, shape)


def slow_runs(shape: tuple[int, int]) -> Floats:
    """Return normal noise, with some runs 1.3 times as slow."""
    return normal(shape) + (random.random(shape) < 0.1) * np.log(1.3) / SPREAD


def dependent(correlation: float) -> Callable[[tuple[int, int]], Floats]:
    """Return runs that resemble the run before: an autoregressive process of order one."""

    def draw(shape: tuple[int, int]) -> Floats:
        found = normal(shape)
        for run in range(1, shape[1]):
            found[:, run] = correlation * found[:, run - 1] + np.sqrt(1 - correlation**2) * found[:, run]
        return found

    return draw


KINDS = {
    "normal": normal,
    "heavy tails (t3)": heavy,
    "skewed (exponential)": skewed,
    "every tenth run slow": slow_runs,
    "correlation 0.3": dependent(0.3),
    "correlation 0.6": dependent(0.6),
}


def by_simulation(logs: Floats) -> bool:
    """Whether `microbench.stats.steps` finds a step."""
    return bool(steps.steps([logs])[0])


def by_permutation(logs: Floats) -> bool:
    """Whether the largest t is among the largest 5 % of those of permuted runs."""
    permuted = random.permuted(np.tile(logs, (PERMUTATIONS, 1)), axis=1)
    own, others = steps._ts(logs[np.newaxis]).max(), steps._ts(permuted).max(1)
    return bool((1 + (others >= own * (1 - 1e-12)).sum()) / (1 + PERMUTATIONS) <= 0.05)


def by_ranks(logs: Floats) -> bool:
    """Whether Pettitt's statistic is among the largest 5 % of those of permuted runs."""

    def statistic(ranks: Floats) -> Floats:
        return np.abs((ranks - (ranks.shape[1] + 1) / 2).cumsum(1)).max(1)

    ranks = rankdata(logs)
    permuted = random.permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)
    own, others = statistic(ranks[np.newaxis])[0], statistic(permuted)
    return bool((1 + (others >= own - 1e-9).sum()) / (1 + PERMUTATIONS) <= 0.05)


METHODS = {"steps": by_simulation, "permutations": by_permutation, "ranks": by_ranks}


def share(
    draw: Callable[[tuple[int, int]], Floats], runs: int, ratio: float = 1.0, place: int | None = None
) -> list[float]:
    """Return the share of histories in which each method finds a step."""
    histories = SPREAD * draw((HISTORIES, runs))
    histories[:, runs // 2 if place is None else place :] += np.log(ratio)
    return [float(np.mean([method(each) for each in histories])) for method in METHODS.values()]


def show(title: str, rows: list[tuple[str, int, list[float]]]) -> None:
    """Print a row per kind of history and number of runs."""
    print(f"\n{title}\n{'':28}{'runs':>6}" + "".join(f"{name:>14}" for name in METHODS))
    for name, runs, found in rows:
        print(f"{name:28}{runs:6}" + "".join(f"{each:14.1%}" for each in found), flush=True)


def main() -> None:
    """Print the tables."""
    show("false steps", [(name, n, share(draw, n)) for name, draw in KINDS.items() for n in RUNS])
    for where, of_end in (("in the middle", None), ("before the last three runs", 3)):
        show(
            f"steps found, {where}",
            [
                (f"{ratio:.2f}, {name}", n, share(KINDS[name], n, ratio, of_end and n - of_end))
                for name in ("normal", "every tenth run slow")
                for ratio in STEPS
                for n in RUNS
            ],
        )


if __name__ == "__main__":
    main()
