"""The calls that a module makes: of its modules, and of torch's operators outside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from microbench.flops import Counts
from microbench.records.record import Kind


@dataclass(eq=False)
class Call:
    """One executed call.

    Attributes:
        name: the module's dotted name; empty for the profiled module. For an operator, its caller's name and
            its own.
        kind: a leaf module, an operator (`function`), or a module that calls others (`container`).
        type: the class's name, or the operator's.
        module: the module; None for an operator.
        in_shapes: shapes of the tensors in its arguments.
        out_shapes: shapes of the tensors that it returns.
        dtype: the type of the first tensor that it returns, such as `float32`.
        counts: its costs by its shapes; zero for a container.
        inner: the calls within it, in order.
    """

    name: str
    kind: Kind
    type: str
    module: nn.Module | None = None
    in_shapes: Sequence[torch.Size] = ()
    out_shapes: Sequence[torch.Size] = ()
    dtype: str = ""
    counts: Counts = field(default_factory=Counts)
    inner: list[Call] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[Call, int]]:
        """Yield itself and every call within it, in the order in which they begin, each with its depth."""
        yield self, depth
        for call in self.inner:
            yield from call.walk(depth + 1)
