"""Sparse tensors: only their N stored numbers count, including stored zeros.

Each stored number of a matrix is multiplied with each of the c numbers in a row (or column) of the dense
operand: M = N · c in R sums, or in M if that is fewer. Backward as for any product, with N elements of the
sparse operand.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from microbench.flops.amount import Counts, inner_products, needs_gradient, per_element
from microbench.flops.elementwise import Elementwise
from microbench.flops.elementwise import multiplied as scaled
from microbench.flops.executed import Executed, Rule
from microbench.flops.traffic import values
from microbench.watch.tensors import tensors

UNKNOWN = Counts(unknown=1)


def count(name: str, rule: Rule | None, call: Executed) -> Counts:
    """Count a call with sparse tensors: a product with a dense one, or an elementwise operator.

    Any other call counts as unknown; so do tensors on meta, which store nothing.

    Args:
        name: the operator's name.
        rule: its rule for dense tensors.
        call: the call.
    """
    if any(each.is_meta for each in tensors(call.arguments)):
        return UNKNOWN
    if name in PRODUCTS:
        return multiplied(call, *PRODUCTS[name])
    if (isinstance(rule, Elementwise) or rule is scaled) and len(list(tensors(call.arguments))) == 1:
        return rule(_of_values(call))
    return UNKNOWN


def multiplied(call: Executed, first: str, second: str, added: str | None) -> Counts:
    """Count a sparse matrix times a dense one, or vice versa, given the names of the arguments."""
    one, other = call[first], call[second]
    if (left := values(one)) is not None and values(other) is None:
        stored, each = left.numel(), other.shape[-1] if other.dim() > 1 else 1
    elif left is None and (right := values(other)) is not None:
        stored, each = right.numel(), one.shape[-2]
    else:  # the data decide which rows meet which columns
        return UNKNOWN
    products = stored * each
    sought = [
        stored if values(operand) is not None else operand.numel()
        for operand in (one, other)
        if needs_gradient(operand)
    ]
    counts = inner_products(
        products, min(call.result.numel(), products), [min(elements, products) for elements in sought]
    )
    if added is None or call.get("beta") == 0:
        return counts
    results, bias = call.result.numel(), call[added]
    return counts + per_element(results, backward=(results - bias.numel()) * needs_gradient(bias))


def _of_values(call: Executed) -> Executed:
    """Return the call with each sparse tensor replaced by its stored numbers."""

    def stored(tensor: Tensor) -> Tensor:
        found = values(tensor)
        return tensor if found is None else found.detach().requires_grad_(needs_gradient(tensor))

    return Executed(
        tree_map_only(torch.Tensor, stored, dict(call.arguments)),
        tree_map_only(torch.Tensor, stored, call.output),
    )


#: The names of an operator's factors and its summand, by operator.
PRODUCTS: Mapping[str, tuple[str, str, str | None]] = {
    "mm": ("self", "mat2", None),
    "bmm": ("self", "mat2", None),
    "mv": ("self", "vec", None),
    "addmm": ("mat1", "mat2", "self"),
    "_sparse_addmm": ("mat1", "mat2", "self"),
    "addmv": ("mat", "vec", "self"),
    "baddbmm": ("batch1", "batch2", "self"),
}
