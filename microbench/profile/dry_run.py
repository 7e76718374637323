"""Dry runs of a module, with tensors that have a shape and a type but no memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from microbench.profile.calls import Call
from microbench.profile.once import Asked, Given, called, called_once
from microbench.watch.copy import ReentrantCallError, are_apart, forbid_calls_to, state_restored


def dry_run(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    fill: Callable[[], object] | None = None,
    training: bool | None = None,
    objective: Callable[[Any], Any] | None = None,
) -> Call:
    """Return the module's calls, found with fake tensors; if these do not suffice, with real ones.

    Fake tensors have no values, which code needs that branches on a value or turns one into a number.

    Args:
        module: the module, which stays as it was.
        args: its positional arguments.
        kwargs: its keyword arguments.
        fill: gives the weights their values, before a real call.
        training: whether to call it in train mode or in eval mode; by default as it is.
        objective: returns where the backward pass starts, given the output; by default all of the output.

    Raises:
        Exception: what the module raises on these inputs.
    """
    given = (tuple(args), dict(kwargs or {}))
    if not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules()):
        # what a user's hooks store should not be fake
        with suppress(Exception, ReentrantCallError), _silent():
            return _on_fakes(module, given, Asked(training, objective))
    if fill is not None:
        fill()
    with called(module, *given, training, objective) as first:
        return first.root


def _on_fakes(module: nn.Module, given: Given, asked: Asked) -> Call:
    """Return the calls of a copy of a module with fake tensors.

    Raises:
        Exception: what the module raises, or an operation that fake tensors do not support.
        ReentrantCallError: the copy leads back to the module.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        stand_in, fakes = deepcopy((module, given))
    if not are_apart(module, stand_in):
        raise ReentrantCallError
    for own, fake in zip(module.parameters(), stand_in.parameters(), strict=True):
        fake.__dict__.update(own.__dict__)
    with state_restored(module), forbid_calls_to(module), mode:
        return called_once(stand_in, fakes, asked).root


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torch from logging failures of fake tensors, which are followed by a real call."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
