from array import array
from collections.abc import Sequence
from threading import Thread
from typing import Any

import pytest
import torch
from fakes import FakeClock
from torch import Tensor, nn

from microbench.analysis.profile import Profile
from microbench.errors import UserError
from microbench.measure.sampler import Sampled, sample
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import Timer
from microbench.profile.calls import Call
from microbench.profile.study import Study
from microbench.profile.timing import Cost, Marking, Passes, call_times, marking
from microbench.profile.trace import trace

CPU = torch.device("cpu")
FREE = Marking(Cost(0.0, 0.0), Cost(0.0, 0.0))
FEW = StoppingRule(rel_ci=0.1, min_time=0.0, max_time=1e9, min_samples=3, max_samples=3)


class Takes(nn.Module):
    """Takes time of its own on a clock, and then calls others."""

    def __init__(self, clock: FakeClock, seconds: float, *inner: nn.Module) -> None:
        super().__init__()
        self.clock, self.seconds, self.inner = clock, seconds, nn.ModuleList(inner)

    def forward(self, x: Tensor) -> Tensor:
        self.clock.advance(self.seconds)
        for each in self.inner:
            x = each(x)
        return x


def sampled(model: nn.Module, clock: FakeClock) -> tuple[Call, Sampled]:
    def call() -> Any:
        with torch.no_grad():
            return model(torch.ones(1))

    root = trace(model, call)
    return root, sample(Passes(call, root).experiment(), Timer(clock), FEW, 1, lambda progress: None)


def times(model: nn.Module, clock: FakeClock, cost: Marking = FREE) -> dict[str, float]:
    root, found = sampled(model, clock)
    return {call.name: each[0] for call, each in call_times(root, found.inner, cost).items()}


def test_each_call_takes_the_time_that_passes_in_it() -> None:
    clock = FakeClock()
    model = Takes(clock, 1.0, Takes(clock, 2.0), Takes(clock, 4.0, Takes(clock, 8.0)))
    assert times(model, clock) == {
        "": 15.0,
        "inner.0": 2.0,
        "inner.1": 12.0,
        "inner.1.inner.0": 8.0,
    }


def test_the_phase_is_the_uninstrumented_module_and_its_inner_parts_the_passes_and_each_call() -> None:
    clock = FakeClock()
    _, found = sampled(Takes(clock, 1.0, Takes(clock, 2.0)), clock)
    assert found.samples == {"inference": array("d", [3.0] * 3)}
    taken = {"uninstrumented": 3.0, "modules": 3.0, "functions": 0.0, "0": 3.0, "1": 2.0}
    assert found.inner == {name: array("d", [seconds] * 3) for name, seconds in taken.items()}


@pytest.mark.parametrize("swap", [False, True])
def test_a_sample_begins_with_its_first_mark_and_ends_with_its_last(swap: bool) -> None:
    """A GPU's clock relies on that: it waits for the last mark and reads all others from the first."""
    clock = FakeClock()
    model = Takes(clock, 1.0, Takes(clock, 2.0))

    def call() -> Any:
        return model(torch.ones(1))

    with torch.no_grad():
        marks = Passes(call, trace(model, call)).step(clock.mark, swap)
    assert (marks[0], marks[-1]) == (min(marks), max(marks))
    bare, modules = (marks[1], marks[2]), (marks[3], marks[8])
    assert (modules < bare) == swap


CLOCKS: list[FakeClock] = []


@torch.library.custom_op("microbench_test::takes_three", mutates_args=())
def takes_three(x: Tensor) -> Tensor:
    CLOCKS[-1].advance(3.0)
    return x.clone()


class Leaf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return takes_three(x)


