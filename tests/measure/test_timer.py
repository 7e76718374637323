"""Samples one after another, and in bursts ahead of a device."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from fakes import FakeClock

from microbench.measure.experiment import Experiment, Mark, Marker
from microbench.measure.sampler import calibrated, sample
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import LAUNCHES, Timer, Times
from microbench.records.record import StopReason

MS = 1e-3


class AheadClock(FakeClock):
    """A clock of a device that does the host's work in order while the host goes on."""

    ahead = True

    def __init__(self) -> None:
        super().__init__()
        self.device = 0.0
        self.waits = 0

    def give(self, host: float, device: float) -> None:
        """Let the host give the device some work, which takes both some time."""
        self.advance(host)
        self.device = max(self.device, self.time) + device

    def mark(self) -> float:
        return max(self.device, self.time)

    def seconds(self, marks: Sequence[float]) -> list[float]:
        self.waits += self.time < marks[-1]
        self.time = max(self.time, marks[-1])
        return super().seconds(marks)


def work(clock: AheadClock, host: float, device: float) -> Experiment:
    def step(mark: Marker, calls: int) -> tuple[Mark, Mark]:
        start = mark()
        for _ in range(calls):
            clock.give(host, device)
        return start, mark()

    return Experiment(step, {"work": (0, 1)}, ("work",), "work", mergeable=True)


def taken(timer: Timer, experiment: Experiment, most: int, calls: int = 1) -> list[float]:
    return [times["work"] for times in timer.take(experiment, calls, most)]


def test_without_work_in_flight_samples_are_taken_one_by_one() -> None:
    clock = AheadClock()
    assert taken(Timer(clock), work(clock, 1 * MS, 2 * MS), 10) == pytest.approx([3 * MS])


def test_a_burst_is_of_a_device_that_does_not_wait_for_the_host() -> None:
    clock = AheadClock()
    timer, experiment = Timer(clock, in_flight=20 * MS), work(clock, 1 * MS, 2 * MS)
    assert timer.observe(experiment)["work"] == pytest.approx(3 * MS)
    assert taken(timer, experiment, 4) == pytest.approx([2 * MS] * 4)


def test_a_burst_has_no_more_samples_than_wanted_and_its_first_step_is_none() -> None:
    clock = AheadClock()
    timer, experiment = Timer(clock, in_flight=1.0), work(clock, 0.1 * MS, 1 * MS)
    timer.observe(experiment)
    begun = clock.device
    assert len(taken(timer, experiment, 7)) == 7
    assert clock.device - begun == pytest.approx(8 * MS, rel=0.02)


@pytest.mark.parametrize(("device", "number"), [(1.0, 9), (3.0, 2), (4.9, 1), (6.0, 1), (30.0, 1)])
def test_a_burst_holds_as_much_work_as_may_be_in_flight(device: float, number: int) -> None:
    clock = AheadClock()
    timer, experiment = Timer(clock, in_flight=10.01 * MS), work(clock, 0.0, device * MS)
    timer.observe(experiment)
    assert len(taken(timer, experiment, 1000)) == number


def test_a_burst_holds_no_more_launches_than_a_queue_has_room_for() -> None:
    clock = AheadClock()
    timer, experiment = Timer(clock, in_flight=1e9), work(clock, 0.0, 1e-9)
    timer.observe(experiment, 23)
    assert len(taken(timer, experiment, 1000, calls=23)) == LAUNCHES // 25 - 1
    assert len(taken(timer, experiment, 1000, calls=LAUNCHES)) == 1


@pytest.mark.parametrize(
    "changes",
    [{"runs": 2}, {"reuses_marks": True}, {"before": lambda: None}],
    ids=["runs", "marks", "before"],
)
def test_what_does_not_go_together_is_taken_one_by_one(changes: dict[str, object]) -> None:
    clock = AheadClock()
    timer = Timer(clock, in_flight=100 * MS)
    experiment = replace(work(clock, 0.0, 1 * MS), **changes)  # type: ignore[arg-type]
    timer.observe(experiment)
    assert len(taken(timer, experiment, 10)) == 1


