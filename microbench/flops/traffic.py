"""Bytes that a call reads and writes, were nothing kept in a cache between calls.

A module reads its inputs and its parameters, each once a call, and writes its outputs; an operator reads its
tensors and writes its outputs. Every tensor counts with the size of its own elements.
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
    """The numbers that a sparse tensor stores; None of one that is not sparse.

    Raises:
        TypeError: it is a fake one, which does not tell how many there are.
    """
    if tensor.layout in INDICES and isinstance(tensor, FakeTensor):
        raise TypeError("a fake sparse tensor does not tell how many numbers it stores")
    if tensor.layout is torch.sparse_coo:
        return tensor._values()  # of one with duplicates, each of them
    return tensor.values() if tensor.layout in INDICES else None


#: By sparse layout, what gives the tensors that say where its numbers are.
INDICES: Mapping[torch.layout, tuple[Callable[[Tensor], Tensor], ...]] = {
    torch.sparse_coo: (Tensor._indices,),
    **dict.fromkeys((torch.sparse_csr, torch.sparse_bsr), (Tensor.crow_indices, Tensor.col_indices)),
    **dict.fromkeys((torch.sparse_csc, torch.sparse_bsc), (Tensor.ccol_indices, Tensor.row_indices)),
}


def size(tensor: Tensor) -> int:
    """Bytes of a tensor's elements; one that is repeated by expanding a dimension lies there once.

    Of a sparse one, of the numbers that it stores and of where they are.
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
    """Bytes of several tensors, each counted once."""
    return sum(size(tensor) for tensor in distinct(values))


def through(call: Executed) -> Counts:
    """All that is given is read, a module's parameters too; all that is returned is written."""
    parameters = [] if call.module is None else list(call.module.parameters())
    return Counts(
        mem_r=sizes([*tensors(call.arguments), *parameters]),
        mem_w=sizes(tensors(call.output)),
    )


def of_operator(function: OpOverload, call: Executed) -> Counts:
    """All tensors but those for the output are read, and every output is written that is not a view."""
    schema = function._schema
    given = {
        each.name: call.get(each.name)
        for each in schema.arguments
        if not (each.kwarg_only and each.alias_info is not None and each.alias_info.is_write)
    }
    return through(Executed(given, call.output))


def is_view(function: OpOverload) -> bool:
    """Whether an operator only says anew how a tensor's memory is to be seen."""
    if torch.Tag.inplace_view in function.tags:
        return True
    aliases = [each.alias_info for each in function._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
