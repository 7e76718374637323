"""Multi-head attention with its projections, and whole layers of transformers, by module and by kernel.

Queries, keys and values are projected by linear layers, attended to, and what comes out is projected again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from microbench.flops.amount import Counts, inner_products, needs_gradient, per_element, total
from microbench.flops.attention import NOT_SOUGHT, Heads, Sought, attended
from microbench.flops.executed import Executed, Rule
from microbench.flops.normalization import normalized
from microbench.flops.reductions import mean


@dataclass(frozen=True)
class MultiHead:
    """A multi-head attention.

    Attributes:
        queries: N·L, rows that ask.
        sources: N·S, rows that are asked.
        batch: N.
        heads: h.
        widths: numbers of a row of queries, keys and values.
        width: E, numbers of a row of all heads.
        biased: whether projections have biases.
        extra: rows of keys and values that are added to the source of every example.
        mask: whether one is added to the scores.
        dropout: whether scores are dropped.
        averaged: whether the weights' mean over heads is returned.
        sought: of which inputs gradients are sought.
        learned: whether they are of the weights.
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
        """Projections, attention, the projection of its results, the mean of its weights."""
        parts = [*self._inward(), self._attention(), self._outward()]
        if self.averaged:
            scores = self._heads().scores
            parts.append(mean(scores, scores // self.heads))
        return total(parts)

    def _inward(self) -> list[Counts]:
        rows = (self.queries, self.sources, self.sources)
        return [
            linear(number, width, self.width, sought=sought, learned=self.learned, biased=self.biased)
            for number, width, sought in zip(rows, self.widths, self.sought, strict=True)
        ]

    def _outward(self) -> Counts:
        sought = any(self.sought) or self.learned
        return linear(
            self.queries, self.width, self.width, sought=sought, learned=self.learned, biased=self.biased
        )

    def _attention(self) -> Counts:
        inside = Sought(*(each or self.learned for each in self.sought))
        return attended(self._heads(), inside, mask=self.mask, dropout=self.dropout)

    def _heads(self) -> Heads:
        size = self.width // self.heads
        return Heads(
            rows=self.queries * self.heads,
            sources=self.sources // max(self.batch, 1) + self.extra,
            keys=size,
            values=size,
            groups=self.batch * self.heads,
        )


def linear(rows: int, given: int, made: int, *, sought: bool, learned: bool, biased: bool) -> Counts:
    """A linear layer over rows: of `given` numbers each it makes `made`."""
    products = rows * given * made
    counts = inner_products(products, rows * made, [rows * given] * sought + [given * made] * learned)
    if not biased:
        return counts
    return counts + per_element(rows * made, backward=max(rows * made - made, 0) if learned else 0)


def multi_head(call: Executed) -> Counts:
    """nn.MultiheadAttention, of one example or a batch."""
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
    """The kernel that runs nn.MultiheadAttention in eval."""
    averaged = call["need_weights"] and call["average_attn_weights"]
    return in_kernel(call, call["query"], call["key"], heads=call["num_head"], averaged=averaged)


def encoder_layer_kernel(call: Executed) -> Counts:
    """The kernel that runs nn.TransformerEncoderLayer in eval.

    Attention and two linear layers with an activation between; a norm and a sum after each or before.
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
    """Attention of batches within a kernel, which has no backward."""
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
    "_native_multi_head_attention": multi_head_kernel,
    "_transformer_encoder_layer_fwd": encoder_layer_kernel,
}
