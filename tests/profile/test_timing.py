from array import array
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench.devices.cpu import HostClock
from microbench.devices.fake import FakeClock
from microbench.errors import UserError
from microbench.measure.sampler import Sampled, sample
from microbench.measure.stopping import StoppingRule
from microbench.profile.calls import Call
from microbench.profile.timing import Marking, Passes, call_times, marking
from microbench.profile.tracing import trace
from microbench.results.layers import Kind

FREE = Marking(0.0, 0.0, 0.0)
FEW = StoppingRule(rel_ci=0.1, min_time=0.0, max_time=1e9, min_samples=3, max_samples=3)


class Takes(nn.Module):
    """Takes a while of its own on a clock, and then calls others."""

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
    return root, sample(Passes(call, root).experiment(), clock, FEW, 1, lambda progress: None)


def times(model: nn.Module, clock: FakeClock, cost: Marking = FREE) -> dict[str, float]:
    root, found = sampled(model, clock)
    return {call.name: each[0] for call, each in call_times(root, found.inner, cost).items()}


def test_each_call_takes_what_passes_in_it() -> None:
    clock = FakeClock()
    model = Takes(clock, 1.0, Takes(clock, 2.0), Takes(clock, 4.0, Takes(clock, 8.0)))
    assert times(model, clock) == {
        "": 15.0,
        "inner.0": 2.0,
        "inner.1": 12.0,
        "inner.1.inner.0": 8.0,
    }


def test_the_untouched_module_is_the_phase_and_stands_beside_each_of_its_calls() -> None:
    clock = FakeClock()
    _, found = sampled(Takes(clock, 1.0, Takes(clock, 2.0)), clock)
    assert found.samples == {"inference": array("d", [3.0] * 3)}
    assert {name: len(samples) for name, samples in found.inner.items()} == {"0": 3, "1": 3}


@pytest.mark.parametrize("swap", [False, True])
def test_a_sample_begins_with_its_first_mark_and_ends_with_its_last(swap: bool) -> None:
    """What a clock of a GPU relies on, which waits for the last mark and reads all others from the first."""
    clock = FakeClock()
    model = Takes(clock, 1.0, Takes(clock, 2.0))

    def call() -> Any:
        return model(torch.ones(1))

    with torch.no_grad():
        marks = Passes(call, trace(model, call)).step(clock.mark, swap)
    assert (marks[0], marks[-1]) == (min(marks), max(marks))
    untouched, modules = (marks[1], marks[2]), (marks[3], marks[6])
    assert (modules < untouched) == swap


CLOCKS: list[FakeClock] = []


@torch.library.custom_op("microbench_test::takes_three", mutates_args=())
def takes_three(x: Tensor) -> Tensor:
    CLOCKS[-1].advance(3.0)
    return x.clone()


def test_an_operator_outside_the_innermost_modules_is_timed_by_itself() -> None:
    class Calls(nn.Module):
        def __init__(self, clock: FakeClock) -> None:
            super().__init__()
            self.clock, self.leaf = clock, Leaf()

        def forward(self, x: Tensor) -> Tensor:
            self.clock.advance(1.0)
            return takes_three(self.leaf(takes_three(x)))

    class Leaf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return takes_three(x)

    clock = FakeClock()
    CLOCKS.append(clock)
    root, found = sampled(Calls(clock), clock)
    taken = call_times(root, found.inner, FREE)
    assert [(call.type, each[0]) for call, each in taken.items()] == [
        ("Calls", 10.0),
        ("takes_three", 3.0),
        ("Leaf", 3.0),
        ("takes_three", 3.0),
    ]


def test_what_marks_cost_is_taken_off_once_for_a_call_and_for_each_within_it() -> None:
    clock = FakeClock()
    model = Takes(clock, 10.0, Takes(clock, 20.0, Takes(clock, 40.0)), Takes(clock, 5.0))
    taken = times(model, clock, Marking(within=0.5, around=2.0, operator=0.0))
    assert taken == {
        "": 75 - 0.5 - 3 * 2.0,
        "inner.0": 60 - 0.5 - 2.0,
        "inner.0.inner.0": 39.5,
        "inner.1": 4.5,
    }


class More(nn.Module):
    """Calls a module once more each time."""

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
def test_a_module_that_calls_others_from_one_time_to_the_next_is_refused(fickle: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=r"calls other layers from one time to the next.*timing=false"):
        sampled(fickle(), FakeClock())


def test_a_module_that_makes_its_layers_anew_for_each_call_is_timed() -> None:
    class Makes(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return nn.ReLU()(x)

    assert set(times(Makes(), FakeClock())) == {"", "(ReLU)"}


def test_calls_in_other_threads_are_not_noted() -> None:
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


def test_marks_cost_little_and_more_around_a_call_than_within_it() -> None:
    cost = marking(HostClock(), torch.device("cpu"))
    assert 0 <= cost.within < cost.around < 1e-3
    assert 0 <= cost.operator < 1e-3


def deep(layer: Callable[[], nn.Module], depth: int) -> nn.Module:
    return nn.Sequential(*(layer() for _ in range(depth)))


def test_the_calls_of_a_real_module_and_the_rest_are_what_it_takes() -> None:
    model, x = deep(lambda: nn.Linear(64, 64), 8), torch.ones(64, 64)

    def call() -> Any:
        with torch.no_grad():
            return model(x)

    clock = HostClock()
    root = trace(model, call)
    found = sample(Passes(call, root).experiment(), clock, FEW, 1, lambda progress: None)
    taken = call_times(root, found.inner, marking(clock, torch.device("cpu")))
    inner = [sum(taken[call][place] for call in root.inner) for place in range(3)]
    assert all(parts <= whole for parts, whole in zip(inner, taken[root], strict=True))
    assert all(call.kind is not Kind.FUNCTION for call in taken)
