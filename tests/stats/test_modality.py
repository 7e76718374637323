from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from microbench.stats.modality import LEAST, LEAST_GAP, LEAST_SHARE, _split, two_speeds

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

ONE_PEAK: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(1, 0.1, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 0.3, n),
    "skewed lognormal": lambda rng, n: rng.lognormal(0, 1, n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "uniform": lambda rng, n: rng.uniform(1, 2, n),
    "pareto": lambda rng, n: 1 + rng.pareto(2, n),
}


@pytest.mark.parametrize("n", [60, 100, 300, 1000])
@pytest.mark.parametrize("name", ONE_PEAK)
def test_one_peak_is_rarely_taken_for_two(name: str, n: int) -> None:
    found = [two_speeds(ONE_PEAK[name](np.random.default_rng(seed), n)) for seed in range(500)]
    assert sum(each is not None for each in found) / 500 <= 0.015


def hills(share: float, gap: float, width: float, n: int, seed: int) -> NDArray[np.float64]:
    """Times around 1 and, for a share of them, around 1 + gap."""
    rng = np.random.default_rng(seed)
    upper = np.arange(n) < round(share * n)
    return rng.permutation(np.where(upper, 1 + gap, 1.0) * rng.lognormal(0, width, n))


@pytest.mark.parametrize("n", [60, 200, 1000])
@pytest.mark.parametrize(("share", "gap", "width"), [(0.5, 0.3, 0.03), (0.2, 0.3, 0.03), (0.7, 0.1, 0.01)])
def test_two_hills_are_found_with_where_they_lie(share: float, gap: float, width: float, n: int) -> None:
    for seed in range(30):
        found = two_speeds(hills(share, gap, width, n, seed))
        assert found is not None
        assert found.low == pytest.approx(1.0, rel=0.02)
        assert found.high == pytest.approx(1 + gap, rel=0.02)
        assert found.share == pytest.approx(share, abs=0.02)


def test_hills_in_turns_are_found_as_well_as_those_one_after_the_other() -> None:
    samples = np.sort(hills(0.5, 0.3, 0.03, 200, 0))
    assert two_speeds(samples) == two_speeds(samples[::-1]) == two_speeds(hills(0.5, 0.3, 0.03, 200, 0))


def test_a_few_outliers_are_no_hill() -> None:
    assert LEAST_SHARE == 0.1
    for upper, found in ((5, False), (9, False), (10, True), (90, True), (91, False)):
        assert (two_speeds([1.0] * (100 - upper) + [2.0] * upper) is not None) is found, upper


def test_hills_close_to_each_other_do_not_matter() -> None:
    assert LEAST_GAP == 0.05
    assert two_speeds([1.0, 1.04] * 50) is None
    assert two_speeds([1.0, 1.06] * 50) is not None


def test_hills_of_few_samples_are_chance() -> None:
    assert two_speeds([1.0, 2.0] * (LEAST // 2)) is not None
    assert two_speeds([1.0, 2.0] * (LEAST // 2 - 1) + [1.0]) is None


@pytest.mark.parametrize("samples", [[], [1.0], [1.0] * 100, [0.0, 1.0] * 50])
def test_no_hills_where_there_cannot_be_any(samples: list[float]) -> None:
    assert two_speeds(samples) is None


def test_the_split_is_the_one_of_least_squared_deviations() -> None:
    for seed in range(20):
        ordered = np.sort(np.random.default_rng(seed).lognormal(size=25))
        within = [
            sum(statistics.pvariance(part) * len(part) for part in (ordered[:i], ordered[i:]))
            for i in range(1, 25)
        ]
        assert _split(ordered) == int(np.argmin(within)) + 1
