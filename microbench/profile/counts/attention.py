"""Attention: the same counts whichever kernel runs, fused or not.

Of h heads, queries of length L over a source of length S, head sizes d for keys and e for values, N examples:

- scores: N·h·L·S sums of d products, 1 each to scale them, 1 each where a mask is added;
- softmax of N·h·L rows of S;
- values: N·h·L·e sums of S products.

A causal mask skips nothing on paper. Backward of scores and values are those of products: that fused kernels
find the scores anew is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from microbench.profile.counts.amount import (
    NOTHING,
    Counts,
    each,
    inner_products,
    needs_gradient,
    total,
)
from microbench.profile.counts.executed import Executed, Rule, shared
from microbench.profile.counts.normalization import normalized
from microbench.profile.counts.reductions import mean, softmaxed


@dataclass(frozen=True)
class Heads:
    """The shape of an attention.

    Attributes:
        rows: N·h·L, each a query of a head.
        sources: S, what each of them looks at.
        keys: d, numbers of a key.
        values: e, numbers of a value.
        groups: N·h of the keys and values, which the queries of several heads may share.
    """

    rows: int
    sources: int
    keys: int
    values: int
    groups: int

    @property
    def scores(self) -> int:
        """N·h·L·S, a score for each query and source."""
        return self.rows * self.sources


@dataclass(frozen=True)
class Sought:
    """Of what gradients are."""

    query: bool
    key: bool
    value: bool

    @property
    def scores(self) -> bool:
        """Whether the scores' gradient is needed."""
        return self.query or self.key


def attended(heads: Heads, sought: Sought, *, mask: bool = False, dropout: bool = False) -> Counts:
    """Scores, softmax and values."""
    return total(
        (
            inner_products(
                heads.scores * heads.keys,
                heads.scores,
                [heads.rows * heads.keys] * sought.query
                + [heads.groups * heads.sources * heads.keys] * sought.key,
            ),
            each(heads.scores, backward=heads.scores if sought.scores else 0),
            each(heads.scores) if mask else NOTHING,
            softmaxed(heads.scores, heads.rows, sought=sought.scores),
            each(heads.scores, backward=heads.scores if sought.scores else 0) if dropout else NOTHING,
            inner_products(
                heads.scores * heads.values,
                heads.rows * heads.values,
                [heads.scores] * sought.scores + [heads.groups * heads.sources * heads.values] * sought.value,
            ),
        )
    )


def fused(call: Executed) -> Counts:
    """An operator that does all of it, of tensors (N, h, L, d)."""
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
class Projected:
    """A multi-head attention: queries, keys and values are projected, and so is what comes out.

    Attributes:
        queries: N·L, rows that ask.
        sources: N·S, rows that are asked.
        batch: N.
        heads: h.
        extra: rows of keys and values that are added to the source of every example.
        widths: numbers of a row of queries, keys and values.
        width: E, numbers of a row of all heads.
        biased: whether projections have biases.
    """

    queries: int
    sources: int
    batch: int
    heads: int
    widths: tuple[int, int, int]
    width: int
    biased: bool
    extra: int = 0


