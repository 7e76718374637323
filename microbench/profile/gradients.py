"""The operators that a backward pass reaches: those that autograd's graph leads to from its start.

Autograd numbers the nodes of its graph in the order in which a thread creates them, and creates an operator's
node right before the operator runs. An operator's number is thus known as it runs, without keeping tensors.
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
"""The node in the graph for an operator that writes to a view, created after the operator has run."""


class Place(NamedTuple):
    """The place of an operator's node, if it has one, in the order of nodes.

    Attributes:
        own: its number.
        after: the number of the first node that is created after the operator has run.
    """

    own: int
    after: int


def place_of(function: OpOverload, previous: Place | None) -> Place:
    """Return the place of a running operator's node.

    Args:
        function: the operator.
        previous: the place of the previous operator's node.
    """
    after = int(torch._C._autograd._get_sequence_nr())
    # Overwritten values may be needed backward: autograd clones them, after it has created the node.
    cloned = function._schema.is_mutable and previous is not None and previous.after == after
    return Place(after - 1 - cloned, after)


@dataclass(frozen=True)
class Reached:
    """The nodes of a graph that a backward pass reaches.

    Attributes:
        numbers: the numbers of all of them.
        in_place: of those that contain the node of an operator that writes to a view.
        own: of those of a custom `torch.autograd.Function`, whose backward pass has no rule.
    """

    numbers: frozenset[int]
    in_place: frozenset[int]
    own: frozenset[int]

    def __contains__(self, place: Place) -> bool:
        """Return whether a gradient arrives at the operator whose node has that place."""
        return place.own in self.numbers or place.after in self.in_place


def reached(roots: Iterable[Tensor]) -> Reached:
    """Return the nodes that a backward pass reaches.

    Args:
        roots: the tensors where it starts.
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