class Calls(nn.Module):
    """Takes a second of its own, and calls two functions and a module."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        CLOCKS.append(clock)
        self.clock, self.leaf = clock, Leaf()

    def forward(self, x: Tensor) -> Tensor:
        self.clock.advance(1.0)
        return takes_three(self.leaf(takes_three(x)))


def test_an_operator_outside_leaf_modules_is_timed_by_itself() -> None:
    clock = FakeClock()
    root, found = sampled(Calls(clock), clock)
    taken = call_times(root, found.inner, FREE)
    assert [(call.type, each[0]) for call, each in taken.items()] == [
        ("Calls", 10.0),
        ("takes_three", 3.0),
        ("Leaf", 3.0),
        ("takes_three", 3.0),
    ]


def test_the_cost_of_marks_is_subtracted_once_per_call_and_per_call_within_it() -> None:
    clock = FakeClock()
    model = Takes(clock, 10.0, Takes(clock, 20.0, Takes(clock, 40.0)), Takes(clock, 5.0))
    taken = times(model, clock, Marking(Cost(within=0.5, around=2.0), Cost(0.0, 0.0)))
    assert taken == {
        "": 75 - 0.5 - 3 * 2.0,
        "inner.0": 60 - 0.5 - 2.0,
        "inner.0.inner.0": 39.5,
        "inner.1": 4.5,
    }


class More(nn.Module):
    """Calls a module one more time in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.relu = 0, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for _ in range(self.calls):
            x = self.relu(x)
        return x


class Another(More):
    """Calls one of two modules in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return (self.relu if self.calls % 2 else self.other)(x)  # type: ignore[no-any-return]


class AnotherFunction(More):
    """Calls one of two operators in turn."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.relu(x) + 1 if self.calls % 2 else self.relu(x) * 1  # type: ignore[no-any-return]


@pytest.mark.parametrize("fickle", [More, Another, AnotherFunction])
def test_a_module_that_makes_different_calls_each_time_is_an_error(fickle: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=r"calls different layers each time.*timing=false"):
        sampled(fickle(), FakeClock())


