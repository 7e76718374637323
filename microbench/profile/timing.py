"""Times a module's calls one by one: with marks before and after, whose own cost is subtracted.

A sample is three passes: the untouched module's call; one with a mark before and after each call of a
module; one with a mark before and after each of torch's operators that is called outside leaf
modules. They run one after the other, so that a change of the machine's speed changes them alike. The first
two change places from sample to sample: what runs before a pass, such as the slow third one, changes it too.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, cycle
from statistics import median
from typing import Any

import torch
from torch import nn

from microbench.analysis.calls import interquartile_mean
from microbench.errors import UserError
from microbench.measure.experiment import Clock, Experiment, Mark, Marker
from microbench.profile.calls import Call
from microbench.records.record import Kind
from microbench.watch.modules import Operators, calling

UNTOUCHED, MODULES, FUNCTIONS = "untouched", "modules", "functions"  # the passes of a sample
CALIBRATION = 200  # calls of a calibration pass
PASSES = 25  # of which the fastest counts: what marks cost adds to what other load costs

CHANGED = (
    "The module calls other layers from one time to the next, so that none can be measured: profile it on "
    "paper, with timing=false (from Python, without timing and memory)."
)


Span = tuple[int, int]
"""The places of two marks among those of a sample."""


@dataclass(frozen=True)
class Cost:
    """What the marks before and after a call cost, in seconds of the clock that sets them.

    Attributes:
        within: what is read between them, less what the call takes unmarked.
        around: what the marked call takes longer than an unmarked one, all in all.
    """

    within: float
    around: float

    def seen(self, longer: float, calls: int) -> Cost:
        """As much of it as shows where so many calls take so many seconds longer marked than unmarked."""
        whole = calls * self.around
        share = min(1.0, max(0.0, longer / whole)) if whole > 0 else 1.0
        return Cost(share * self.within, share * self.around)


@dataclass(frozen=True)
class Marking:
    """What marks cost where nothing but the host takes time.

    Attributes:
        module: around a call of a module.
        operator: around one of torch's operators, the way to it through Python included.
        ahead: the clock's marks may be set ahead of the device, see `Clock`: their cost shows in part.
    """

    module: Cost
    operator: Cost
    ahead: bool = False


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
        self._are_leaves = [each.kind is Kind.MODULE for each in self._modules]
        assert root.module is not None
        self._root, self._lasting = root.module, set(root.module.modules())
        self.borders, self._passes = _places(root)

    def experiment(self) -> Experiment:
        """What to sample: the untouched module as the phase; in it each pass, and each call by its place."""
        places = {call: str(place) for place, call in enumerate(self._calls)}
        spans = {places[call]: span for call, span in self.borders.items()}
        swap = cycle((False, True))
        return Experiment(
            lambda mark, calls: self.step(mark, next(swap)),
            {self._phase: self._passes[UNTOUCHED]},
            (self._phase,),
            self._phase,
            inner=spans | self._passes,
            runs=len(self._passes) if self._functions else len(self._passes) - 1,
        )

    def step(self, mark: Marker, swap: bool = False) -> list[Mark]:
        """One sample: a mark at its begin, those of each pass, and within these each call's at its `borders`.

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
        return [start, *untouched, *modules, *self._of_functions(mark)]

    def _of_model(self, mark: Marker) -> list[Mark]:
        start = mark()
        self._call()
        return [start, mark()]

    def _of_modules(self, mark: Marker) -> list[Mark]:
        marks = [mark()]
        called = mark_modules(self._call, mark, marks, self._root)
        marks.append(mark())
        if not self._are_known(called):
            self._lasting &= set(self._root.modules())  # the model may have put others in their place
            if not self._are_known(called):
                raise UserError(CHANGED)
        return marks

    def _of_functions(self, mark: Marker) -> list[Mark]:
        marks = [mark()]
        called: list[str] = []
        if self._functions:
            called = mark_functions(self._call, mark, marks, self._root, self._are_leaves)
        marks.append(mark())
        if called != [each.type for each in self._functions]:
            raise UserError(CHANGED)
        return marks

    def _are_known(self, called: Sequence[nn.Module]) -> bool:
        """Whether these are the modules that were traced, in their order."""
        return list(map(self._identity, called)) == [self._identity(each.module) for each in self._modules]

    def _identity(self, module: nn.Module | None) -> object:
        """What a module is known by: itself, or its type where it is made anew for each call."""
        return module if module in self._lasting else type(module)


