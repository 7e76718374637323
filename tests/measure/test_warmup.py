from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle

import pytest
from fakes import FakeClock

from microbench.measure.warmup import WINDOW, Warmup, warm_up


def steps_taking(clock: FakeClock, durations: Iterable[float]) -> Callable[[], float]:
    """Return a step that lets each of these times pass in turn."""
    remaining = iter(durations)

    def step() -> float:
        seconds = next(remaining)
        clock.advance(seconds)
        return seconds

    return step


def warmed_up(durations: Iterable[float], longest: float = 100.0) -> Warmup:
    clock = FakeClock()
    return warm_up(steps_taking(clock, durations), clock.now, longest)


def test_settles_when_two_windows_agree() -> None:
    # 1/64 s a step: four steps are the first to make a window of 0.05 s.
    warmup = warmed_up(cycle([1 / 64]))
    assert warmup.settled
    assert warmup.windows == 2
    assert warmup.times.tolist() == [1 / 64] * 8
    assert warmup.typical == 1 / 64


def test_a_step_longer_than_the_window_is_a_window_by_itself() -> None:
    warmup = warmed_up([1.0, 0.5, 0.25, 0.25])
    assert (warmup.windows, warmup.settled) == (4, True)
    assert warmup.times.tolist() == [1.0, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(("last", "settled"), [(1.04, True), (1.06, False), (0.96, True), (0.94, False)])
def test_windows_agree_within_five_percent(last: float, settled: bool) -> None:
    warmup = warmed_up([1.0, last], longest=2 * 0.94)
    assert (warmup.windows, warmup.settled) == (2, settled)


def test_only_windows_in_a_row_are_compared() -> None:
    warmup = warmed_up([1.0, 0.5, 1.0, 0.5, 0.5])
    assert (warmup.windows, warmup.settled) == (5, True)


def test_gives_up_at_the_limit_and_says_so() -> None:
    # 0.25 + 0.5 + 0.25 + 0.5 + 0.25 is 1.75 s; the sixth step passes 2 s.
    warmup = warmed_up(cycle([0.25, 0.5]), longest=2.0)
    assert (warmup.windows, warmup.settled) == (6, False)
    assert warmup.typical == 0.5


def test_takes_one_window_even_with_no_time_to_warm_up() -> None:
    warmup = warmed_up(cycle([1 / 64]), longest=0.0)
    assert (warmup.windows, warmup.settled) == (1, False)
    assert len(warmup.times) == 4
    assert warmup.typical == 1 / 64


def test_typical_is_the_median_of_the_last_window() -> None:
    window = [1 / 64, 1 / 32, 1 / 16]  # 0.109 s in all
    assert sum(window[:2]) < WINDOW < sum(window)
    warmup = warmed_up(cycle(window))
    assert (warmup.windows, warmup.settled) == (2, True)
    assert warmup.typical == 1 / 32


def begun(first_call: float, *durations: float, longest: float = 100.0) -> Warmup:
    """Warm up after a first call and a step that were taken before."""
    clock = FakeClock()
    steps = steps_taking(clock, durations[1:])
    return warm_up(steps, clock.now, longest, first_call, durations[:1])


def test_a_first_call_as_long_as_a_window_is_one() -> None:
    warmup = begun(0.25, 0.25)
    assert (warmup.times.tolist(), warmup.windows, warmup.settled) == ([0.25], 2, True)


def test_a_first_call_that_takes_longer_than_the_others_does_not_settle_them() -> None:
    warmup = begun(20.0, 0.25, 0.25)
    assert (warmup.times.tolist(), warmup.windows, warmup.settled) == ([0.25, 0.25], 3, True)


def test_a_short_first_call_is_no_window() -> None:
    warmup = begun(0.03, *[1 / 32] * 4)
    assert (warmup.times.tolist(), warmup.windows, warmup.settled) == ([1 / 32] * 4, 2, True)


def test_a_step_that_was_taken_before_is_part_of_the_first_window() -> None:
    warmup = begun(0.0, 1 / 32, 1 / 32, longest=0.0)
    assert (warmup.times.tolist(), warmup.windows, warmup.settled) == ([1 / 32] * 2, 1, False)