def projected(
    shape: Projected,
    sought: Sought,
    learned: bool,
    *,
    mask: bool = False,
    dropout: bool = False,
    averaged: bool = False,
) -> Counts:
    """Projections, attention, the results' projection; `learned`: the weights' gradients are sought."""
    rows = (shape.queries, shape.sources, shape.sources)
    wanted = (sought.query, sought.key, sought.value)
    inward = total(
        _projection(number, width, shape.width, sought=each_sought, learned=learned, biased=shape.biased)
        for number, width, each_sought in zip(rows, shape.widths, wanted, strict=True)
    )
    size = shape.width // shape.heads
    heads = Heads(
        rows=shape.queries * shape.heads,
        sources=shape.sources // max(shape.batch, 1) + shape.extra,
        keys=size,
        values=size,
        groups=shape.batch * shape.heads,
    )
    inside = Sought(*(one or learned for one in wanted))
    outward = _projection(
        shape.queries,
        shape.width,
        shape.width,
        sought=any(wanted) or learned,
        learned=learned,
        biased=shape.biased,
    )
    parts = [inward, attended(heads, inside, mask=mask, dropout=dropout), outward]
    if averaged:
        parts.append(mean(heads.scores, heads.scores // shape.heads))
    return total(parts)


def _projection(rows: int, given: int, made: int, *, sought: bool, learned: bool, biased: bool) -> Counts:
    """A linear layer over rows."""
    weights = inner_products(
        rows * given * made, rows * made, [rows * given] * sought + [given * made] * learned
    )
    if not biased:
        return weights
    return weights + each(rows * made, backward=max(rows * made - made, 0) if learned else 0)


def multi_head(call: Executed) -> Counts:
    """nn.MultiheadAttention, of one example or a batch."""
    module = call.module
    query, key, value = call["query"], call["key"], call["value"]
    weights = [each for each in module.parameters() if each.dim() > 1]
    batch = 1 if query.dim() == 2 else query.shape[0 if module.batch_first else 1]
    shape = Projected(
        queries=query.shape[:-1].numel(),
        sources=key.shape[:-1].numel(),
        batch=batch,
        heads=module.num_heads,
        widths=(query.shape[-1], key.shape[-1], value.shape[-1]),
        width=module.embed_dim,
        biased=module.in_proj_bias is not None,
        extra=(module.bias_k is not None) + bool(module.add_zero_attn),
    )
    masked = call["attn_mask"] is not None or call["key_padding_mask"] is not None
    return projected(
        shape,
        Sought(needs_gradient(query), needs_gradient(key), needs_gradient(value)),
        needs_gradient(*weights),
        mask=masked,
        dropout=module.training and module.dropout > 0,
        averaged=call["need_weights"] and call["average_attn_weights"],
    )


def multi_head_operator(call: Executed) -> Counts:
    """The kernel that runs nn.MultiheadAttention in eval."""
    return total(
        projected(
            _kernel_shape(call, query, key, call["num_head"]),
            _NOT_SOUGHT,
            learned=False,
            mask=call["mask"] is not None,
            averaged=call["need_weights"] and call["average_attn_weights"],
        )
        for query, key in zip(examples(call["query"]), examples(call["key"]), strict=True)
    )


def encoder_layer_operator(call: Executed) -> Counts:
    """The kernel that runs nn.TransformerEncoderLayer in eval: attention, two linear layers, two norms."""
    return total(_encoded(call, rows) for rows in examples(call["src"]))


def examples(batch: Tensor) -> Sequence[Tensor]:
    """A batch as it is; of a nested one, whose examples are of different lengths, each as a batch of one."""
    return [each.unsqueeze(0) for each in batch.unbind()] if batch.is_nested else [batch]


def _encoded(call: Executed, rows: Tensor) -> Counts:
    made, given = call["ffn_weight_1"].shape
    count, elements = rows.shape[:-1].numel(), rows.numel()
    attention = projected(
        _kernel_shape(call, rows, rows, call["num_heads"]),
        _NOT_SOUGHT,
        learned=False,
        mask=call["mask"] is not None,
    )
    norm = normalized(rows, call["norm_weight_1"], call["norm_bias_1"], count)
    linear = [
        _projection(count, *widths, sought=False, learned=False, biased=True)
        for widths in ((given, made), (made, given))
    ]
    return total((attention, *linear, each(count * made), norm, norm, each(elements), each(elements)))


_NOT_SOUGHT = Sought(query=False, key=False, value=False)


def _kernel_shape(call: Executed, query: Tensor, key: Tensor, heads: int) -> Projected:
    width = call["embed_dim"]
    return Projected(
        queries=query.shape[:-1].numel(),
        sources=key.shape[:-1].numel(),
        batch=query.shape[0],
        heads=heads,
        widths=(width, width, width),
        width=width,
        biased=True,
    )


MODULES: Mapping[type[nn.Module], Rule] = {nn.MultiheadAttention: multi_head}

OPERATORS: Mapping[str, Rule] = {
    **shared(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math "
        "_scaled_dot_product_attention_math_for_mps scaled_dot_product_attention",
        fused,
    ),
    "_native_multi_head_attention": multi_head_operator,
    "_transformer_encoder_layer_fwd": encoder_layer_operator,
}
