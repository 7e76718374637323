"""How often do intervals of percentiles hold, and how often are equal tails called different? A simulation.

    python benchmarks/tails.py [--repetitions 400]

Draws rounds of samples: processes differ by 10 %, neighbouring samples of a process are alike (their
correlation is 0.9), and 3 % of the calls are delayed, in some processes more than in others. It prints how
often three intervals contain the true percentile: over all calls, with the effective number of samples that
differences between rounds leave; the same as if samples were independent; and that of a typical process. An
end that is missing counts as one that holds; `both` is how often both are there. Then it compares equal sides
of six rounds, one of them with three times as many samples as the other, which has as few as are allowed, and
prints the share of comparisons whose 95 % CI excludes 1.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from microbench.stats.median import CONFIDENCE, interval_ranks, least_for_interval, quantile
from microbench.stats.percentiles import of_typical_process, over_calls
from microbench.stats.ratio import LEVEL, Ratio, paired, unpaired

Floats = NDArray[np.float64]
SPREAD, ALIKE, DELAYED = 0.1, 0.9, 0.03
CASES = ((90.0, 6, 100), (90.0, 6, 1000), (90.0, 20, 300), (99.0, 6, 100), (99.0, 6, 1000), (99.0, 10, 1000))
SLOW_CASES = ((99.9, 6, 5000),)


def drawn(generator: np.random.Generator, n: int) -> Floats:
    """Draw the times of one process's calls."""
    within = lfilter([math.sqrt(1 - ALIKE**2)], [1, -ALIKE], generator.standard_normal(n + 50))[50:]
    share = DELAYED * math.exp(0.5 * generator.standard_normal() - 0.125)
    delays = (generator.random(n) < share) * generator.exponential(0.4, n)
    times: Floats = np.exp(SPREAD * generator.standard_normal() + SPREAD * within + delays)
    return times


def holds(low: float | None, high: float | None, true: float) -> bool:
    """Return whether an interval contains a value; a missing end does not exclude it."""
    return (low is None or low <= true) and (high is None or true <= high)


def as_independent(rounds: Sequence[Floats], percent: float) -> tuple[float | None, float | None]:
    """Return the order statistics around a percentile as if all samples were independent."""
    ordered = np.sort(np.concatenate(rounds))
    low, high = interval_ranks(len(ordered), CONFIDENCE, percent / 100)
    return (None if low is None else float(ordered[low])), (None if high is None else float(ordered[high]))


def coverage(generator: np.random.Generator, repetitions: int) -> None:
    """Print how often the intervals hold."""
    print(
        f"{'':8}{'rounds':>8}{'samples':>9}{'over all calls':>16}{'both':>7}{'as independent':>16}"
        f"{'typical':>9}"
    )
    processes = [drawn(generator, 20_000) for _ in range(1000)]
    for percent, number, n in (*CASES, *SLOW_CASES):
        over_all = quantile(np.concatenate(processes), percent / 100)
        typical = float(np.median([quantile(each, percent / 100) for each in processes]))
        found: list[tuple[bool, bool, bool, bool]] = []
        for _ in range(repetitions):
            sizes = generator.integers(n // 2, 3 * n // 2, number)
            rounds = [drawn(generator, int(size)) for size in sizes]
            [calls] = over_calls(rounds, [percent])
            process = of_typical_process([drawn(generator, n) for _ in range(number)], percent)
            found.append(
                (
                    holds(calls.low, calls.high, over_all),
                    calls.low is not None and calls.high is not None,
                    holds(*as_independent(rounds, percent), over_all),
                    process is not None and holds(process.low, process.high, typical),
                )
            )
        calls_hold, both, independent, processes_hold = np.mean(found, axis=0)
        last = f"{processes_hold:9.1%}" if n >= least_for_interval(percent / 100) else f"{'':9}"
        print(
            f"p{percent:<7g}{number:8}{n:9}{calls_hold:16.1%}{both:7.0%}{independent:16.1%}{last}", flush=True
        )


def verdicts(generator: np.random.Generator, repetitions: int) -> None:
    """Print how often equal sides are called different."""
    print(f"\n{'':8}{'samples':>17}{'paired':>9}{'welch':>9}")
    for percent in (90.0, 95.0, 99.0, 99.9):
        n = least_for_interval(percent / 100)
        wrong = {paired: 0, unpaired: 0}
        for _ in range(repetitions):
            few, many = (
                [quantile(drawn(generator, size), percent / 100) for _ in range(6)] for size in (n, 3 * n)
            )
            for compared in wrong:
                wrong[compared] += excludes_one(compared(few, many))
        shares = "".join(f"{count / repetitions:9.1%}" for count in wrong.values())
        print(f"p{percent:<7g}{f'{n} and {3 * n}':>17}{shares}", flush=True)


def excludes_one(ratio: Ratio) -> bool:
    """Return whether a ratio's interval excludes 1."""
    return ratio.p is not None and ratio.p < LEVEL


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=400)
    repetitions = parser.parse_args().repetitions
    generator = np.random.default_rng(0)
    coverage(generator, repetitions)
    verdicts(generator, repetitions)


if __name__ == "__main__":
    main()