def _places(root: Call) -> tuple[dict[Call, Span], dict[str, Span]]:
    """Of each call, and of each pass."""
    found: dict[Call, Span] = {}
    counter = count(1)  # after the sample's begin
    untouched = next(counter), next(counter)

    def visit(call: Call) -> None:
        start = next(counter)
        for each in call.inner:
            if each.kind is not Kind.FUNCTION:
                visit(each)
        found[call] = start, next(counter)

    start = next(counter)
    visit(root)
    modules = start, next(counter)
    start = next(counter)
    for call, _ in root.walk():
        if call.kind is Kind.FUNCTION:
            found[call] = next(counter), next(counter)
    return found, {UNTOUCHED: untouched, MODULES: modules, FUNCTIONS: (start, next(counter))}


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
    call: Callable[[], Any], mark: Marker, marks: list[Mark], root: nn.Module, are_leaves: Sequence[bool]
) -> list[str]:
    """Call a module with a mark before and after each operator in it, except those in leaf modules.

    Args:
        call: calls it, or a module around it.
        mark: sets a mark.
        marks: where the marks go.
        root: the module.
        are_leaves: for each call of a module, in their order, whether it is a leaf module's.

    Returns:
        The operators' names, in their order.
    """
    called: list[str] = []
    turn, within = iter(are_leaves), [False]  # per call in progress: whether its operators have marks

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
    nothing, many = nn.Identity(), _Additions()
    one = torch.ones(1, dtype=torch.float32, device=device)

    def identities() -> None:
        for _ in range(CALIBRATION):
            nothing(one)

    def additions() -> None:
        many(one)

    module = _calibrated(
        clock, identities, lambda mark, marks: mark_modules(identities, mark, marks, nothing)
    )
    operator = _calibrated(
        clock, additions, lambda mark, marks: mark_functions(additions, mark, marks, many, [False])
    )
    return Marking(module, replace(operator, within=max(0.0, operator.within)), clock.ahead)


def _calibrated(
    clock: Clock, work: Callable[[], None], marked: Callable[[Marker, list[Mark]], object]
) -> Cost:
    """What marks cost a call that does next to nothing."""
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
    return Cost(min(read) - min(bare), min(around) - min(bare))


def call_times(root: Call, samples: Mapping[str, array[float]], marking: Marking) -> dict[Call, array[float]]:
    """The times of all calls in seconds, the calls within them included, what marks cost taken off.

    Args:
        root: the calls.
        samples: those of `Passes.experiment`.
        marking: what marks cost.
    """
    calls = [call for call, _ in root.walk()]
    functions = sum(call.kind is Kind.FUNCTION for call in calls)
    module, operator = marking.module, marking.operator
    if marking.ahead:
        module = module.seen(_longer(samples, MODULES), len(calls) - functions)
        operator = operator.seen(_longer(samples, FUNCTIONS), functions)
    return _bounded(
        {
            call: _corrected(call, samples[str(place)], operator if call.kind is Kind.FUNCTION else module)
            for place, call in enumerate(calls)
        }
    )


def _longer(samples: Mapping[str, array[float]], name: str) -> float:
    """How many seconds a pass takes longer than the untouched one beside it."""
    both = zip(samples[name], samples[UNTOUCHED], strict=True)
    return interquartile_mean([marked - untouched for marked, untouched in both])


def _corrected(call: Call, raw: array[float], cost: Cost) -> array[float]:
    """A call's times without what its own marks cost, and those of the calls of modules within it."""
    of_modules = sum(each.kind is not Kind.FUNCTION for each, _ in call.walk() if each is not call)
    return array("d", (seconds - cost.within - of_modules * cost.around for seconds in raw))


def _bounded(times: Mapping[Call, array[float]]) -> dict[Call, array[float]]:
    """The times, with those of functions such that they add up to no more than their caller takes by itself.

    They have a pass of their own, in which every operator goes through Python. How much longer it takes by
    that depends on what has to be converted, and what is taken off is the same for all.
    """
    found = dict(times)
    for call in times:
        functions = [each for each in call.inner if each.kind is Kind.FUNCTION]
        if not functions:
            continue
        modules = [times[each] for each in call.inner if each.kind is not Kind.FUNCTION]
        own = [whole - sum(parts) for whole, *parts in zip(times[call], *modules, strict=True)]
        most = interquartile_mean(own)
        read = interquartile_mean(list(map(sum, zip(*(times[each] for each in functions), strict=True))))
        if read > most:
            share = max(0.0, most) / read
            found |= {each: array("d", (share * seconds for seconds in times[each])) for each in functions}
    return found