def test_a_device_has_done_what_comes_before_a_sample_when_it_begins() -> None:
    clock = AheadClock()
    experiment = replace(work(clock, 1 * MS, 2 * MS), before=lambda: clock.give(0.0, 50 * MS))
    assert taken(Timer(clock), experiment, 1) == pytest.approx([3 * MS])


def test_calls_that_run_ahead_are_counted_again_with_the_number_that_one_call_suggested() -> None:
    clock = AheadClock()
    timer, experiment = Timer(clock, in_flight=100 * MS), work(clock, 1 * MS, 1.5 * MS)
    single = timer.observe(experiment)["work"]
    assert single == pytest.approx(2.5 * MS)
    found, calls = calibrated(experiment, timer, single, 15 * MS)
    assert (found, calls) == (timer, 10)  # 1.5 ms each, not 2.5


def test_a_clock_that_needs_longer_samples_gets_them_unless_single_calls_are_wanted() -> None:
    clock = FakeClock()

    def step(mark: Marker, calls: int) -> tuple[Mark, Mark]:
        start = mark()
        clock.advance(calls * MS)
        return start, mark()

    experiment = Experiment(step, {"work": (0, 1)}, ("work",), "work", mergeable=True)
    timer = Timer(clock, least_sample=8 * MS)
    assert calibrated(experiment, timer, 1 * MS, 2 * MS)[1] == 8
    assert calibrated(experiment, timer, 1 * MS, 16 * MS)[1] == 16
    assert calibrated(experiment, timer, 1 * MS, 0.0)[1] == 1
    assert calibrated(replace(experiment, mergeable=False), timer, 1 * MS, 2 * MS)[1] == 1


@dataclass
class Both(Timer):
    """Also counts its samples in a series of their own, and is replaced if it is asked for more calls."""

    def __post_init__(self) -> None:
        self.beside, self.count = {"count": "counted"}, 0

    def ready(self, experiment: Experiment, calls: int) -> Timer:
        return self if calls == 1 else Timer(self.clock, fallback="too many calls")

    def take(self, experiment: Experiment, calls: int, most: int) -> Iterator[Times]:
        self.count += 1
        yield {**self.observe(experiment, calls), "count": float(self.count)}


RULE = StoppingRule(0.01, 0.0, 1e9, 8, 8)


def test_what_a_timer_measures_besides_the_phases_is_a_series_of_its_own() -> None:
    clock = AheadClock()
    sampled = sample(work(clock, 0.0, 1 * MS), Both(clock), RULE, 1, lambda progress: None)
    assert list(sampled.samples) == ["work"]
    assert sampled.beside == {"count": array("d", range(1, 9))}


def test_a_timer_that_cannot_take_the_samples_says_what_does_and_why() -> None:
    clock = AheadClock()
    experiment = work(clock, 0.0, 1 * MS)
    assert calibrated(experiment, both := Both(clock), 1 * MS, 1 * MS) == (both, 1)
    found, _ = calibrated(experiment, Both(clock), 1 * MS, 4 * MS)
    assert (type(found), found.fallback) == (Timer, "too many calls")


def test_a_timer_tidies_between_bursts_and_not_after_the_last() -> None:
    clock, done = AheadClock(), []
    timer = Timer(clock, tidy=lambda: done.append(clock.time))
    sample(work(clock, 0.0, 1 * MS), timer, replace(RULE, min_samples=3, max_samples=3), 1, lambda _: None)
    assert done == pytest.approx([1 * MS, 2 * MS])


@pytest.mark.parametrize(("calls", "reason"), [(1, StopReason.MAX_SAMPLES), (64, StopReason.REL_CI)])
def test_equal_samples_are_no_more_precise_than_the_clock(calls: int, reason: StopReason) -> None:
    """A tick of a quarter of a call is too coarse for ±1 %, and fine enough for 64 of them."""
    clock = AheadClock()
    timer = Timer(clock, tick=0.25 * MS)
    rule = StoppingRule(0.01, 0.0, 1e9, 8, 50)
    found = sample(work(clock, 0.0, 1 * MS), timer, rule, calls, lambda progress: None)
    assert found.stop_reason is reason
