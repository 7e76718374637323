"""Runs a module once, and records every call of its modules and of torch's operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload

from microbench import flops
from microbench.errors import UserError
from microbench.flops import Counts
from microbench.profile import gradients
from microbench.profile.calls import Call
from microbench.records.record import Kind
from microbench.watch.modules import Names, Operators, calling, join, locating, type_name
from microbench.watch.tensors import dtype_of, shapes, tensors


def trace(module: nn.Module, call: Callable[[], Any], objective: Callable[[Any], Any] | None = None) -> Call:
    """Return the module's call within `call`, with all calls within it; not those around it.

    The caller's context decides whether gradients are enabled and whether tensors are fake.

    Args:
        module: the module.
        call: calls it once.
        objective: returns where the backward pass starts, given the output; by default, all of it.

    Raises:
        Exception: what the module raises; its cause is a `FailedAt`.
    """
    tracer = Tracer(module)
    with tracer.watching():
        call()
    tracer.settle(objective)
    return tracer.root


class Tracer:
    """Records calls while a module runs."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._names = module, Names(module)
        self._open: list[Call] = []
        self._root: Call | None = None
        self._output: Any = None
        self._places: dict[Call, gradients.Place] = {}  # each operator's, in autograd's graph
        self._place: gradients.Place | None = None
        self._leaves: list[tuple[Call, bool, list[Call]]] = []  # whether it has a rule; operators
        self._is_asking = False

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Leave out the operators that only count a call, such as for the lengths of a packed sequence."""
        self._is_asking = True
        try:
            yield
        finally:
            self._is_asking = False

    @property
    def root(self) -> Call:
        """The call of the module itself.

        Raises:
            UserError: it was not recorded.
        """
        if self._root is None:
            raise UserError(
                f"{type_name(self._module)} has its own __call__, which hides its calls: profile "
                "torch.nn.Sequential(model)."
            )
        return self._root

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record the calls within the context, and compute gradients within it in this thread."""
        with (
            calling(self._call),
            Operators(self._function),
            torch.autograd.set_multithreading_enabled(False),
        ):
            yield

    def settle(self, objective: Callable[[Any], Any] | None) -> None:
        """Drop the backward passes that are not reached, and sum up the modules without a rule.

        If no tensor is found in the output to start from, gradients count as if they arrived everywhere.
        """
        roots = list(tensors(self._output if objective is None else objective(self._output)))
        found = gradients.reached(roots) if roots else None
        due = {call: call.counts.backward for call in self._places}
        for call, place in self._places.items():
            if found is not None and place not in found:
                call.counts = call.counts.with_backward_of(Counts())
        # A custom function's backward pass is unknown; the next operator that runs is marked.
        unknown = {
            next((call for call, place in self._places.items() if place.after > number), None)
            for number in (() if found is None else found.own)
        }
        for each in filter(None, unknown):
            each.counts += Counts(unknown=1)
        for call, is_known, operators in self._leaves:
            parts = sum((each.counts for each in operators), Counts())
            if not is_known:
                call.counts = parts
            elif found is not None and operators:
                judged = [each for each in operators if due[each]] or operators
                arrived = [self._places[each] in found for each in judged]
                if not any(arrived):
                    call.counts = call.counts.with_backward_of(Counts())
                elif not all(arrived):
                    call.counts = call.counts.with_backward_of(parts)
            if is_known:
                call.counts += Counts(unknown=len(unknown.intersection(operators)))

    def _call(self, original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not self._open and module is not self._module:  # a wrapper around it
            return original(module, *args, **kwargs)
        call = self._begin(module, args, kwargs)
        try:
            with locating(call.name, module, call.in_shapes):
                output = original(module, *args, **kwargs)
        except Exception:
            call.kind = (
                Kind.CONTAINER if call.inner else call.kind
            )  # a caller that catches it makes further calls
            raise
        finally:
            self._open.pop()
        self._end(call, args, kwargs, output)
        if call is self._root:
            self._output = output
        return output

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> Call:
        within = self._open[-1].name if self._open else ""
        name = self._names.of(module, within)
        call = Call(name, Kind.MODULE, type_name(module), module, shapes((args, kwargs)))
        if self._open:
            self._open[-1].inner.append(call)
        elif self._root is None:
            self._root = call
        self._open.append(call)
        return call

    def _end(self, call: Call, args: Any, kwargs: Any, output: Any) -> None:
        """Complete a call: one that called other modules is a container, whose costs are theirs."""
        assert call.module is not None
        call.out_shapes = shapes(output)
        call.dtype = dtype_of(output, args, kwargs)
        if any(each.kind is not Kind.FUNCTION for each in call.inner):
            call.kind = Kind.CONTAINER
            return
        with self._asking():
            known = flops.of_module(call.module, args, kwargs, output)
        call.counts = known or Counts()
        self._leaves.append((call, known is not None, call.inner))
        call.inner = []

    def _function(self, function: OpOverload, args: Any, kwargs: Any) -> Any:
        self._place = place = gradients.place_of(function, self._place)
        output = function(*args, **kwargs)
        if self._open and not self._is_asking:
            owner, kind = self._open[-1], function.overloadpacket.__name__
            call = Call(join(owner.name, kind), Kind.FUNCTION, kind, None, shapes((args, kwargs)))
            call.out_shapes, call.dtype = shapes(output), dtype_of(output, args, kwargs)
            with self._asking():
                call.counts = flops.of_function(function, args, kwargs, output)
            owner.inner.append(call)
            self._places[call] = place
        return output
