"""Times a module's calls one by one: with marks at their borders, whose own cost is taken off again.

A sample is three passes: the untouched module's call; one with a mark before and after each call of a
module; one with a mark before and after each of torch's operators that is called outside the innermost
modules. They stand side by side, so that a change of the machine's speed changes them alike. The first two
change places from sample to sample: what comes before a pass, such as the slow third one, changes it too.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from statistics import median
from typing import Any

import torch
from torch import nn

from microbench.errors import UserError
from microbench.measure.experiment import Clock, Experiment, Mark, Marker
from microbench.profile.calls import Call
from microbench.profile.tracing import Operators, calling
from microbench.results.layers import Kind

UNTOUCHED = (1, 2)  # the places of the untouched call's marks among those of a sample
CALIBRATION = 200  # calls of a calibration pass
PASSES = 25  # of which the fastest counts: what marks cost adds to what other load costs

CHANGED = (
    "The module calls other layers from one time to the next, so that none can be timed: profile it on "
    "paper, with timing=false."
)


@dataclass(frozen=True)
class Marking:
    """What marks cost, in seconds of the clock that sets them.

    Attributes:
        within: what is read for a call of a module that does nothing, less what that call takes unmarked.
        around: what a marked call takes longer than an unmarked one, all in all.
        operator: what is read for an operator, less what it takes unmarked.
    """

    within: float
    around: float
    operator: float


class Passes:
    """The passes over a module whose calls are known.

    Args:
        call: calls the module.
        root: its calls, as a trace found them.
        phase: what the untouched call is: inference, or forward.
    """

    def __init__(self, call: Callable[[], Any], root: Call, phase: str = "inference") -> None:
        self._call, self._phase = call, phase
        self._calls = [each for each, _ in root.walk()]
        self._modules = [each for each in self._calls if each.kind is not Kind.FUNCTION]
        self._functions = [each for each in self._calls if each.kind is Kind.FUNCTION]
        self.borders = _borders(root)

    def experiment(self) -> Experiment:
        """What to sample: the untouched module as the phase, and each call by its place."""
        places = {call: str(place) for place, call in enumerate(self._calls)}
        spans = {places[call]: span for call, span in self.borders.items()}
        swap = cycle((False, True))
        return Experiment(
            lambda mark, calls: self.step(mark, next(swap)),
            {self._phase: UNTOUCHED},
            (self._phase,),
            self._phase,
            inner=spans,
        )

    def step(self, mark: Marker, swap: bool = False) -> list[Mark]:
        """One sample: a mark at its begin, those of each call at their `borders`, and one at its end.

        Args:
            mark: sets a mark.
            swap: the second pass comes before the first.

        Raises:
            UserError: the module calls others than those that are known.
        """
        start = mark()
        if swap:
            modules, untouched = self._of_modules(mark), self._of_model(mark)
        else:
            untouched, modules = self._of_model(mark), self._of_modules(mark)
        return [start, *untouched, *modules, *self._of_functions(mark), mark()]

    def _of_model(self, mark: Marker) -> tuple[Mark, Mark]:
        start = mark()
        self._call()
        return start, mark()

    def _of_modules(self, mark: Marker) -> list[Mark]:
        marks: list[Mark] = []
        mark_modules(self._call, mark, marks)
        if len(marks) != 2 * len(self._modules):
            raise UserError(CHANGED)
        return marks

    def _of_functions(self, mark: Marker) -> list[Mark]:
        marks: list[Mark] = []
        if self._functions:
            mark_functions(self._call, mark, marks, self._innermost)
        if len(marks) != 2 * len(self._functions):
            raise UserError(CHANGED)
        return marks

    @property
    def _innermost(self) -> list[bool]:
        """For each call of a module, in their order, whether it calls no other."""
        return [each.kind is Kind.MODULE for each in self._modules]


def _borders(root: Call) -> dict[Call, tuple[int, int]]:
    """The places of each call's two marks among those of a sample."""
    found: dict[Call, tuple[int, int]] = {}
    counter = count(UNTOUCHED[1] + 1)

    def visit(call: Call) -> None:
        start = next(counter)
        for each in call.inner:
            if each.kind is not Kind.FUNCTION:
                visit(each)
        found[call] = start, next(counter)

    visit(root)
    for call, _ in root.walk():
        if call.kind is Kind.FUNCTION:
            found[call] = next(counter), next(counter)
    return found


