"""Embeddings: rows that are looked up in a table, alone or as the sum of a bag."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule
from microbench.flops.traffic import size, sizes

SUM, MEAN, MAX = "sum", "mean", "max"


def embedding(call: Executed) -> Counts:
    """Reads the indices and the rows looked up, not the table; backward, gradients of rows are added."""
    return _looked_up(call.module.weight, call["input"], call.result)


def embedding_operator(call: Executed) -> Counts:
    """The same, of the operator."""
    return _looked_up(call["weight"], call["indices"], call.result)


def _looked_up(table: Tensor, indices: Tensor, rows: Tensor) -> Counts:
    backward = rows.numel() if needs_gradient(table) else 0
    return Counts(mem_r=size(indices) + size(rows), mem_w=size(rows), backward=backward)


def embedding_bag(call: Executed) -> Counts:
    """Reads the indices and the rows looked up, and writes their sums, means or maxima."""
    module = call.module
    weights = call["per_sample_weights"]
    return _bagged(module.weight, call["input"], call["offsets"], weights, module.mode, call.result)


def embedding_bag_operator(call: Executed) -> Counts:
    """The same, of the operator."""
    mode = (SUM, MEAN, MAX)[call["mode"]]
    weights = call["per_sample_weights"]
    return _bagged(call["weight"], call["indices"], call["offsets"], weights, mode, call.result)


def _bagged(
    table: Tensor, indices: Tensor, offsets: Tensor | None, weights: Tensor | None, mode: str, bags: Tensor
) -> Counts:
    """Of n elements looked up for r results: n − r additions or comparisons, r quotients, n with weights."""
    n, results = indices.numel() * table.shape[-1], bags.numel()
    flops = max(n - results, 0) + (results if mode == MEAN else 0) + (n if weights is not None else 0)
    given = [each for each in (indices, offsets, weights) if each is not None]
    return Counts(
        flops=flops,
        macc=n,
        mem_r=sizes(given) + n * table.element_size(),
        mem_w=size(bags),
        backward=n if needs_gradient(table) else 0,
    )


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.Embedding: embedding,
    nn.EmbeddingBag: embedding_bag,
}

OPERATORS: Mapping[str, Rule] = {
    "embedding": embedding_operator,
    "_embedding_bag": embedding_bag_operator,
    "_embedding_bag_forward_only": embedding_bag_operator,
}
