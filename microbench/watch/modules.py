"""Watching what a module calls: its modules, and torch's operators.

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
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from microbench.errors import FailedAt
from microbench.watch.tensors import tensors


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


def has_ways_of_its_own(tensor: Tensor) -> bool:
    """Whether a tensor's class says what becomes of its operators; a fake one does as its device does."""
    return torch._C._dispatch_keys(tensor).has(DispatchKey.Python) and not isinstance(tensor, FakeTensor)
