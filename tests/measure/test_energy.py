"""The energy of a call by a counter that moves now and then, on a driver of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_nvml import NO_PERMISSION, State, counting

from microbench.measure import energy
from microbench.measure.energy import energy_per_call
from microbench.measure.experiment import Mark, Marker
from microbench.system.gpu import Gpu, opened

STEP = 0.003


class Clock:
    """The host's clock."""

    name, ahead = "host", False
    now = staticmethod(time.perf_counter)
    mark = staticmethod(time.perf_counter)

    def seconds(self, marks: Any) -> list[float]:
        return [mark - marks[0] for mark in marks]


def step(mark: Marker, calls: int) -> tuple[Mark, Mark]:
    assert calls == 1
    start = mark()
    time.sleep(STEP)
    return start, mark()


@pytest.fixture
def first(gpus: State) -> Any:
    return gpus.gpu[0]


@pytest.fixture
def counter(first: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    monkeypatch.setattr(energy, "IDLE", 0.4)
    with opened(first.uuid.decode()) as gpu:
        yield gpu


@pytest.mark.parametrize(("period", "periods"), [(0.02, 50), (0.1, 10)])
def test_joules_are_the_power_times_the_seconds_of_a_call(
    period: float, periods: int, first: Any, counter: Gpu
) -> None:
    with counting(first, 400.0, period):
        found = energy_per_call(step, Clock(), counter, STEP, 60.0, periods)
    assert found.missing is None
    assert found.seconds is not None
    assert found.calls is not None
    of_call = found.seconds / found.calls
    assert found.joules == pytest.approx(400.0 * of_call, rel=0.1)
    assert found.integral == pytest.approx(400.0 * of_call, rel=1e-3)
    assert found.idle == pytest.approx(400.0, rel=0.1)
    assert found.period == pytest.approx(period, rel=0.5)
    assert found.seconds > periods * period / 2  # the counter of a busy machine is late at times


def test_the_counter_decides_when_it_begins_and_ends_not_the_calls(first: Any, counter: Gpu) -> None:
    """Long calls: none of them begins or ends when the counter moves."""

    def long(mark: Marker, calls: int) -> tuple[Mark, Mark]:
        start = mark()
        time.sleep(0.15)
        return start, mark()

    with counting(first, 100.0, 0.02):
        found = energy_per_call(long, Clock(), counter, 0.15, 60.0, 10)
    assert found.joules == pytest.approx(100.0 * 0.15, rel=0.2)


def test_without_a_counter_it_says_so(first: Any, counter: Gpu) -> None:
    first.fail(NO_PERMISSION, "energy")
    found = energy_per_call(step, Clock(), counter, STEP, 60.0)
    assert (found.joules, found.missing) == (None, "the device has no counter of energy that may be read")


def test_a_counter_that_stands_still_measures_nothing(counter: Gpu) -> None:
    found = energy_per_call(step, Clock(), counter, STEP, 60.0)
    assert found.joules is None
    assert found.missing == "its counter of energy moved fewer than 3 times in 0.4 s"


@pytest.mark.parametrize("left", [0.2, 0.9])
def test_what_the_budget_does_not_allow_is_not_measured(left: float, first: Any, counter: Gpu) -> None:
    with counting(first, 100.0, 0.05):
        found = energy_per_call(step, Clock(), counter, STEP, left)
    assert found.joules is None
    assert found.missing is not None
    assert found.missing.endswith(f"and there are {left:.1f} s (measure.budget)")
