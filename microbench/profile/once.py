"""Calling a module once, traced, in such a way that it stays as it was."""

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
    """Call a copy of a module, traced; the copy can be called again until the context ends.

    A module that cannot be copied, or whose copy would call it, is called itself and put back at the end.

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
    with state_restored(module), parameters_restored(module):
        yield called_once(module, copies(given, {}), Asked(training, objective))


def _of_a_copy(module: nn.Module, given: Given, asked: Asked) -> Called | None:
    """Call a copy of a module; None where there can be none, or where it leads back to the module."""
    memo = dict[int, Any]()
    try:
        copy = copied_module(module, memo)
    except Exception:  # what a module holds may refuse in any way
        return None
    if not are_apart(module, copy):
        return None
    with suppress(ReentrantCallError), state_restored(module), forbid_calls_to(module):
        return called_once(copy, copies(given, memo), asked)
    return None


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
