"""Counts of tensors whose shape does not determine the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.nn import functional as F  # noqa: N812
from torch.testing._internal.two_tensor import TwoTensor

from microbench.flops import Counts
from microbench.profile.dry_run import dry_run
from microbench.profile.trace import trace

FlopsOf = Callable[[Callable[[], object]], int]


class Applied(nn.Module):
    """A layer, and how it is applied."""

    def __init__(self, layer: nn.Module, how: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.how = layer, how

    def forward(self, x: Tensor) -> Any:
        return self.how(self.layer, x)


def count(module: nn.Module, *inputs: Tensor) -> Counts:
    root = trace(module, lambda: module(*inputs))
    return sum((call.counts for call, _ in root.walk() if not call.inner), Counts())


def ensemble(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply three layers with different weights to the same data."""
    parameters, buffers = stack_module_state([nn.Linear(8, 4) for _ in range(3)])  # type: ignore[arg-type]
    return vmap(lambda p, b: functional_call(layer, (p, b), (x,)))(parameters, buffers)


def gradients(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the gradient of each example."""
    return vmap(vmap(grad(lambda row: layer(row).pow(2).sum())))(x)


TRANSFORMS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "plain": lambda layer, x: layer(x),
    "vmap": lambda layer, x: vmap(layer)(x),
    "vmap of vmap": lambda layer, x: vmap(vmap(layer))(x),
    "another dimension": lambda layer, x: vmap(layer, in_dims=1, out_dims=1)(x),
    "in chunks": lambda layer, x: vmap(layer, chunk_size=2)(x),
    "of weights": ensemble,
    "gradients": gradients,
    "jacobian": lambda layer, x: jacrev(lambda row: layer(row))(x[0, 0]),
    "derivative": lambda layer, x: jvp(layer, (x,), (x,))[1],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_all_work_within_a_transform_counts(name: str, flops_of: FlopsOf) -> None:
    module, data = Applied(nn.Linear(8, 4), TRANSFORMS[name]), torch.rand(5, 3, 8)
    torch.manual_seed(0)
    counts = count(module, data)
    outputs: list[Tensor] = []
    assert 2 * counts.products == flops_of(lambda: outputs.append(module(data)))
    assert 2 * counts.backward_products == flops_of(lambda: outputs[0].sum().backward())


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 4, 3), nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))])
def test_other_layers_cost_the_same_within_vmap_as_on_the_whole_batch(layer: nn.Module) -> None:
    data = torch.rand(5, 3, 8)
    mapped, plain = (count(Applied(layer, TRANSFORMS[name]), data) for name in ("vmap", "plain"))
    assert (mapped.flops, mapped.products) == (plain.flops, plain.products)
    assert mapped.backward_products == plain.backward_products


def test_a_linear_layer_within_vmap_has_the_flops_of_all_its_rows_with_bias() -> None:
    module, data = Applied(nn.Linear(8, 4), TRANSFORMS["vmap"]), torch.rand(5, 3, 8)
    assert count(module, data).flops == 5 * 3 * 4 * (2 * 8 - 1 + 1) == 960
    assert dry_run(module, (data,)).inner[0].counts.flops == 960


def test_forward_differentiation_outside_torch_func_counts_too(flops_of: FlopsOf) -> None:
    def derived(layer: nn.Module, x: Tensor) -> Any:
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
            return torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent

    module, data = Applied(nn.Linear(8, 4), derived), torch.rand(5, 8)
    counts = count(module, data)
    assert 2 * counts.products == flops_of(lambda: module(data)) > 2 * 5 * 8 * 4


def test_a_product_with_the_number_1_counts_nothing() -> None:
    assert count(Applied(nn.Identity(), lambda _, x: x * 1.0), torch.rand(6)).flops == 0
    assert count(Applied(nn.Identity(), lambda _, x: x * 2.0), torch.rand(6)).flops == 6


# 8 by 6, with 3 numbers stored; of blocks, 3 with 2 by 2 each
MATRIX = torch.zeros(8, 6)
MATRIX[[0, 3, 7], [1, 2, 5]] = 1.0

SPARSE: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "coo": (Tensor.to_sparse, 3),
    "csr": (Tensor.to_sparse_csr, 3),
    "csc": (Tensor.to_sparse_csc, 3),
    "bsr": (lambda matrix: matrix.to_sparse_bsr((2, 2)), 12),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", SPARSE)
def test_a_sparse_product_has_one_multiplication_per_stored_number(layout: str) -> None:
    convert, stored = SPARSE[layout]
    matrix, dense = convert(MATRIX), torch.rand(6, 10)
    counts = count(Applied(nn.Identity(), lambda _, x: matrix @ x), dense)
    assert (counts.products, counts.unknown) == (stored * 10, 0)
    assert stored * 10 <= counts.flops <= 2 * stored * 10
    assert counts.mem_r < 8 * 6 * 4 + dense.nbytes


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_product_counts_the_same_in_a_dry_run() -> None:
    module = Applied(nn.Identity(), lambda layer, x: layer.matrix @ x)
    module.layer.register_buffer("matrix", torch.eye(256).to_sparse_csr())
    assert dry_run(module, (torch.rand(256, 16),)).counts.flops == 4096

    module = Applied(nn.Identity(), lambda _, x: torch.sparse.mm(torch.eye(256).to_sparse(), x))
    assert dry_run(module, (torch.rand(256, 16),)).counts.flops == 4096


@pytest.mark.filterwarnings("ignore:Sparse")
def test_gradients_of_a_sparse_product_have_the_same_number_of_multiplications() -> None:
    matrix = MATRIX.to_sparse_csr().requires_grad_()
    dense = torch.rand(6, 10, requires_grad=True)
    counts = count(Applied(nn.Identity(), lambda _, x: matrix @ x), dense)
    assert counts.backward_products == 2 * 3 * 10


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_layer_with_sparse_weights_counts_only_stored_numbers() -> None:
    layer = nn.Linear(6, 8, bias=False)
    layer.weight = nn.Parameter(MATRIX.to_sparse_csr(), requires_grad=False)
    with torch.no_grad():
        counts = count(nn.Sequential(layer), torch.rand(10, 6))
    assert (counts.products, counts.unknown) in ((3 * 10, 0), (0, 1))


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    ("compute", "flops", "unknown"),
    [
        (torch.relu, 3, 0),
        (lambda x: x * 2.0, 3, 0),
        (lambda x: x @ x.t(), 0, 1),
        (lambda x: x + x, 0, 1),
        (lambda x: x.to_dense(), 0, 0),
        (lambda x: x.to_dense().to_sparse_csr(), 0, 0),
    ],
)
def test_other_operators_on_sparse_tensors_are_counted_or_unknown(
    compute: Callable[[Tensor], Tensor], flops: int, unknown: int
) -> None:
    counts = count(Applied(nn.Identity(), lambda _, x: compute(x)), MATRIX.to_sparse())
    assert (counts.flops, counts.unknown) == (flops, unknown)


def test_operators_on_tensors_of_a_custom_class_are_unknown() -> None:
    layer = nn.Linear(6, 8)
    data = TwoTensor(torch.rand(10, 6), torch.rand(10, 6))
    with torch.no_grad():
        counts = count(nn.Sequential(layer), data)
    assert counts.flops == 0
    assert counts.unknown >= 1


def test_operators_on_quantized_tensors_are_unknown() -> None:
    data = torch.quantize_per_tensor(torch.rand(2, 6), 0.1, 0, torch.quint8)
    with torch.no_grad():
        counts = count(Applied(nn.Identity(), lambda _, x: F.relu(x)), data)
    assert (counts.flops, counts.unknown) == (0, 1)
