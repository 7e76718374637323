"""Steps in sequences of runs: how often there is a false one, which are found, and where."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from microbench.stats import steps
from microbench.stats.steps import LEAST, LEAST_RANKED, largest, p_value, resemblance

HISTORIES = 400
SPREAD = 0.02

Floats = NDArray[np.float64]


def simulated(runs: int, kind: str, seed: int) -> Floats:
    """Logarithms of runs, one history a row: normal, with heavy tails, or some slow runs."""
    random = np.random.default_rng(seed)
    if kind == "heavy":
        return SPREAD * random.standard_t(3, (HISTORIES, runs))
    logs = SPREAD * random.standard_normal((HISTORIES, runs))
    return logs + (random.random(logs.shape) < 0.1) * np.log(1.3) if kind == "slow runs" else logs


@pytest.mark.parametrize("kind", ["normal", "heavy", "slow runs"])
@pytest.mark.parametrize("runs", [LEAST, LEAST_RANKED, 30])
def test_five_percent_of_histories_without_a_step_have_one(runs: int, kind: str) -> None:
    """Of 400, at most 33 with a probability of 99.7 %, if the rate is 5 %."""
    found = sum(bool(steps.steps([each])[0]) for each in simulated(runs, kind, seed=runs))
    assert found <= 33
    if kind == "normal":
        assert found >= 7


@pytest.mark.parametrize(
    ("runs", "kind", "ratio", "least"),
    [
        (8, "normal", 1.10, 0.9),
        (12, "normal", 1.05, 0.65),
        (30, "normal", 1.05, 0.97),
        (30, "slow runs", 1.1, 0.85),
    ],
)
def test_a_step_is_found_where_it_is(runs: int, kind: str, ratio: float, least: float) -> None:
    logs = simulated(runs, kind, seed=1)
    logs[:, runs // 2 :] += np.log(ratio)
    found = [steps.steps([each])[0] for each in logs]
    assert sum(map(bool, found)) >= least * HISTORIES
    places = [abs(each[0].place - runs // 2) for each in found if len(each) == 1]
    assert np.mean([each <= 1 for each in places]) > 0.8


def test_the_statistic_is_the_largest_t_of_both_sides() -> None:
    logs = simulated(9, "normal", seed=2)[0]
    ts = [abs(ttest_ind(logs[:place], logs[place:]).statistic) for place in range(2, 8)]
    assert steps._ts(logs[np.newaxis])[0] == pytest.approx(ts)
    found = largest(logs)
    assert found is not None
    assert found.place == 2 + int(np.argmax(ts))


def test_the_p_value_is_that_of_independent_simulations() -> None:
    draws = np.random.default_rng(3).standard_normal((4000, 8))
    ts = [np.abs(ttest_ind(draws[:, :place], draws[:, place:], axis=1).statistic) for place in range(2, 7)]
    for share in (0.5, 0.9, 0.95, 0.99):
        assert p_value(8, float(np.quantile(np.max(ts, axis=0), share))) == pytest.approx(
            1 - share, abs=0.015
        )
    assert p_value(8, 0.0) == 1
    assert p_value(8, 1e9) < 1e-4


def test_several_steps_are_found_and_bounded_by_their_neighbours() -> None:
    random = np.random.default_rng(4)
    levels = np.repeat([0.0, 0.2, 0.1], (8, 10, 7))
    (found,) = steps.steps([levels + 0.005 * random.standard_normal(25)])
    assert [(each.begin, each.place, each.end) for each in found] == [(0, 8, 18), (8, 18, 25)]
    assert all(each.p < 0.001 for each in found)


def test_a_single_slow_run_is_no_step() -> None:
    random = np.random.default_rng(5)
    logs = 0.005 * random.standard_normal((2, 10))
    logs[0, 5] += 0.3
    logs[1, -1] += 0.3
    assert steps.steps(list(logs)) == [[], []]


def test_few_runs_and_equal_runs_have_no_step() -> None:
    assert steps.steps([[0.0, 0.0, 0.0, 9.0, 9.0], [1.0] * 8, [1.0] * 20, []]) == [[], [], [], []]
    (exact,) = steps.steps([[0.0] * 4 + [1.0] * 4])
    assert [each.place for each in exact] == [4]


def test_among_many_histories_few_of_the_found_ones_are_false() -> None:
    logs = simulated(20, "normal", seed=6)
    logs[:40, 10:] += np.log(1.1)
    found = np.array([bool(each) for each in steps.steps(list(logs))])
    assert found[:40].all()
    assert found[40:].sum() <= 9  # 5 % of those found are expected, that is 2


@pytest.mark.parametrize(("correlation", "least", "most"), [(0.0, 0.02, 0.09), (0.6, 0.7, 1.0)])
def test_runs_that_resemble_the_one_before_are_told(correlation: float, least: float, most: float) -> None:
    logs = simulated(30, "normal", seed=7)
    for run in range(1, 30):
        logs[:, run] += correlation * logs[:, run - 1]
    found = [resemblance(each, []) for each in logs]
    assert least <= np.mean([each is not None for each in found]) <= most
    if correlation:
        assert np.median([each for each in found if each is not None]) == pytest.approx(correlation, abs=0.12)


def test_a_step_is_no_resemblance() -> None:
    logs = 0.005 * np.random.default_rng(8).standard_normal(30)
    logs[15:] += 0.2
    (found,) = steps.steps([logs])
    assert resemblance(logs, []) is not None
    assert resemblance(logs, found) is None
    assert resemblance(logs[:8], []) is None
    assert resemblance([1.0] * 20, []) is None
