"""Watching the calls that a module makes: of its modules, and of torch's operators.

Nothing is attached to the module: `nn.Module.__call__` is replaced during the run. The module would see a
hook, and `nn.TransformerEncoderLayer` runs other kernels if it has one.
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
    """Add the layer in which an error arose as its cause, unless an inner layer has done so."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, FailedAt):
            raise
        sizes = ", ".join(str(tuple(each)) for each in given)
        what = f"on input {sizes}" if sizes else "without a tensor"
        raise error from FailedAt(name, type_name(module), what)


class Names:
    """The dotted names of modules within the profiled one."""

    def __init__(self, root: nn.Module) -> None:
        self._names: dict[nn.Module, list[str]] = {}
        for name, module in root.named_modules(remove_duplicate=False):
            self._names.setdefault(module, []).append(name)

    def of(self, module: nn.Module, within: str) -> str:
        """Return the module's name; of several, the shortest within its caller, if there is one."""
        names = self._names.get(module)
        if names is None:  # created during the call, or not registered with torch
            return join(within, f"({type(module).__name__})")
        inner = [name for name in names if name.startswith(join(within, ""))]
        return min(inner or names, key=lambda name: name.count("."))


def join(owner: str, name: str) -> str:
    """Return the dotted name of something within a module."""
    return f"{owner}.{name}" if owner else name


def type_name(module: nn.Module) -> str:
    """Return the name of a module's class; for a scripted module, that of its original."""
    return str(getattr(module, "original_name", None) or type(module).__name__)


EXCHANGED = RLock()


@contextmanager
def calling(call: Callable[..., Any]) -> Iterator[None]:
    """Route every module's call in this thread through `call(original, module, *args, **kwargs)`.

    Other threads that do the same wait, because each must remove the function that it put there itself.
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
"""Namespaces of operators that compute nothing: queries of a tensor's properties, a profiler's marks."""


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Routes operators through `run(operator, args, kwargs)`; a composite one by its parts."""

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
    """Return whether torch runs an operator on such tensors only as other operators.

    Some operators have a kernel for one kind of tensor only: `_fused_rms_norm` for CUDA, `linear` for nested
    tensors. A tensor class with its own dispatch decides itself what an operator on it runs.
    """
    if any(map(has_own_dispatch, given)):
        return False
    # Python's decompositions, which `_can_decompose` also knows, are for compilers: they are not what runs.
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
    """Return the keys of kernels: of a device, or of a layout on it; not of gradients, autocast and so on."""
    keys = DispatchKey.__members__.values()
    alias = DispatchKey.CompositeExplicitAutograd  # the alias of all of them except that of nested tensors
    found = [key for key in keys if torch._C._dispatch_is_included_in_alias(key, alias)]
    return reduce(or_, map(DispatchKeySet, found), DispatchKeySet(DispatchKey.NestedTensor))


def has_own_dispatch(tensor: Tensor) -> bool:
    """Return whether a tensor's class decides what its operators run; a fake one follows its device."""
    return torch._C._dispatch_keys(tensor).has(DispatchKey.Python) and not isinstance(tensor, FakeTensor)