def test_a_module_that_creates_its_layers_in_each_call_is_timed() -> None:
    class Makes(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return nn.ReLU()(x)

    assert set(times(Makes(), FakeClock())) == {"", "(ReLU)"}


def test_a_module_that_replaces_its_layers_in_each_call_is_timed() -> None:
    class Replaces(nn.Module):
        def forward(self, x: Tensor) -> Any:
            self.inner = nn.ReLU()
            return self.inner(x)

    assert len(times(Replaces(), FakeClock())) == 2


def test_a_module_that_catches_a_layers_error_in_each_call_is_timed() -> None:
    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Linear(9, 1), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Any:
            try:
                return self.wide(x * 2)
            except RuntimeError:
                return self.narrow(x)

    assert {"", "wide", "narrow"} <= set(times(Catches(), FakeClock()))


def test_calls_in_other_threads_are_not_recorded() -> None:
    class Threads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.here, self.there = nn.ReLU(), nn.Sigmoid()

        def forward(self, x: Tensor) -> Any:
            thread = Thread(target=self.there, args=(x,))
            thread.start()
            thread.join()
            return self.here(x)

    assert set(times(Threads(), FakeClock())) == {"", "here"}


@pytest.mark.parametrize(
    ("first", "second", "shown"), [(3.0, 4.0, (3.0, 4.0)), (8.0, 8.0, (3.5, 3.5)), (2.0, 12.0, (1.0, 6.0))]
)
def test_operators_together_take_no_longer_than_their_callers_own_time(
    first: float, second: float, shown: tuple[float, float]
) -> None:
    clock = FakeClock()
    root, found = sampled(Calls(clock), clock)
    read = dict(found.inner) | {"1": array("d", [first] * 3), "3": array("d", [second] * 3)}
    taken = {call.name: each[0] for call, each in call_times(root, read, FREE).items()}
    assert taken["leaf"] == 3.0
    assert taken[""] - taken["leaf"] == 7.0
    assert tuple(each[0] for each in list(call_times(root, read, FREE).values())[1::2]) == shown


class CostlyMarks(FakeClock):
    """Setting a mark takes time, some of it before the time is read and the rest after."""

    BEFORE, AFTER = 2.0**-5, 2.0**-4
    COST = BEFORE + AFTER

    def mark(self) -> float:
        self.advance(self.BEFORE)
        now = self.time
        self.advance(self.AFTER)
        return now


def test_the_cost_of_marks_is_measured() -> None:
    found = marking(CostlyMarks(), CPU)
    for each in (found.module, found.operator):
        assert each.within == pytest.approx(CostlyMarks.COST, rel=0.01)
        assert each.around == pytest.approx(2 * CostlyMarks.COST, rel=0.01)


def overhead(profile: Profile) -> float:
    row = profile.view("calls").overhead
    assert row is not None
    return row.values["lat"]  # type: ignore[no-any-return]


def profiled(model: nn.Module, clock: FakeClock, cost: Marking) -> Profile:
    root, found = sampled(model, clock)
    taken = call_times(root, found.inner, cost)
    return Profile(Study(root, times=taken).rows(), seconds=found.samples["inference"][0])


def test_calls_and_overhead_add_up_to_the_uninstrumented_time() -> None:
    clock = CostlyMarks()
    model = Takes(clock, 0.5, Takes(clock, 2.0), Calls(clock), Takes(clock, 0.25, Takes(clock, 8.0), Leaf()))
    cost = Cost(within=clock.COST, around=2 * clock.COST)
    profile = profiled(model, clock, Marking(cost, cost))
    assert [row.net_lat for row in profile.calls] == pytest.approx([2.0, 3.0, 3.0, 3.0, 8.0, 3.0])
    between = 0.5 + 1.0 + 0.25
    assert profile.seconds == pytest.approx(22.0 + between + clock.COST)  # it is between two marks itself
    assert overhead(profile) == pytest.approx(between + clock.COST)
    assert profile.rows[0].lat == pytest.approx(22.0 + between)


class Lagging(FakeClock):
    """A device that runs the host's work in order while the host continues and sets marks."""

    ahead = True
    LAUNCH, SET, PASS = 2.0**-4, 2.0**-4, 2.0**-8

    def __init__(self) -> None:
        super().__init__()
        self.device = 0.0

    def give(self, host: float, device: float) -> None:
        """Return work that takes the host and the device some time."""
        super().advance(host)
        self.device = max(self.device, self.time) + device

    def advance(self, seconds: float) -> None:
        self.give(self.LAUNCH, seconds)

    def mark(self) -> float:
        self.give(self.SET, self.PASS)
        return self.device

    def seconds(self, marks: Sequence[float]) -> list[float]:
        self.time = max(self.time, self.device)
        return super().seconds(marks)


@pytest.mark.parametrize("each", [4.0, 2.0**-9])
def test_only_the_visible_cost_of_marks_set_ahead_of_the_device_is_subtracted(each: float) -> None:
    clock = Lagging()
    model = Takes(clock, each, *(Takes(clock, each) for _ in range(50)))
    profile = profiled(model, clock, marking(clock, CPU))
    taken, a_mark = max(each, Lagging.LAUNCH), Lagging.SET + Lagging.PASS
    assert [row.lat for row in profile.calls] == pytest.approx([taken] * 50, rel=0.01)
    assert profile.seconds == pytest.approx(51 * taken, abs=2 * a_mark)
    assert profile.rows[0].lat == pytest.approx(51 * taken, abs=2 * a_mark)
    assert overhead(profile) == pytest.approx(taken, abs=2 * a_mark)


def test_only_the_visible_cost_of_operators_marks_is_subtracted() -> None:
    clock = Lagging()
    profile = profiled(Calls(clock), clock, marking(clock, CPU))
    assert [row.lat for row in profile.calls] == pytest.approx([3.0] * 3, rel=0.01)
