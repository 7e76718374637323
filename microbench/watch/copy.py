"""Run a copy of a module so that the original stays unchanged; or the original, and restore it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from microbench.watch.modules import calling
from microbench.watch.tensors import tensors

T = TypeVar("T")


class ReentrantCallError(BaseException):
    """A copy called a module that it is a copy of. No model catches it, because it is no Exception."""


def are_apart(module: nn.Module, double: nn.Module) -> bool:
    """Return whether a copy has no module in common with its original."""
    return set(module.modules()).isdisjoint(double.modules())


@contextmanager
def forbid_calls_to(module: nn.Module) -> Iterator[None]:
    """Raise ReentrantCallError if the original is called while its copy runs.

    Functions that a module holds, such as a wrapped `forward`, are the same in a copy, and may lead back.
    """
    own = set(module.modules())

    def guarded(original: Callable[..., Any], each: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if each in own:
            raise ReentrantCallError
        return original(each, *args, **kwargs)

    with calling(guarded):
        yield


def copied_module(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy a module, and note the contents of the copy in `memo`.

    Parameters that share one piece of memory, as cuDNN requires of an RNN's, also do so in the copy.

    Raises:
        Exception: something in it cannot be copied.
    """
    for each in module.parameters():
        if type(each) is nn.Parameter and each.layout is torch.strided:
            own = nn.Parameter(copied(each.data, memo), each.requires_grad)
            own.__dict__.update(each.__dict__)
            memo[id(each)] = own
    return copied(module, memo)


def copies(given: Any, memo: dict[int, Any]) -> Any:
    """Copy arguments, using the copies in `memo`; those that cannot be copied are used themselves."""

    def copy_or_itself(value: Any) -> Any:
        try:
            return copied(value, memo)
        except Exception:
            return value

    return tree_map(copy_or_itself, given)


def copied(value: T, memo: dict[int, Any] | None = None) -> T:
    """Return a deep copy of a module, or of its arguments.

    Args:
        value: the value to copy.
        memo: objects for the copy, by the `id` of the original's; for `copy.deepcopy`.

    Raises:
        Exception: something in it cannot be copied.
    """
    with _ResultsToo():
        return deepcopy(value, memo)


class _ResultsToo(TorchFunctionMode):
    """While active, allows copies of tensors that are results and require a gradient."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            with torch.enable_grad():  # a result again: it may be changed in place, which no leaf may
                return args[0].detach().requires_grad_().clone()
        return func(*args, **(kwargs or {}))


@contextmanager
def state_restored(module: nn.Module) -> Iterator[None]:
    """Restore what a call may change in a module, whatever happens, except its parameters' values.

    This covers the attributes of all its modules, including train or eval state and hooks, the members of
    attributes that are lists, dictionaries or sets, and the values of buffers and other tensors among them.
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
    """Restore the members of a container."""
    container.clear()
    if isinstance(container, list):
        container.extend(members)
    else:
        container.update(members)


@contextmanager
def parameters_restored(module: nn.Module) -> Iterator[None]:
    """Restore a module's parameters and their gradients, whatever happens."""
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
    """Restore tensors' memory and its contents, whatever happens."""
    kept = [(each, each.data, each.detach().clone()) for each in given]
    try:
        yield
    finally:
        for tensor, data, values in kept:
            with suppress(RuntimeError):  # a tensor that cannot be written did not change
                tensor.data = data
                if not torch.equal(data, values):
                    data.copy_(values)
