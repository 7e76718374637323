"""Which operators a backward pass comes to: those that autograd's graph leads to from where it starts.

Autograd numbers the nodes of its graph in the order in which a thread makes them, and makes an operator's
node right before the operator runs. An operator's number is thus known as it runs, without keeping anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.autograd.function import BackwardCFunction

IN_PLACE = "torch::autograd::CopySlices"
"""What stands in the graph for an operator that writes to a view, made once that has run."""


class Place(NamedTuple):
    """Where in the order of nodes an operator's own is, if it has one.

    Attributes:
        own: its number.
        after: the number of the first one that is made once the operator has run.
    """

    own: int
    after: int


def place_of(function: OpOverload, previous: Place | None) -> Place:
    """Where the node of an operator is that runs.

    Args:
        function: the operator.
        previous: where that of the operator before it is.
    """
    after = int(torch._C._autograd._get_sequence_nr())
    # What is written over may be needed backward: autograd clones it, once it has made the node.
    cloned = function._schema.is_mutable and previous is not None and previous.after == after
    return Place(after - 1 - cloned, after)


@dataclass(frozen=True)
class Reached:
    """The nodes of a graph that a backward pass comes to.

    Attributes:
        numbers: of all of them.
        in_place: of those that hold the node of an operator that writes to a view.
        own: of those of a `torch.autograd.Function` of a user's own, whose backward pass no rule knows.
    """

    numbers: frozenset[int]
    in_place: frozenset[int]
    own: frozenset[int]

    def __contains__(self, place: Place) -> bool:
        """Whether a gradient arrives at the operator whose node is there."""
        return place.own in self.numbers or place.after in self.in_place


def reached(roots: Iterable[Tensor]) -> Reached:
    """The nodes that a backward pass comes to.

    Args:
        roots: where it starts.
    """
    seen, waiting = set[Any](), [each.grad_fn for each in roots]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting.extend(after for after, _ in node.next_functions)
    return Reached(
        frozenset(node._sequence_nr() for node in seen),
        frozenset(node._sequence_nr() for node in seen if node.name() == IN_PLACE),
        frozenset(node._sequence_nr() for node in seen if isinstance(node, BackwardCFunction)),
    )
