"""Bytes that a call reads and writes, if nothing stays in a cache between calls.

A module reads its inputs and its parameters, once per call, and writes its outputs; an operator reads its
tensors and writes its outputs. Each tensor counts with the size of its own elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses import FakeTensor

from microbench.flops.amount import Counts
from microbench.flops.executed import Executed, distinct
from microbench.watch.tensors import tensors


def values(tensor: Tensor) -> Tensor | None:
    """Return the numbers that a sparse tensor stores; None if it is not sparse.

    Raises:
        TypeError: it is a fake sparse tensor, for which their number is unknown.
    """
    if tensor.layout in INDICES and isinstance(tensor, FakeTensor):
        raise TypeError("a fake sparse tensor does not tell how many numbers it stores")
    if tensor.layout is torch.sparse_coo:
        return tensor._values()  # including duplicates
    return tensor.values() if tensor.layout in INDICES else None


#: The functions that return the tensors of indices, by sparse layout.
INDICES: Mapping[torch.layout, tuple[Callable[[Tensor], Tensor], ...]] = {
    torch.sparse_coo: (Tensor._indices,),
    **dict.fromkeys((torch.sparse_csr, torch.sparse_bsr), (Tensor.crow_indices, Tensor.col_indices)),
    **dict.fromkeys((torch.sparse_csc, torch.sparse_bsc), (Tensor.ccol_indices, Tensor.row_indices)),
}


def size(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements in memory; along an expanded dimension they count once.

    For a sparse tensor, of its stored numbers and their indices.
    """
    if (stored := values(tensor)) is not None:
        return sum(map(size, (stored, *(part(tensor) for part in INDICES[tensor.layout]))))
    if tensor.layout is not torch.strided or tensor.is_nested:
        return tensor.numel() * tensor.element_size()
    lengths = zip(tensor.shape, tensor.stride(), strict=True)
    return (
        prod(min(length, 1) if stride == 0 else length for length, stride in lengths) * tensor.element_size()
    )


def sizes(values: Iterable[Tensor]) -> int:
    """Return the bytes of several tensors, each counted once."""
    return sum(size(tensor) for tensor in distinct(values))


def through(call: Executed) -> Counts:
    """Count all arguments and a module's parameters as read, all outputs as written."""
    parameters = [] if call.module is None else list(call.module.parameters())
    return Counts(
        mem_r=sizes([*tensors(call.arguments), *parameters]),
        mem_w=sizes(tensors(call.output)),
    )


def of_operator(function: OpOverload, call: Executed) -> Counts:
    """Count all tensors except those for the output as read, all outputs as written."""
    schema = function._schema
    given = {
        each.name: call.get(each.name)
        for each in schema.arguments
        if not (each.kwarg_only and each.alias_info is not None and each.alias_info.is_write)
    }
    return through(Executed(given, call.output))


def is_view(function: OpOverload) -> bool:
    """Return whether an operator only returns a view of a tensor's memory."""
    if torch.Tag.inplace_view in function.tags:
        return True
    aliases = [each.alias_info for each in function._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
