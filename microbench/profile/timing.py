"""Times a module's calls one by one, with marks before and after, whose own cost is subtracted.

A sample is three passes: a call of the uninstrumented module; one with a mark before and after each call of a
module; one with a mark before and after each of torch's operators outside leaf modules. They run one after
another, so that a change of the machine's speed affects all of them. The first two alternate their order from
sample to sample, because the preceding pass, such as the slow third one, affects a pass too.
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

UNINSTRUMENTED, MODULES, FUNCTIONS = "uninstrumented", "modules", "functions"  # the passes of a sample
CALIBRATION = 200  # calls of a calibration pass
PASSES = 25  # of which the fastest counts, because other load only adds to the cost of marks

CHANGED = (
    "The module calls different layers each time, so that none can be measured: use a dry run, timing=false "
    "(from Python, without timing and memory)."
)


Span = tuple[int, int]
"""The places of two marks among a sample's marks."""


@dataclass(frozen=True)
class Cost:
    """The cost of the marks before and after a call, in seconds of the clock that sets them.

    Attributes:
        within: time read between them, beyond the unmarked call's.
        around: how much longer the marked call takes in total than an unmarked one.
    """

    within: float
    around: float

    def seen(self, longer: float, calls: int) -> Cost:
        """Return the share of it that is visible if `calls` marked calls take `longer` seconds more."""
        whole = calls * self.around
        share = min(1.0, max(0.0, longer / whole)) if whole > 0 else 1.0
        return Cost(share * self.within, share * self.around)


@dataclass(frozen=True)
class Marking:
    """The cost of marks if only the host takes time.

    Attributes:
        module: around a call of a module.
        operator: around one of torch's operators, including its way through Python.
        ahead: marks may be set ahead of the device, see `Clock`: part of it is hidden.
    """

    module: Cost
    operator: Cost
    ahead: bool = False


class Passes:
    """The passes over a module whose calls are known.

    Args:
        call: calls the module.
        root: its calls, from a trace.
        phase: the uninstrumented call's phase: inference, or forward.
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
        """Return the experiment: its phase is the uninstrumented call, its parts each pass and call."""
        places = {call: str(place) for place, call in enumerate(self._calls)}
        spans = {places[call]: span for call, span in self.borders.items()}
        swap = cycle((False, True))
        return Experiment(
            lambda mark, calls: self.step(mark, next(swap)),
            {self._phase: self._passes[UNINSTRUMENTED]},
            (self._phase,),
            self._phase,
            inner=spans | self._passes,
            runs=len(self._passes) if self._functions else len(self._passes) - 1,
        )

    def step(self, mark: Marker, swap: bool = False) -> list[Mark]:
        """Take a sample: a mark at its start, those of each pass, and in these each call's at its `borders`.

        Args:
            mark: sets a mark.
            swap: whether the second pass comes before the first.

        Raises:
            UserError: the module makes other calls than the traced ones.
        """
        start = mark()
        if swap:
            modules, bare = self._of_modules(mark), self._of_model(mark)
        else:
            bare, modules = self._of_model(mark), self._of_modules(mark)
        return [start, *bare, *modules, *self._of_functions(mark)]

    def _of_model(self, mark: Marker) -> list[Mark]:
        start = mark()
        self._call()
        return [start, mark()]

    def _of_modules(self, mark: Marker) -> list[Mark]:
        marks = [mark()]
        called = mark_modules(self._call, mark, marks, self._root)
        marks.append(mark())
        if not self._are_known(called):
            self._lasting &= set(self._root.modules())  # the model may have replaced some
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
        """Return whether these are the traced modules, in their order."""
        return list(map(self._identity, called)) == [self._identity(each.module) for each in self._modules]

    def _identity(self, module: nn.Module | None) -> object:
        """Return what identifies a module: itself, or its type if each call creates another."""
        return module if module in self._lasting else type(module)


def _places(root: Call) -> tuple[dict[Call, Span], dict[str, Span]]:
    """Return the span of each call, and of each pass."""
    found: dict[Call, Span] = {}
    counter = count(1)  # after the sample's start
    bare = next(counter), next(counter)

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
    return found, {UNINSTRUMENTED: bare, MODULES: modules, FUNCTIONS: (start, next(counter))}


def mark_modules(
    call: Callable[[], Any], mark: Marker, marks: list[Mark], root: nn.Module
) -> list[nn.Module]:
    """Call a module with a mark before and after each call of a module within it, including itself.

    Args:
        call: calls it, or a module around it.
        mark: sets a mark.
        marks: the list to which marks are added.
        root: the module.

    Returns:
        The called modules, in the order in which the calls began.
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
    """Call a module with a mark before and after each operator outside leaf modules.

    Args:
        call: calls it, or a module around it.
        mark: sets a mark.
        marks: the list to which marks are added.
        root: the module.
        are_leaves: for each call of a module, in order, whether it is a leaf module's.

    Returns:
        The operators' names, in order.
    """
    called: list[str] = []
    turn, within = iter(are_leaves), [False]  # whether the operators of each open call have marks

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
    """Adds one to one, repeatedly."""

    def forward(self, one: torch.Tensor) -> None:
        for _ in range(CALIBRATION):
            one.add(one)


def marking(clock: Clock, device: torch.device) -> Marking:
    """Measure the cost of marks, with calls of a module and of an operator that compute next to nothing."""
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
    """Return the cost of marks for a call that does next to nothing."""
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
    """Return the times of all calls in seconds, including the calls within them, without the cost of marks.

    Args:
        root: the calls.
        samples: those of `Passes.experiment`.
        marking: the cost of marks.
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
    """Return how many seconds longer a pass takes than the uninstrumented one of the same sample."""
    both = zip(samples[name], samples[UNINSTRUMENTED], strict=True)
    return interquartile_mean([marked - bare for marked, bare in both])


def _corrected(call: Call, raw: array[float], cost: Cost) -> array[float]:
    """Return a call's times without the cost of its own marks, and of those of module calls within it."""
    of_modules = sum(each.kind is not Kind.FUNCTION for each, _ in call.walk() if each is not call)
    return array("d", (seconds - cost.within - of_modules * cost.around for seconds in raw))


def _bounded(times: Mapping[Call, array[float]]) -> dict[Call, array[float]]:
    """Return the times, with operators' shortened so that they add up to at most their caller's own time.

    Operators are timed in a separate pass, in which each goes through Python. How much longer that takes
    depends on the arguments to convert, whereas the subtracted cost is the same for all.
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
