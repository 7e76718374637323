"""Calls a module in its stead, which stays as it was: a copy of it.

That of a large module has the parameters in common with it, as long as no call writes to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from microbench.profile.calls import Call
from microbench.profile.tracing import calling, trace
from microbench.workloads import tensors

T = TypeVar("T")
Given = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""

LARGE = 2**30  # bytes of parameters from which on they are not copied unless need be: there may be no room


class Called(NamedTuple):
    """A module that has been called once.

    Attributes:
        root: that call, with all calls in it.
        again: calls it again.
        changes: it has changed the shapes of its arguments, or how many there are: a second call is another.
    """

    root: Call
    again: Callable[[], Any]
    changes: bool


class Asked(NamedTuple):
    """How a module is to be called.

    Attributes:
        training: in train mode, or in eval mode; None for the one it is in.
        objective: where a backward pass starts, given the output; None for all of the output.
    """

    training: bool | None = None
    objective: Callable[[Any], Any] | None = None


@contextmanager
def called(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    training: bool | None = None,
    objective: Callable[[Any], Any] | None = None,
) -> Iterator[Called]:
    """Call something in a module's stead, once and as often as is wanted until the end.

    That is a copy. One of a large module has its parameters in the same memory, unless the first call writes
    to them. A module that cannot be copied, or whose copy would call it, is called itself and put back at the
    end.

    Args:
        module: the module, which stays as it was.
        args: its positional arguments, which stay as they were if they can be copied.
        kwargs: its keyword arguments, likewise.
        training: what the module is to be in: train mode, or eval mode; as it is by default.
        objective: where a backward pass starts, given the output; from all of the output by default.

    Raises:
        Exception: what the module raises on these inputs.
    """
    given = (tuple(args), dict(kwargs))
    first = _of_a_copy(module, given, Asked(training, objective))
    if first is not None:
        yield first
        return
    with left_as_it_was(module), _parameters_kept(module):
        yield called_once(module, _copies(given, {}), Asked(training, objective))


def _of_a_copy(module: nn.Module, given: Given, asked: Asked) -> Called | None:
    """Call a copy of a module; None where there can be none, or where it leads back to the module."""
    is_large, memo = _size(module) >= LARGE, dict[int, Any]()
    try:
        double = _double(module, is_large, memo)
    except Exception:  # what a module holds may refuse in any way
        return None
    if not are_apart(module, double):
        return None
    with suppress(LedBackError), left_as_it_was(module), kept_out(module):
        if is_large:
            first = _call_reading(double, _copies(given, memo), asked)
            if first is not None:
                return first
            memo = {}
            double = _double(module, False, memo)
        return called_once(double, _copies(given, memo), asked)
    return None


class LedBackError(BaseException):
    """A copy called a module that it is a copy of. No model catches it."""


def are_apart(module: nn.Module, double: nn.Module) -> bool:
    """Whether a copy has no module in common with what it is a copy of."""
    return set(module.modules()).isdisjoint(double.modules())


@contextmanager
def kept_out(module: nn.Module) -> Iterator[None]:
    """Raise a `LedBackError` where a module is called in whose stead a copy is to be called.

    Functions that a module holds, such as a wrapped `forward`, are the same in a copy, and may lead back.
    """
    own = set(module.modules())

    def guarded(original: Callable[..., Any], each: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if each in own:
            raise LedBackError
        return original(each, *args, **kwargs)

    with calling(guarded):
        yield


def _size(module: nn.Module) -> int:
    """Bytes of memory that a module's parameters and buffers lie in."""
    held = [each for each in (*module.parameters(), *module.buffers()) if torch._C._has_storage(each)]
    return sum({_memory(each): each.untyped_storage().nbytes() for each in held}.values())


def _double(module: nn.Module, shares: bool, memo: dict[int, Any]) -> nn.Module:
    """A copy, which may share its plain parameters' memory; what is in it is noted in `memo`.

    Parameters that lie in one piece of memory, as cuDNN wants those of an RNN, do so in the copy.
    """
    for each in _plain(module):
        own = nn.Parameter(each.data if shares else copied(each.data, memo), each.requires_grad)
        own.__dict__.update(each.__dict__)
        memo[id(each)] = own
    return copied(module, memo)


