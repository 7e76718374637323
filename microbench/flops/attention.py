"""Attention: alone, between its projections, and in a whole transformer layer.

The counts are the same for all kernels, fused or not.

With h heads, queries of length L over a source of length S, head sizes d (keys) and e (values), N examples:

- scores: N·h·L·S sums of d products, 1 each to scale them, 1 each if a mask is added;
- softmax of N·h·L rows of length S;
- values: N·h·L·e sums of S products.

A causal mask reduces no count. The backward passes of scores and values are those of products: fused kernels
recompute the scores, which is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from microbench.flops.amount import NOTHING, Counts, inner_products, needs_gradient, per_element, total
from microbench.flops.executed import Executed, Rule, shared
from microbench.flops.normalization import normalized
from microbench.flops.reductions import mean, softmaxed


@dataclass(frozen=True)
class Heads:
    """The shape of an attention.

    Attributes:
        rows: N·h·L, one per query of a head.
        sources: S, the positions that each of them attends to.
        keys: d, numbers per key.
        values: e, numbers per value.
        groups: N·h of the keys and values, which the queries of several heads may share.
    """

    rows: int
    sources: int
    keys: int
    values: int
    groups: int

    @property
    def scores(self) -> int:
        """N·h·L·S, one score per query and source."""
        return self.rows * self.sources


class Sought(NamedTuple):
    """The operands whose gradients are sought."""

    query: bool
    key: bool
    value: bool

    @property
    def scores(self) -> bool:
        """Whether the scores' gradient is needed."""
        return self.query or self.key


NOT_SOUGHT = Sought(query=False, key=False, value=False)


def attended(heads: Heads, sought: Sought, *, mask: bool = False, dropout: bool = False) -> Counts:
    """Count scores, softmax and values."""
    return total(
        (
            inner_products(
                heads.scores * heads.keys,
                heads.scores,
                [heads.rows * heads.keys] * sought.query
                + [heads.groups * heads.sources * heads.keys] * sought.key,
            ),
            per_element(heads.scores, backward=heads.scores if sought.scores else 0),
            per_element(heads.scores) if mask else NOTHING,
            softmaxed(heads.scores, heads.rows, sought=sought.scores),
            per_element(heads.scores, backward=heads.scores if sought.scores else 0) if dropout else NOTHING,
            inner_products(
                heads.scores * heads.values,
                heads.rows * heads.values,
                [heads.scores] * sought.scores + [heads.groups * heads.sources * heads.values] * sought.value,
            ),
        )
    )


def fused(call: Executed) -> Counts:
    """Count an operator that does all of it, on tensors (N, h, L, d)."""
    query, key, value = call["query"], call["key"], call["value"]
    heads = Heads(
        rows=query.shape[:-1].numel(),
        sources=key.shape[-2],
        keys=query.shape[-1],
        values=value.shape[-1],
        groups=key.shape[:-2].numel(),
    )
    mask = call.get("attn_mask") if call.get("attn_mask") is not None else call.get("attn_bias")
    return attended(
        heads,
        Sought(needs_gradient(query), needs_gradient(key), needs_gradient(value)),
        mask=mask is not None,
        dropout=bool(call.get("dropout_p")),
    )


