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
    "The module calls other layers from one time to the next, so that none can be measured: profile it on "
    "paper, with timing=false (from Python, without timing and memory)."
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
        self._innermost = [each.kind is Kind.MODULE for each in self._modules]
        assert root.module is not None
        self._root, self._lasting = root.module, set(root.module.modules())
        self._called = [self._identity(each.module) for each in self._modules]
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
        called = mark_modules(self._call, mark, marks, self._root)
        if [self._identity(each) for each in called] != self._called:
            raise UserError(CHANGED)
        return marks

    def _of_functions(self, mark: Marker) -> list[Mark]:
        marks: list[Mark] = []
        if self._functions:
            called = mark_functions(self._call, mark, marks, self._root, self._innermost)
            if called != [each.type for each in self._functions]:
                raise UserError(CHANGED)
        return marks

    def _identity(self, module: nn.Module | None) -> object:
        """What a module is known by: itself, or its type where it is made anew for each call."""
        return module if module in self._lasting else type(module)


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


def mark_modules(
    call: Callable[[], Any], mark: Marker, marks: list[Mark], root: nn.Module
) -> list[nn.Module]:
    """Call a module with a mark before and after each call of a module within it, itself included.

    Args:
        call: calls it, or a module around it.
        mark: sets a mark.
        marks: where the marks go.
        root: the module.

    Returns:
        The modules that were called, in the order in which the calls began.
    """
    note, called, depth = marks.append, list[nn.Module](), 0
    enter = called.append

    def marked(original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if not depth and module is not root:
            return original(module, *args, **kwargs)
        depth += 1
        enter(module)
        note(mark())
        try:
            return original(module, *args, **kwargs)
        finally:
            note(mark())
            depth -= 1

    with calling(marked):
        call()
    return called


def mark_functions(
    call: Callable[[], Any], mark: Marker, marks: list[Mark], root: nn.Module, innermost: Sequence[bool]
) -> list[str]:
    """Call a module with a mark before and after each operator in it, but for those in innermost modules.

    Args:
        call: calls it, or a module around it.
        mark: sets a mark.
        marks: where the marks go.
        root: the module.
        innermost: for each call of a module, in their order, whether it is one of an innermost one.

    Returns:
        The operators' names, in their order.
    """
    called: list[str] = []
    turn, within = iter(innermost), [False]  # of what is called: whether its operators have marks

    def entered(original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if len(within) == 1 and module is not root:
            return original(module, *args, **kwargs)
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
        called.append(func.overloadpacket.__name__)
        return output

    with calling(entered), Operators(operator):
        call()
    return called


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
        clock, identities, lambda mark, marks: mark_modules(identities, mark, marks, nothing)
    )
    bare_operator, _, read_operator = _calibrated(
        clock, additions, lambda mark, marks: mark_functions(additions, mark, marks, many, [False])
    )
    return Marking(read - bare, marked - bare, max(0.0, read_operator - bare_operator))


def _calibrated(
    clock: Clock, work: Callable[[], None], marked: Callable[[Marker, list[Mark]], object]
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


def call_times(root: Call, samples: Mapping[str, array[float]], cost: Marking) -> dict[Call, array[float]]:
    """The times of all calls in seconds, the calls within them included, what marks cost taken off.

    Args:
        root: the calls.
        samples: those of `Passes.experiment`.
        cost: what marks cost.
    """
    return {call: _corrected(call, samples[str(place)], cost) for place, (call, _) in enumerate(root.walk())}


def _corrected(call: Call, raw: array[float], cost: Marking) -> array[float]:
    if call.kind is Kind.FUNCTION:
        return array("d", (seconds - cost.operator for seconds in raw))
    within = sum(each.kind is not Kind.FUNCTION for each, _ in call.walk()) - 1
    return array("d", (seconds - cost.within - within * cost.around for seconds in raw))