def _plain(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that have memory, and nothing else that a copy would have to have."""
    return [
        each for each in module.parameters() if type(each) is nn.Parameter and each.layout is torch.strided
    ]


def _call_reading(module: nn.Module, given: Given, asked: Asked) -> Called | None:
    """Call a module; None where that would write to its parameters."""
    guard, first = _ReadOnly(_plain(module)), None
    try:
        with guard:
            first = called_once(module, given, asked)
    except Exception:
        if not guard.has_refused:
            raise
    return None if guard.has_refused else first  # the module may have caught what was raised


def called_once(module: nn.Module, given: Given, asked: Asked) -> Called:
    """Put a module into a mode, and call it."""
    training, objective = asked
    if training is not None and any(each.training != training for each in module.modules()):
        module.train(training)
    args, kwargs = given

    def call() -> Any:
        return module(*args, **kwargs)

    before = _form(given)
    root = trace(module, call, objective)
    return Called(root, call, _form(given) != before)


def _form(given: Given) -> tuple[Any, list[Any]]:
    """How arguments are nested, and the shapes of tensors in them."""
    leaves, tree = tree_flatten(given)
    return tree, [each.shape if isinstance(each, Tensor) else None for each in leaves]


def _copies(given: Given, memo: dict[int, Any]) -> Given:
    """Copies of arguments, with what `memo` has of it; those that cannot be copied are in it themselves."""

    def copy_or_itself(value: Any) -> Any:
        try:
            return copied(value, memo)
        except Exception:
            return value

    args, kwargs = tree_map(copy_or_itself, given)
    return args, kwargs


def copied(value: T, memo: dict[int, Any] | None = None) -> T:
    """A copy of a module, or of what one is called with, all the way down.

    Args:
        value: what to copy.
        memo: what is to be in the copy, by the `id` of what is in the original; for `copy.deepcopy`.

    Raises:
        Exception: something in it cannot be copied.
    """
    with _ResultsToo():
        return deepcopy(value, memo)


class _ResultsToo(TorchFunctionMode):
    """While it is active, tensors that are results and require a gradient can be copied too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            with torch.enable_grad():  # a result again: it may be changed in place, which no leaf may
                return args[0].detach().requires_grad_().clone()
        return func(*args, **(kwargs or {}))


class _ReadOnly(TorchDispatchMode):
    """Refuses, while it is active, operators that write to the memory of given tensors.

    Attributes:
        has_refused: it has refused one.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.has_refused = False
        self._memory = {_memory(each) for each in given}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable and any(
            _memory(each) in self._memory for each in tensors(_written(func, args, kwargs))
        ):
            self.has_refused = True
            raise RuntimeError(f"{func} would write to a parameter")
        return func(*args, **kwargs)


def _memory(tensor: Tensor) -> int | None:
    """What tensors in the same memory have in common; None for those without memory of their own."""
    return tensor.untyped_storage()._cdata if torch._C._has_storage(tensor) else None


def _written(function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Which of its arguments an operator writes to."""
    formal = function._schema.arguments
    given = dict(zip((each.name for each in formal), args, strict=False)) | dict(kwargs)
    return [given[each.name] for each in formal if each.is_write and each.name in given]


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Put back what a call may change of the module itself, whatever happens, but for its parameters' values.

    That is each of its modules' attributes, train or eval state and hooks among them, the members of those
    that are lists, dictionaries or sets, and the values of buffers and of other tensors among them.
    """
    training = [(each, each.training) for each in module.modules()]
    attributes = [(each.__dict__, dict(each.__dict__)) for each in module.modules()]
    members = [
        (value, copy(value))
        for _, before in attributes
        for value in before.values()
        if isinstance(value, (dict, list, set))
    ]
    held = (each for _, before in attributes for each in tensors(before))
    try:
        with _values_kept({id(each): each for each in held if not isinstance(each, nn.Parameter)}.values()):
            yield
    finally:
        for now, before in attributes:
            now.clear()
            now.update(before)
        for value, before_members in members:
            _refill(value, before_members)
        for each, was in training:
            if each.training != was:
                each.training = was


def _refill(container: Any, members: Any) -> None:
    """Make a container hold these members again."""
    container.clear()
    if isinstance(container, list):
        container.extend(members)
    else:
        container.update(members)


@contextmanager
def _parameters_kept(module: nn.Module) -> Iterator[None]:
    """Put back a module's parameters and their gradients, whatever happens."""
    gradients = [(each, each.requires_grad, each.grad) for each in module.parameters()]
    held = [gradient for *_, gradient in gradients if gradient is not None]
    try:
        with _values_kept([*module.parameters(), *held]):
            yield
    finally:
        for parameter, wanted, gradient in gradients:
            if parameter.requires_grad != wanted:
                parameter.requires_grad = wanted
            parameter.grad = gradient


@contextmanager
def _values_kept(given: Iterable[Tensor]) -> Iterator[None]:
    """Put back the tensors' memory and what is in it, whatever happens."""
    kept = [(each, each.data, each.detach().clone()) for each in given]
    try:
        yield
    finally:
        for tensor, data, values in kept:
            with suppress(RuntimeError):  # one that cannot be written was not
                tensor.data = data
                if not torch.equal(data, values):
                    data.copy_(values)
