"""Runs a module on paper: with tensors that have a shape and a type, and no memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from microbench.profile.calls import Call
from microbench.profile.tracing import trace


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Put back all that a call may change in a module, whatever happens.

    That is each of its modules' attributes, train or eval state and hooks among them, the members of those
    that are lists, dictionaries or sets, and its buffers' values: a cache that it fills would hold fake
    tensors else.
    """
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
        with torch.no_grad():
            for buffer, contents in buffers:
                buffer.copy_(contents)


def _refill(container: Any, members: Any) -> None:
    """Make a container hold these members again."""
    container.clear()
    if isinstance(container, list):
        container.extend(members)
    else:
        container.update(members)


def trace_on_paper(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Call:
    """The module's calls, found with fake tensors; for real where it does what these cannot.

    These cannot tell a value, which code asks for that branches on one or turns one into a number.

    Raises:
        Exception: what the module raises on these inputs.
    """

    def real() -> Call:
        return trace(module, lambda: module(*args, **(kwargs or {})))

    if has_hooks(module):
        return real()
    try:
        with _silent(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake_args, fake_kwargs = fake(mode, (tuple(args), dict(kwargs or {})))
            return trace(module, lambda: module(*fake_args, **fake_kwargs))
    except Exception:
        return real()


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