@dataclass(frozen=True)
class MultiHead:
    """A multi-head attention.

    Attributes:
        queries: N·L, the rows of queries.
        sources: N·S, the rows of keys and values.
        batch: N.
        heads: h.
        widths: numbers per row of queries, keys and values.
        width: E, numbers per row of all heads.
        biased: whether projections have biases.
        extra: rows of keys and values that are added to the source of every example.
        mask: whether a mask is added to the scores.
        dropout: whether scores are dropped.
        averaged: whether the weights' mean over heads is returned.
        sought: the inputs whose gradients are sought.
        learned: whether the weights' gradients are sought.
    """

    queries: int
    sources: int
    batch: int
    heads: int
    widths: tuple[int, int, int]
    width: int
    biased: bool = True
    extra: int = 0
    mask: bool = False
    dropout: bool = False
    averaged: bool = False
    sought: Sought = NOT_SOUGHT
    learned: bool = False

    def counts(self) -> Counts:
        """Count projections, attention, the projection of its results, and the mean of its weights."""
        heads = Heads(
            rows=self.queries * self.heads,
            sources=self.sources // max(self.batch, 1) + self.extra,
            keys=self.width // self.heads,
            values=self.width // self.heads,
            groups=self.batch * self.heads,
        )
        inside = Sought(*(each or self.learned for each in self.sought))
        rows = (self.queries, self.sources, self.sources, self.queries)
        sought = (*self.sought, any(inside))
        parts = [
            linear(number, width, self.width, sought=each, learned=self.learned, biased=self.biased)
            for number, width, each in zip(rows, (*self.widths, self.width), sought, strict=True)
        ]
        parts.append(attended(heads, inside, mask=self.mask, dropout=self.dropout))
        if self.averaged:
            parts.append(mean(heads.scores, heads.scores // self.heads))
        return total(parts)


def linear(rows: int, given: int, made: int, *, sought: bool, learned: bool, biased: bool) -> Counts:
    """Count a linear layer that turns rows of `given` numbers into rows of `made`."""
    products = rows * given * made
    counts = inner_products(products, rows * made, [rows * given] * sought + [given * made] * learned)
    if not biased:
        return counts
    return counts + per_element(rows * made, backward=max(rows * made - made, 0) if learned else 0)


def multi_head(call: Executed) -> Counts:
    """Count nn.MultiheadAttention, on one example or a batch."""
    module = call.module
    query, key, value = call["query"], call["key"], call["value"]
    return MultiHead(
        queries=query.shape[:-1].numel(),
        sources=key.shape[:-1].numel(),
        batch=1 if query.dim() == 2 else query.shape[0 if module.batch_first else 1],
        heads=module.num_heads,
        widths=(query.shape[-1], key.shape[-1], value.shape[-1]),
        width=module.embed_dim,
        biased=module.in_proj_bias is not None,
        extra=(module.bias_k is not None) + bool(module.add_zero_attn),
        mask=call["attn_mask"] is not None or call["key_padding_mask"] is not None,
        dropout=module.training and module.dropout > 0,
        averaged=call["need_weights"] and call["average_attn_weights"],
        sought=Sought(needs_gradient(query), needs_gradient(key), needs_gradient(value)),
        learned=needs_gradient(*(each for each in module.parameters() if each.dim() > 1)),
    ).counts()


def multi_head_kernel(call: Executed) -> Counts:
    """Count the kernel that runs nn.MultiheadAttention in eval."""
    averaged = call["need_weights"] and call["average_attn_weights"]
    return in_kernel(call, call["query"], call["key"], heads=call["num_head"], averaged=averaged)


def encoder_layer_kernel(call: Executed) -> Counts:
    """Count the kernel that runs nn.TransformerEncoderLayer in eval.

    It consists of attention and two linear layers with an activation in between, and of a norm and a sum
    before or after each of these two parts.
    """
    data = call["src"]
    made, given = call["ffn_weight_1"].shape
    rows = data.shape[:-1].numel()
    norm = normalized(data, call["norm_weight_1"], call["norm_bias_1"], rows)
    return total(
        (
            in_kernel(call, data, data, heads=call["num_heads"]),
            linear(rows, given, made, sought=False, learned=False, biased=True),
            per_element(rows * made),
            linear(rows, made, given, sought=False, learned=False, biased=True),
            *[norm, per_element(data.numel())] * 2,
        )
    )


def in_kernel(call: Executed, query: Tensor, key: Tensor, *, heads: int, averaged: bool = False) -> Counts:
    """Count attention on batches in a kernel without a backward pass."""
    width = call["embed_dim"]
    return MultiHead(
        queries=query.shape[:-1].numel(),
        sources=key.shape[:-1].numel(),
        batch=query.shape[0],
        heads=heads,
        widths=(width, width, width),
        width=width,
        mask=call["mask"] is not None,
        averaged=averaged,
    ).counts()


MODULES: Mapping[type[nn.Module], Rule] = {nn.MultiheadAttention: multi_head}

OPERATORS: Mapping[str, Rule] = {
    **shared(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable "
        "_scaled_dot_product_attention_math_for_mps",
        fused,
    ),
    "_native_multi_head_attention": multi_head_kernel,
    "_transformer_encoder_layer_fwd": encoder_layer_kernel,
}
