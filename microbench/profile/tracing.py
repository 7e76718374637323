"""Runs a module once and notes every call of its modules and of torch's operators.

Nothing is attached to the module: for the time of the run, `nn.Module.__call__` is another function. A hook
would be seen by the module, and `nn.TransformerEncoderLayer` runs other kernels where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, reduce
from operator import or_
from threading import RLock, get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey, DispatchKeySet
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from microbench.errors import FailedAt, UserError
from microbench.profile import counts, gradients
from microbench.profile.calls import Call, dtype_of, shapes
from microbench.profile.counts import Counts
from microbench.profile.counts.executed import has_ways_of_its_own
from microbench.records.record import Kind
from microbench.workloads import tensors


def trace(module: nn.Module, call: Callable[[], Any], objective: Callable[[Any], Any] | None = None) -> Call:
    """Let `call` call the module once, and return that call with all calls within it; not those around it.

    The caller says, with its context, whether gradients are enabled and whether tensors are fake.

    Args:
        module: the module.
        call: calls it.
        objective: where a backward pass starts, given the module's output; from all of the output by default.

    Raises:
        Exception: what the module raises; its cause is a `FailedAt`.
    """
    tracer = Tracer(module)
    with tracer.watching():
        call()
    tracer.settle(objective)
    return tracer.root


@contextmanager
def locating(name: str, module: nn.Module, given: Sequence[torch.Size]) -> Iterator[None]:
    """Say of an error within which of a model's layers it arose, unless one in it has said so."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, FailedAt):
            raise
        sizes = ", ".join(str(tuple(each)) for each in given)
        what = f"on input {sizes}" if sizes else "without a tensor"
        raise error from FailedAt(name, type_name(module), what)


class Names:
    """What modules are called: their dotted names within one that is profiled."""

    def __init__(self, root: nn.Module) -> None:
        self._names: dict[nn.Module, list[str]] = {}
        for name, module in root.named_modules(remove_duplicate=False):
            self._names.setdefault(module, []).append(name)

    def of(self, module: nn.Module, within: str) -> str:
        """The module's name; of several, the shortest that lies in the module that calls it, if one does."""
        names = self._names.get(module)
        if names is None:  # made while it runs, or kept where torch does not look
            return join(within, f"({type(module).__name__})")
        inner = [name for name in names if name.startswith(join(within, ""))]
        return min(inner or names, key=lambda name: name.count("."))


def join(owner: str, name: str) -> str:
    """The dotted name of something within a module."""
    return f"{owner}.{name}" if owner else name


class Tracer:
    """Notes calls while a module runs."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._names = module, Names(module)
        self._open: list[Call] = []
        self._root: Call | None = None
        self._output: Any = None
        self._places: dict[Call, gradients.Place] = {}  # of each operator, in autograd's graph
        self._place: gradients.Place | None = None
        self._leaves: list[tuple[Call, bool, list[Call]]] = []  # whether a rule knows it; its operators
        self._is_asking = False

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Leave out what is computed to say what a call costs, such as the lengths of a packed sequence."""
        self._is_asking = True
        try:
            yield
        finally:
            self._is_asking = False

    @property
    def root(self) -> Call:
        """The call of the module itself.

        Raises:
            UserError: it was not seen.
        """
        if self._root is None:
            raise UserError(
                f"{type_name(self._module)} has a __call__ of its own, which hides its calls: profile "
                "torch.nn.Sequential(model)."
            )
        return self._root

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is called within, and every gradient that is computed there in this thread."""
        with (
            calling(self._call),
            Operators(self._function),
            torch.autograd.set_multithreading_enabled(False),
        ):
            yield

    def settle(self, objective: Callable[[Any], Any] | None) -> None:
        """Leave of the backward pass what it comes to, and sum up the modules that no rule knows.

        Where the output has no tensor to start from that can be found, a gradient arrives everywhere.
        """
        roots = list(tensors(self._output if objective is None else objective(self._output)))
        found = gradients.reached(roots) if roots else None
        due = {call: call.counts.backward for call in self._places}
        for call, place in self._places.items():
            if found is not None and place not in found:
                call.counts = call.counts.with_backward_of(Counts())
        unknown = {self._first_from(number) for number in found.own} if found is not None else set()
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

    def _first_from(self, number: int) -> Call | None:
        """The first operator that runs once the node of a number is made: of a function, that in it."""
        return next((call for call, place in self._places.items() if place.after > number), None)

    def _call(self, original: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not self._open and module is not self._module:  # a wrapper around it
            return original(module, *args, **kwargs)
        call = self._begin(module, args, kwargs)
        try:
            with locating(call.name, module, call.in_shapes):
                output = original(module, *args, **kwargs)
        except Exception:
            call.kind = Kind.CONTAINER if call.inner else call.kind  # who catches it goes on with other calls
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
        """Say what a call was: one that called other modules is the sum of these and of its functions."""
        assert call.module is not None
        call.out_shapes = shapes(output)
        call.dtype = dtype_of(output, args, kwargs)
        if any(each.kind is not Kind.FUNCTION for each in call.inner):
            call.kind = Kind.CONTAINER
            return
        with self._asking():
            known = counts.of_module(call.module, args, kwargs, output)
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
                call.counts = counts.of_function(function, args, kwargs, output)
            owner.inner.append(call)
            self._places[call] = place
        return output


def type_name(module: nn.Module) -> str:
    """The name of a module's class; of a scripted one, that of its original."""
    return str(getattr(module, "original_name", None) or type(module).__name__)


