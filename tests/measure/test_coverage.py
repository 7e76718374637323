"""The interval still covers when the sampler itself has chosen, by that interval, when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from fakes import FakeClock
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri

from microbench.measure.experiment import Experiment, Mark, Marker
from microbench.measure.sampler import sample
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import Timer
from microbench.records.record import StopReason, Summary
from microbench.records.summary import summarize

RUNS = 300
LEAST_COVERAGE = 0.90
MIN_SAMPLES = 20
MILLISECOND = 1e-3


@dataclass(frozen=True)
class Noise:
    """A distribution of a step's time in milliseconds, its true median, and a precision of several looks."""

    draw: Callable[[np.random.Generator, int], NDArray[np.float64]]
    median: float
    rel_ci: float


def _bimodal(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return np.where(rng.random(n) < 0.3, 1.2, 1.0) + rng.normal(0, 0.02, n)


def _wandering(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return an AR(1) series: each value is 0.56 times the last one plus noise."""
    steps = lfilter([1.0], [1.0, -0.56], rng.normal(size=n + 100))[100:]
    return 1 + 0.05 * math.sqrt(1 - 0.56**2) * np.asarray(steps, dtype=np.float64)


# Coverage observed with the 300 seeds below, and with 1,000 others (standard error 0.7 %): normal 95.7 % and
# 95.5 %, lognormal 95.7 % and 95.3 %, bimodal 96.0 % and 96.2 %, exponential 94.3 % and 93.9 %, wandering
# 94.7 % and 92.7 %. Of a series that wanders far (0.8 instead of 0.56), 89.7 % and 86.5 %: that is the
# interval within one process; the interval of a case is over rounds.
NOISES = {
    "normal": Noise(lambda rng, n: rng.normal(1, 0.05, n), 1.0, 0.01),
    "lognormal": Noise(lambda rng, n: rng.lognormal(0, 0.3, n), 1.0, 0.06),
    # Seven of ten around 1.0, ten sd below the rest: the median is the lower mode's 5/7 quantile.
    "bimodal": Noise(_bimodal, 1 + 0.02 * float(ndtri(5 / 7)), 0.006),
    "exponential": Noise(lambda rng, n: 1 + rng.exponential(0.1, n), 1 + 0.1 * math.log(2), 0.015),
    "wandering": Noise(_wandering, 1.0, 0.012),
}


def stopped_summary(noise: Noise, seed: int) -> Summary:
    """Return the summary of one sampling that its own precision has stopped."""
    clock = FakeClock()
    remaining: Iterator[float] = iter(noise.draw(np.random.default_rng(seed), 5000).tolist())

    def step(mark: Marker, calls: int) -> tuple[Mark, Mark]:
        start = mark()
        clock.advance(next(remaining) * MILLISECOND)
        return start, mark()

    experiment = Experiment(step, {"work": (0, 1)}, main=("work",), whole="work")
    rule = StoppingRule(noise.rel_ci, 0.0, math.inf, MIN_SAMPLES, 5000)
    sampled = sample(experiment, Timer(clock), rule, 1, lambda progress: None)
    assert sampled.stop_reason is StopReason.REL_CI
    return summarize(sampled.samples["work"])


@pytest.mark.parametrize("name", NOISES)
def test_the_interval_covers_the_true_median_after_several_looks(name: str) -> None:
    noise = NOISES[name]
    summaries = [stopped_summary(noise, seed) for seed in range(RUNS)]

    looks = [MIN_SAMPLES]
    while looks[-1] < 5000:
        looks.append(math.ceil(looks[-1] * 1.25))
    assert {summary.n for summary in summaries} <= set(looks)
    assert np.median([looks.index(summary.n) for summary in summaries]) >= 5

    assert all((summary.half_width or 0) <= noise.rel_ci for summary in summaries)
    median = noise.median * MILLISECOND
    covered = sum((s.ci_low or 0) <= median <= (s.ci_high or 0) for s in summaries)
    assert covered / RUNS >= LEAST_COVERAGE
