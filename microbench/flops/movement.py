"""Calls with their own rules of traffic: operators that only move data, and look-ups in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from microbench.flops.amount import NOTHING, Counts, needs_gradient
from microbench.flops.executed import Executed, Rule, shared
from microbench.flops.traffic import size, sizes, through
from microbench.watch.tensors import tensors


def nothing(call: Executed) -> Counts:
    """Count nothing: no data is touched."""
    return NOTHING


def written(call: Executed) -> Counts:
    """Count the output as written, without reading its memory."""
    return Counts(mem_w=sizes(tensors(call.output)))


def copied(call: Executed) -> Counts:
    """Count a copy of one tensor into another."""
    return Counts(mem_r=size(call["src"]), mem_w=size(call.result))


def stored(call: Executed) -> Counts:
    """Count indices and values as read, the values as written; if not in place, a copy of everything."""
    _, *given = tensors(call.arguments)
    if call.result is not call["self"]:
        return through(call)
    return Counts(mem_r=sizes(given), mem_w=size(given[-1]))


def looked_up(call: Executed) -> Counts:
    """Count indices as read, and only the elements that they select in the table (the first tensor)."""
    _, *indices = tensors(call.arguments)
    found = size(call.result)
    return Counts(mem_r=sizes(indices) + found, mem_w=found)


def dropout(call: Executed) -> Counts | None:
    """Count nothing in eval, when the input is returned; in training, return None: its operators count."""
    return None if call.module.training else NOTHING


def embedding(indices: str) -> Rule:
    """Return the rule: reads the indices and the rows, not the table; backward, adds the rows' gradients."""

    def rule(call: Executed) -> Counts:
        rows = call.result
        backward = rows.numel() if needs_gradient(call["weight"]) else 0
        return Counts(mem_r=size(call[indices]) + size(rows), mem_w=size(rows), backward=backward)

    return rule


def embedding_bag(indices: str) -> Rule:
    """Return the rule: reads the indices and the rows, and writes their sums, means or maxima.

    For n elements in the rows and r results: n − r additions or comparisons, r quotients, n with weights.
    """

    def rule(call: Executed) -> Counts:
        table, weights = call["weight"], call["per_sample_weights"]
        n, results = call[indices].numel() * table.shape[-1], call.result.numel()
        averaged = call["mode"] in ("mean", 1)  # the module's name, the operator's number
        flops = max(n - results, 0) + (results if averaged else 0) + (n if weights is not None else 0)
        given = [each for each in (call[indices], call["offsets"], weights) if each is not None]
        return Counts(
            flops=flops,
            macc=n,
            mem_r=sizes(given) + n * table.element_size(),
            mem_w=size(call.result),
            backward=n if needs_gradient(table) else 0,
        )

    return rule


MODULES: Mapping[type[nn.Module], Callable[[Executed], Counts | None]] = {
    nn.Identity: nothing,
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        dropout,
    ),
    nn.Embedding: embedding("input"),
    nn.EmbeddingBag: embedding_bag("input"),
}

OPERATORS: Mapping[str, Rule] = {
    # Memory is allocated, or viewed differently, and not touched.
    **shared(
        "empty empty_like empty_strided empty_permuted new_empty new_empty_strided _unsafe_view "
        "unsafe_split unsafe_split_with_sizes resize set lift sym_size sym_stride sym_numel "
        "sym_storage_offset sym_is_contiguous is_same_size _local_scalar_dense record_stream "
        "_assert_async _assert_tensor_metadata _has_same_storage_numel _efficientzerotensor",
        nothing,
    ),
    # Only the output is written.
    **shared(
        "zeros zeros_like new_zeros zero ones ones_like new_ones full full_like new_full fill "
        "arange linspace logspace eye scalar_tensor tril_indices triu_indices rand rand_like "
        "randn randn_like randint randint_like randperm uniform normal bernoulli exponential "
        "random log_normal cauchy geometric",
        written,
    ),
    **shared(
        "clone _to_copy to_mkldnn cat stack constant_pad_nd roll flip repeat "
        "repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle "
        "native_channel_shuffle reflection_pad1d reflection_pad2d reflection_pad3d "
        "replication_pad1d replication_pad2d replication_pad3d im2col tril triu rot90 "
        "select_scatter slice_scatter diagonal_scatter scatter masked_select nonzero max_unpool2d "
        "max_unpool3d _mkldnn_reshape _mkldnn_transpose mkldnn_reorder_conv2d_weight "
        "_to_dense _to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr _to_sparse_bsc sparse_mask "
        "split_with_sizes_copy unfold_copy _pack_padded_sequence equal",
        through,
    ),
    **shared("index _unsafe_index index_select gather take", looked_up),
    **shared("index_put _index_put_impl index_copy", stored),
    "copy": copied,
    "embedding": embedding("indices"),
    **shared("_embedding_bag _embedding_bag_forward_only", embedding_bag("indices")),
}