def mark_modules(call: Callable[[], Any], mark: Marker, marks: list[Mark]) -> None:
    """Call a module with a mark before and after each call of a module within it, itself included."""
    note = marks.append

    def marked(original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        note(mark())
        try:
            return original(module, *args, **kwargs)
        finally:
            note(mark())

    with calling(marked):
        call()


def mark_functions(
    call: Callable[[], Any], mark: Marker, marks: list[Mark], innermost: Sequence[bool]
) -> None:
    """Call a module with a mark before and after each operator in it, but for those in innermost modules.

    Args:
        call: calls it.
        mark: sets a mark.
        marks: where the marks go.
        innermost: for each call of a module, in their order, whether it is one of an innermost one.
    """
    turn, within = iter(innermost), [False]  # of what is called: whether its operators have marks

    def entered(original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        within.append(not next(turn, True))
        try:
            return original(module, *args, **kwargs)
        finally:
            within.pop()

    def operator(func: Any, args: Any, kwargs: Any) -> Any:
        if not within[-1]:
            return func(*args, **kwargs)
        start = mark()
        output = func(*args, **kwargs)
        marks.append(start)
        marks.append(mark())
        return output

    with calling(entered), Operators(operator):
        call()


class _Additions(nn.Module):
    """Adds one to one, again and again."""

    def forward(self, one: torch.Tensor) -> None:
        for _ in range(CALIBRATION):
            one.add(one)


def marking(clock: Clock, device: torch.device) -> Marking:
    """Measure what marks cost: with calls of a module, and of an operator, that compute next to nothing."""
    nothing, many, one = nn.Identity(), _Additions(), torch.ones(1, device=device)

    def identities() -> None:
        for _ in range(CALIBRATION):
            nothing(one)

    def additions() -> None:
        many(one)

    bare, marked, read = _calibrated(
        clock, identities, lambda mark, marks: mark_modules(identities, mark, marks)
    )
    bare_operator, _, read_operator = _calibrated(
        clock, additions, lambda mark, marks: mark_functions(additions, mark, marks, [False])
    )
    return Marking(read - bare, marked - bare, max(0.0, read_operator - bare_operator))


def _calibrated(
    clock: Clock, work: Callable[[], None], marked: Callable[[Marker, list[Mark]], None]
) -> tuple[float, float, float]:
    """Seconds a call unmarked, marked, and as read between its marks."""
    bare, around, read = array("d"), array("d"), array("d")
    for _ in range(PASSES):
        marks = [clock.mark()]
        work()
        marks.append(clock.mark())
        marked(clock.mark, marks)
        marks.append(clock.mark())
        times = clock.seconds(marks)
        bare.append((times[1] - times[0]) / CALIBRATION)
        around.append((times[-1] - times[1]) / CALIBRATION)
        spans = [end - start for start, end in zip(times[2:-1:2], times[3:-1:2], strict=True)]
        read.append(median(spans))
    return min(bare), min(around), min(read)


@dataclass(frozen=True)
class CallTimes:
    """The samples of one call, in seconds, what marks cost taken off.

    Attributes:
        lat: with the calls within it.
        net_lat: without them.
    """

    lat: array[float]
    net_lat: array[float]


def call_times(root: Call, samples: Mapping[str, array[float]], cost: Marking) -> dict[Call, CallTimes]:
    """The times of all calls, from the samples of `Passes.experiment`."""
    raw = {call: samples[str(place)] for place, (call, _) in enumerate(root.walk())}
    lat = {call: _corrected(call, values, cost) for call, values in raw.items()}
    return {call: CallTimes(values, _own(call, lat)) for call, values in lat.items()}


def _corrected(call: Call, raw: array[float], cost: Marking) -> array[float]:
    if call.kind is Kind.FUNCTION:
        return array("d", (seconds - cost.operator for seconds in raw))
    within = sum(each.kind is not Kind.FUNCTION for each, _ in call.walk()) - 1
    return array("d", (seconds - cost.within - within * cost.around for seconds in raw))


def _own(call: Call, lat: Mapping[Call, array[float]]) -> array[float]:
    """A call's time without that of the calls within it."""
    inner = [lat[each] for each in call.inner]
    return array("d", (whole - sum(parts) for whole, *parts in zip(lat[call], *inner, strict=True)))
