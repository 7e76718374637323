from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from microbench.stats.dependence import LEAST, autocorrelation, inefficiency

Ar1 = Callable[[float, int, int], NDArray[np.float64]]


def theory(phi: float) -> float:
    """Return the integrated autocorrelation time of the signs of a Gaussian AR(1) series.

    The signs of two normal variables with correlation r have the correlation 2/pi arcsin(r): Sheppard 1899.
    """
    lags = np.arange(1, 1000)
    return float(1 + 2 * np.sum(2 / np.pi * np.arcsin(phi**lags)))


@pytest.mark.parametrize("phi", [0.3, 0.56, 0.8, 0.9])
def test_the_inefficiency_of_series_that_depend_on_their_past_is_that_of_the_theory(
    phi: float, ar1: Ar1
) -> None:
    found = [inefficiency(ar1(phi, 4000, seed)) for seed in range(100)]
    assert float(np.mean(found)) == pytest.approx(theory(phi), rel=0.1)


@pytest.mark.parametrize("phi", [0.56, 0.8])
def test_the_inefficiency_is_the_variance_of_how_many_lie_below_the_median(phi: float, ar1: Ar1) -> None:
    """A long simulation of its meaning: n/4 times the inefficiency."""
    n = 1000
    below = [float(np.sum(ar1(phi, n, seed) < 1.0)) for seed in range(1500)]
    found = [inefficiency(ar1(phi, n, seed)) for seed in range(100)]
    assert float(np.mean(found)) == pytest.approx(np.var(below) / (n / 4), rel=0.15)


def test_independent_samples_are_worth_nearly_their_number() -> None:
    found = [inefficiency(np.random.default_rng(seed).exponential(size=1000)) for seed in range(200)]
    assert 1.0 <= float(np.median(found)) < 1.1


def test_only_the_sides_of_the_median_count(ar1: Ar1) -> None:
    series = ar1(0.8, 501, 1)
    assert inefficiency(np.exp(40 * series)) == inefficiency(series) > 2


@pytest.mark.parametrize("n", range(1, LEAST))
def test_the_dependence_of_few_samples_is_not_told(n: int) -> None:
    assert inefficiency(np.arange(n)) == 1.0


def test_ten_samples_are_enough_to_see_a_ramp() -> None:
    assert LEAST == 10
    assert inefficiency(np.arange(10)) > 1.0


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_constant_samples_do_not_depend_on_each_other(n: int) -> None:
    assert inefficiency(np.full(n, 0.1)) == 1.0


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 2.0, 1.5, 1.5]])
def test_samples_that_take_turns_are_not_worth_more_than_independent_ones(values: list[float]) -> None:
    assert inefficiency(values * 50) == 1.0


def test_it_is_never_below_one_nor_above_the_number_of_samples(ar1: Ar1) -> None:
    series = [
        *(ar1(phi, n, seed) for phi in (-0.5, 0.0, 0.99) for n in (10, 37, 200) for seed in range(20)),
        np.arange(50.0),
        np.repeat([1.0, 2.0], 100),
        np.array([1.0] * 99 + [2.0]),
    ]
    for values in series:
        assert 1.0 <= inefficiency(values) <= len(values)


def test_a_step_leaves_few_effective_samples() -> None:
    assert 200 / inefficiency(np.repeat([1.0, 2.0], 100)) < 6


@pytest.mark.parametrize("n", [2, 9, 64])
def test_the_autocorrelation_is_that_of_its_definition(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    centred = values - values.mean()
    expected = [np.sum(centred[lag:] * centred[: n - lag]) / np.sum(centred**2) for lag in range(n)]
    assert autocorrelation(centred) == pytest.approx(expected, abs=1e-12)
