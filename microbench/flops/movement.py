"""Operators that only move data: no arithmetic, and their own traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from microbench.flops.amount import Counts
from microbench.flops.executed import Executed, shared
from microbench.flops.traffic import copied, looked_up, nothing, stored, through, written

Traffic = Callable[[Executed], Counts]


def untouched(call: Executed) -> Counts:
    """What is given is handed on as it is."""
    return Counts()


def dropout(call: Executed) -> Counts | None:
    """In eval what is given is handed on; in training the operators say what is done."""
    return None if call.module.training else untouched(call)


#: Modules that hand on what they are given.
MODULES: Mapping[type[nn.Module], Callable[[Executed], Counts | None]] = {
    nn.Identity: untouched,
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        dropout,
    ),
}

#: Operators without arithmetic, and what they move.
OPERATORS: Mapping[str, Traffic] = {
    # Memory is set aside, or seen in another way, and not touched.
    **shared(
        "empty empty_like empty_strided empty_permuted new_empty new_empty_strided _unsafe_view "
        "unsafe_split unsafe_split_with_sizes resize set lift sym_size sym_stride sym_numel "
        "sym_storage_offset sym_is_contiguous is_same_size _local_scalar_dense record_stream "
        "_assert_async _assert_tensor_metadata _has_same_storage_numel _efficientzerotensor",
        nothing,
    ),
    # Only the output's memory is touched.
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
}
