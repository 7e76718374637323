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
        name: the module's dotted name; empty for the module that is profiled. A function's is that of the
            module that calls it, and its own.
        kind: a module, a function, or a module that calls others.
        type: the class's name, or the operator's.
        module: the module; None for a function.
        in_shapes: shapes of the tensors it is given.
        out_shapes: shapes of the tensors it returns.
        dtype: the type of the first tensor it returns, such as `float32`.
        counts: what it costs by its shapes; of a module that calls others, nothing by itself.
        inner: the calls within it, in their order.
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
        """Itself and every call within it, in the order in which they begin, each with its depth."""
        yield self, depth
        for call in self.inner:
            yield from call.walk(depth + 1)
