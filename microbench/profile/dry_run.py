"""Dry runs of a module: with tensors that have a shape and a type, and no memory."""

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
    """The module's calls, found with fake tensors; for real where it does what these cannot.

    These cannot tell a value, which code asks for that branches on one or turns one into a number.

    Args:
        module: the module, which stays as it was.
        args: its positional arguments.
        kwargs: its keyword arguments.
        fill: gives the weights their values, before the module is called for real.
        training: what the module is to be in: train mode, or eval mode; as it is by default.
        objective: where a backward pass starts, given the output; from all of the output by default.

    Raises:
        Exception: what the module raises on these inputs.
    """
    given = (tuple(args), dict(kwargs or {}))
    if not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules()):
        # what a user's hooks keep should not be fake
        with suppress(Exception, ReentrantCallError), _silent():
            return _on_fakes(module, given, Asked(training, objective))
    if fill is not None:
        fill()
    with called(module, *given, training, objective) as first:
        return first.root


def _on_fakes(module: nn.Module, given: Given, asked: Asked) -> Call:
    """The calls of a copy of a module with fake tensors.

    Raises:
        Exception: what the module raises, or what cannot be faked.
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
    """Keep torch from logging what fake tensors fail at: it is tried for real then."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
