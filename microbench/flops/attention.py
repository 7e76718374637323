"""Attention: the same counts whichever kernel runs, fused or not.

Of h heads, queries of length L over a source of length S, head sizes d for keys and e for values, N examples:

- scores: N·h·L·S sums of d products, 1 each to scale them, 1 each where a mask is added;
- softmax of N·h·L rows of S;
- values: N·h·L·e sums of S products.

A causal mask skips nothing on paper. Backward of scores and values are those of products: that fused kernels
find the scores anew is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from microbench.flops.amount import (
    NOTHING,
    Counts,
    inner_products,
    needs_gradient,
    per_element,
    total,
)
from microbench.flops.executed import Executed, Rule, shared
from microbench.flops.reductions import softmaxed


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


class Sought(NamedTuple):
    """Of which operands gradients are sought."""

    query: bool
    key: bool
    value: bool

    @property
    def scores(self) -> bool:
        """Whether the scores' gradient is needed."""
        return self.query or self.key


NOT_SOUGHT = Sought(query=False, key=False, value=False)


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


OPERATORS: Mapping[str, Rule] = shared(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable "
    "_scaled_dot_product_attention_math_for_mps",
    fused,
)