EXCHANGED = RLock()


@contextmanager
def calling(call: Callable[..., Any]) -> Iterator[None]:
    """Have every call of a module in this thread go through `call(original, module, *args, **kwargs)`.

    Another thread that wants the same waits: each has to find what it put there when it takes it away.
    """
    here = get_ident()
    with EXCHANGED:
        original = nn.Module.__call__

        def through(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if get_ident() != here:
                return original(module, *args, **kwargs)
            return call(original, module, *args, **kwargs)

        nn.Module.__call__ = through  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]


UNSEEN = ("prim", "profiler")
"""Namespaces of what computes nothing: questions for a tensor's properties, a profiler's marks."""


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Has every operator go through `run(operator, args, kwargs)`, but for those made of others: these do."""

    def __init__(self, run: Callable[[OpOverload, Any, Any], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run = run

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace in UNSEEN:
            return func(*args, **kwargs)
        if _is_made_of_others(func, list(tensors((args, kwargs)))):
            with self:
                output = func._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
            if output is not NotImplemented:
                return output
        return self._run(func, args, kwargs)


def _is_made_of_others(func: OpOverload, given: Sequence[Tensor]) -> bool:
    """Whether torch has nothing to run for an operator on such tensors but other operators.

    It may have a kernel for one kind of tensors alone: of `_fused_rms_norm` for CUDA, of `linear` for nested
    ones. What becomes of an operator on tensors of a class of its own is that class's to say.
    """
    if any(map(has_ways_of_its_own, given)):
        return False
    # Python's decompositions, which `_can_decompose` knows too, are for compilers: they are not what runs.
    known = torch._C._dispatch_has_kernel_for_dispatch_key
    if not known(func._name, DispatchKey.CompositeImplicitAutograd):
        return False
    keys = reduce(or_, map(torch._C._dispatch_keys, given), DispatchKeySet(DispatchKey.Undefined))
    nested = DispatchKey.CompositeImplicitAutogradNestedTensor
    if keys.has(DispatchKey.NestedTensor) and known(func._name, nested):
        return False
    return not known(func._name, (keys & _kernels()).highestPriorityTypeId())


@cache
def _kernels() -> DispatchKeySet:
    """The keys of kernels: of a device, or of a layout on it; not those of gradients, autocast and so on."""
    keys = DispatchKey.__members__.values()
    alias = DispatchKey.CompositeExplicitAutograd  # it stands for all of them but that of nested tensors
    found = [key for key in keys if torch._C._dispatch_is_included_in_alias(key, alias)]
    return reduce(or_, map(DispatchKeySet, found), DispatchKeySet(DispatchKey.NestedTensor))
