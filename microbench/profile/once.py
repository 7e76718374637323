"""Calls a module once, traced, and leaves it unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from microbench.profile.calls import Call
from microbench.profile.trace import trace
from microbench.watch.copy import (
    ReentrantCallError,
    are_apart,
    copied_module,
    copies,
    forbid_calls_to,
    parameters_restored,
    state_restored,
)

Given = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


class Called(NamedTuple):
    """A module that has been called once.

    Attributes:
        root: that call, with all calls in it.
        again: calls it again.
        changes: whether it changed the shapes or the number of its arguments, so that a second call differs.
    """

    root: Call
    again: Callable[[], Any]
    changes: bool


class Asked(NamedTuple):
    """How to call a module.

    Attributes:
        training: whether in train mode or in eval mode; None for its current mode.
        objective: returns where the backward pass starts, given the output; None for all of the output.
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
    """Call a copy of a module, traced; the copy can be called again until the context ends.

    A module that cannot be copied, or whose copy would call it, is called itself and restored at the end.

    Args:
        module: the module, which stays as it was.
        args: its positional arguments, which stay as they were if they can be copied.
        kwargs: its keyword arguments, likewise.
        training: whether to call it in train mode or in eval mode; by default as it is.
        objective: returns where the backward pass starts, given the output; by default all of the output.

    Raises:
        Exception: what the module raises on these inputs.
    """
    given = (tuple(args), dict(kwargs))
    first = _of_a_copy(module, given, Asked(training, objective))
    if first is not None:
        yield first
        return
    with state_restored(module), parameters_restored(module):
        yield called_once(module, copies(given, {}), Asked(training, objective))


def _of_a_copy(module: nn.Module, given: Given, asked: Asked) -> Called | None:
    """Call a copy of a module; return None if it cannot be copied, or if the copy calls the module."""
    memo = dict[int, Any]()
    try:
        copy = copied_module(module, memo)
    except Exception:  # a module's attributes may fail to be copied in any way
        return None
    if not are_apart(module, copy):
        return None
    with suppress(ReentrantCallError), state_restored(module), forbid_calls_to(module):
        return called_once(copy, copies(given, memo), asked)
    return None


def called_once(module: nn.Module, given: Given, asked: Asked) -> Called:
    """Put a module into train or eval mode, and call it."""
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
    """Return how arguments are nested, and the shapes of the tensors in them."""
    leaves, tree = tree_flatten(given)
    return tree, [each.shape if isinstance(each, Tensor) else None for each in leaves]
