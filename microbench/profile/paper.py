"""Runs a module on paper: with tensors that have a shape and a type, and no memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from microbench.profile.calls import Call
from microbench.profile.tracing import trace
from microbench.workloads import tensors


def double(module: nn.Module) -> nn.Module:
    """A module that does what a given one does, in its stead: whatever a call changes, it changes there.

    It has the same parameters, in the same memory, unless a change between train and eval may rewrite them (a
    module with a `train` of its own); all else is its own. A module that cannot be copied is returned itself.
    """
    shared = (
        ()
        if any(type(each).train is not nn.Module.train for each in module.modules())
        else module.parameters()
    )
    try:
        return deepcopy(module, {id(each): each for each in shared})
    except Exception:  # what a module holds may refuse in any way
        return module


def doubled(values: Any, shared: Iterable[torch.Tensor] = ()) -> Any:
    """A copy of what a module is called with, which a call may change: a cache, a tensor worked on in place.

    Args:
        values: arguments, which are returned themselves where they cannot be copied.
        shared: tensors of them that are not copied.
    """
    try:
        return deepcopy(values, {id(each): each for each in shared})
    except Exception:
        return values


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Put back what a call of a module that has no `double` may change, whatever happens.

    That is each of its modules' attributes, train or eval state and hooks among them, the members of those
    that are lists, dictionaries or sets, and its buffers' values.
    """
    training = [(each, each.training) for each in module.modules()]
    attributes = [(each.__dict__, dict(each.__dict__)) for each in module.modules()]
    members = [
        (value, copy(value))
        for _, before in attributes
        for value in before.values()
        if isinstance(value, (dict, list, set))
    ]
    buffers = [(each, each.detach().clone()) for each in module.buffers()]
    try:
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
        for buffer, contents in buffers:
            with torch.no_grad(), suppress(RuntimeError):  # one that cannot be written was not
                buffer.copy_(contents)


def _refill(container: Any, members: Any) -> None:
    """Make a container hold these members again."""
    container.clear()
    if isinstance(container, list):
        container.extend(members)
    else:
        container.update(members)


def trace_on_paper(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    fill: Callable[[], object] | None = None,
) -> Call:
    """The module's calls, found with fake tensors; for real where it does what these cannot.

    These cannot tell a value, which code asks for that branches on one or turns one into a number.

    Args:
        module: the module; what fake tensors leave behind stays in a double of it.
        args: its positional arguments.
        kwargs: its keyword arguments.
        fill: gives the weights their values, before the module is called for real.

    Raises:
        Exception: what the module raises on these inputs.
    """
    given = (tuple(args), dict(kwargs or {}))
    if not has_hooks(module) and (stand_in := double(module)) is not module:
        with suppress(Exception), _silent(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake_args, fake_kwargs = fake(mode, doubled(given, tensors(given)))
            return trace(stand_in, lambda: stand_in(*fake_args, **fake_kwargs))
    if fill is not None:
        fill()
    return trace(module, lambda: module(*args, **(kwargs or {})))


def has_hooks(module: nn.Module) -> bool:
    """Whether a user has hung hooks on a module, or on one in it: what they keep should not be fake."""
    return any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torch from logging what fake tensors fail at: it is tried for real then."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def fake(mode: FakeTensorMode, values: Any) -> Any:
    """Values, however nested, with fake tensors in the place of their tensors."""
    return torch.utils._pytree.tree_map_only(torch.Tensor, _faker(mode), values)


def _faker(mode: FakeTensorMode) -> Callable[[torch.Tensor], torch.Tensor]:
    def convert(tensor: torch.Tensor) -> torch.Tensor:
        return mode.from_tensor(tensor).requires_grad_(tensor.requires_grad)

    return convert
