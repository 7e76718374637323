from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from microbench import flops
from microbench.flops import Counts
from microbench.flops.rules import ARITHMETIC, WHOLE
from microbench.profile.trace import trace

FLOAT = 4  # bytes
N = 2 * 3 * 8 * 8
IMAGE = (2, 3, 8, 8)


class Function(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def count(function: Callable[..., Any], *inputs: Tensor) -> Counts:
    module = Function(function)
    root = trace(module, lambda: module(*inputs))
    return sum((call.counts for call, _ in root.walk() if not call.inner), Counts())


def rand(*shape: int, gradient: bool = False) -> Tensor:
    return torch.rand(*shape, requires_grad=gradient)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.view(-1),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x[:, 1],
        lambda x: x[..., ::2],
        lambda x: x.unsqueeze(0).expand(4, -1, -1, -1, -1),
        lambda x: x.transpose(1, 2).unbind(0),
        lambda x: x.split(1, dim=1),
        lambda x: x.chunk(2),
        lambda x: x.detach(),
        lambda x: x.unsqueeze_(0).squeeze_(0),
        lambda x: x.contiguous(),
        lambda x: x.flatten(1),
        lambda x: x.new_empty(5),
    ],
)
def test_operators_that_move_no_memory_cost_nothing(view: Callable[[Tensor], Any]) -> None:
    assert count(view, rand(*IMAGE)) == Counts()


@pytest.mark.parametrize(
    ("function", "flops", "macc"),
    [
        (lambda x: x + x, 1, 1),
        (lambda x: x + 1, 1, 1),
        (lambda x: x.add(x, alpha=2), 2, 1),
        (lambda x: x * x, 1, 1),
        (lambda x: x / 2, 1, 1),
        (lambda x: torch.addcmul(x, x, x), 2, 1),
        (lambda x: x.lerp(x, 0.5), 3, 2),
        (lambda x: x.exp(), 1, 1),
        (lambda x: x > 0, 1, 1),
        (lambda x: F.gelu(x), 1, 1),
        (lambda x: F.hardswish(x), 1, 1),
        (lambda x: x.clamp(0, 6), 1, 1),
        (lambda x: torch.special.bessel_j0(x), 1, 1),  # only by its tag
        (lambda x: torch.where(x > 0, x, x), 1, 1),  # the comparison
        (lambda x: x.softmax(1), 5 - 2 / 3, 3),
        (lambda x: x.mean((2, 3)), 2 - 1 / 64, 1),
        (lambda x: x.sum((2, 3)), 1 - 1 / 64, 1),
        (lambda x: x.amax(1), 1 - 1 / 3, 1),
        (lambda x: x.var((2, 3)), 5 - 1 / 64, 3),
        (lambda x: F.interpolate(x, scale_factor=2), 0, 0),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), 4 * (2 * 4 - 1), 4 * 4),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), 4 * (2 * 16 - 1), 4 * 16),
        (
            lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
            0.25 * (2 * 16 - 1),
            4,
        ),
        (lambda x: F.layer_norm(x, (8,)), 7 - 1 / 8, 4),
        (lambda x: F.mse_loss(x, x), 3, 1.5),
        (lambda x: torch.cat([x, x]), 0, 0),
        (lambda x: F.pad(x, (1, 1)), 0, 0),
        (lambda x: x.roll(1, 2), 0, 0),
        (lambda x: F.pixel_unshuffle(x, 2), 0, 0),
        (lambda x: x.sort(), 0, 0),
        (lambda x: torch.cdist(x, x, p=1), 3 * 8, 2 * 8),
        (lambda x: torch.fft.fft2(torch.complex(x, x)), 5 * 6, 2.5 * 6),
    ],
)
def test_elementwise_operators_count_flops_and_macc_per_element(
    function: Callable[[Tensor], Any], flops: float, macc: float
) -> None:
    given = count(function, rand(*IMAGE))
    assert (given.flops, given.macc) == (round(flops * N), round(macc * N))


@pytest.mark.parametrize(
    ("function", "shapes", "products", "results", "bias"),
    [
        (torch.mm, [(3, 4), (4, 5)], 60, 15, 0),
        (torch.bmm, [(2, 3, 4), (2, 4, 5)], 120, 30, 0),
        (torch.matmul, [(2, 6, 3, 4), (2, 6, 4, 5)], 12 * 60, 12 * 15, 0),
        (torch.mv, [(3, 4), (4,)], 12, 3, 0),
        (torch.dot, [(4,), (4,)], 4, 1, 0),
        (torch.addmm, [(5,), (3, 4), (4, 5)], 60, 15, 15),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 120, 30, 30),
        (lambda *x: torch.baddbmm(*x, beta=0), [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 120, 30, 0),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 120, 15, 15),
        (lambda x, y: torch.einsum("bij,bkj->bik", x, y), [(2, 3, 4), (2, 5, 4)], 120, 30, 0),
        (F.conv2d, [(2, 4, 5, 5), (6, 4, 3, 3)], 108 * 36, 108, 0),
        (F.conv_transpose2d, [(2, 4, 5, 5), (4, 6, 2, 2)], 200 * 24, 2 * 6 * 36, 0),
    ],
)
def test_products_count_flops_and_macc(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], products: int, results: int, bias: int
) -> None:
    given = count(function, *(rand(*shape) for shape in shapes))
    assert (given.products, given.macc) == (products, products + bias)
    assert given.flops == 2 * products - results + bias


def test_an_operator_in_place_costs_the_same() -> None:
    assert count(F.relu, rand(*IMAGE)) == count(F.relu_, rand(*IMAGE)) == Counts(N, N, FLOAT * N, FLOAT * N)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(),
        lambda x: x.amax(-1),
        lambda x: x.argmax(),
        lambda x: x.cumsum(0),
        lambda x: torch.scatter_add(x, 0, x.long(), x),
        lambda x: torch.index_add(x, 0, torch.tensor([0]), x[:1]),
    ],
)
def test_reductions_count_only_floating_point_numbers(function: Callable[..., Any]) -> None:
    integers = torch.zeros(3, 4, dtype=torch.int64)
    assert (count(function, integers).flops, count(function, integers).macc) == (0, 0)
    assert count(function, integers.float()).flops > 0


def test_integer_arithmetic_counts_nothing() -> None:
    given = count(lambda x: x + x, torch.arange(6))
    assert given == Counts(mem_r=6 * 8, mem_w=6 * 8)


def test_a_tensor_given_twice_is_read_once() -> None:
    assert count(torch.mul, *[rand(6)] * 2).mem_r == 6 * FLOAT
    assert count(lambda x: x * x, rand(6)).mem_r == 6 * FLOAT


def test_a_broadcast_operand_is_read_once() -> None:
    given = count(torch.add, rand(4, 6), rand(6).expand(4, 6))
    assert given == Counts(24, 24, FLOAT * (24 + 6), FLOAT * 24)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda x: x.clone(), N, N),
        (lambda x: x.zero_(), 0, N),
        (lambda x: x.fill_(1.0), 0, N),
        (torch.zeros_like, 0, N),
        (lambda x: x[0].copy_(x[1]), N // 2, N // 2),
        (lambda x: torch.cat([x, x.clone()]), N + 2 * N, N + 2 * N),
        (lambda x: x.permute(0, 2, 3, 1).contiguous(), N, N),
        (lambda x: F.pad(x, (0, 0, 4, 4)), N, 2 * N),
    ],
)
def test_operators_count_the_bytes_that_they_move(
    function: Callable[[Tensor], Any], read: int, written: int
) -> None:
    assert count(function, rand(*IMAGE)) == Counts(mem_r=FLOAT * read, mem_w=FLOAT * written)


@pytest.mark.parametrize(
    "look_up", [lambda x, i: x[i], lambda x, i: x.index_select(0, i), lambda x, i: F.embedding(i, x)]
)
def test_a_look_up_reads_only_the_selected_elements_of_a_table(
    look_up: Callable[[Tensor, Tensor], Tensor],
) -> None:
    rows = 2 * 5 * FLOAT
    assert count(look_up, rand(100, 5), torch.tensor([3, 3])) == Counts(mem_r=rows + 2 * 8, mem_w=rows)


def test_a_store_in_place_writes_only_the_stored_values() -> None:
    def store(data: Tensor, index: Tensor, rows: Tensor) -> Tensor:
        return data.index_copy_(0, index, rows)

    given = count(store, rand(100, 5), torch.tensor([1]), rand(1, 5))
    assert given == Counts(mem_r=8 + 5 * FLOAT, mem_w=5 * FLOAT)


def test_an_operator_without_a_rule_costs_its_traffic() -> None:
    given = count(lambda x: torch.linalg.inv_ex(x, check_errors=False)[0], rand(5, 5))
    assert given.flops == 0
    assert given.mem_r >= 25 * FLOAT
    assert given.mem_w >= 25 * FLOAT


@pytest.mark.parametrize(
    ("function", "backward"),
    [
        (lambda x: x + 1, 0),
        (lambda x: x * 2, 1),
        (F.relu, 1),
        (F.gelu, 2),
        (lambda x: x * x, 2),
        (lambda x: x > 0.5, 0),
        (lambda x: x.softmax(1), 4 - 1 / 3),
        (lambda x: x.sum(), 0),
        (lambda x: x.detach() * 2, 0),
    ],
)
def test_elementwise_operators_count_backward_per_element(
    function: Callable[[Tensor], Tensor], backward: float
) -> None:
    assert count(function, rand(*IMAGE, gradient=True)).backward == round(backward * N)
    with torch.no_grad():
        assert count(function, rand(*IMAGE, gradient=True)).backward == 0
    assert count(function, rand(*IMAGE)).backward == 0


def test_a_broadcast_operands_gradient_is_a_sum() -> None:
    assert count(torch.add, rand(4, 6), rand(6, gradient=True)).backward == 24 - 6
    assert count(torch.mul, rand(4, 6), rand(6, gradient=True)).backward == 24 + 24 - 6


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("projection", [0, 2])
def test_the_kernel_of_a_whole_lstm_costs_the_same_as_the_module(projection: int) -> None:
    lstm = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=projection)
    data, state, cell = rand(7, 2, 3), torch.zeros(4, 2, projection or 5), torch.zeros(4, 2, 5)
    mode, flags = 2, (5, projection, 2, False, 0.0, True, True, [], None)
    arguments = (data, list(lstm.parameters()), 4, None, state, cell, mode, *flags)
    output = lstm(data)
    kernel = flops.of_function(torch.ops.aten._cudnn_rnn.default, arguments, {}, (output[0], *output[1]))
    module = flops.of_module(lstm, (data,), {}, output)
    assert module is not None
    assert (kernel.flops, kernel.macc, kernel.backward) == (module.flops, module.macc, module.backward)


def test_every_rule_is_unique_and_for_one_of_torchs_operators() -> None:
    known = {
        schema.name.removeprefix("aten::").removesuffix("_") for schema in torch._C._jit_get_all_schemas()
    }
    tables = [ARITHMETIC, WHOLE]
    assert not set(ARITHMETIC) & set(WHOLE)
    assert {name.removesuffix("_") for table in tables for name in table if "::" not in name} <= known


def test_attention_has_two_products_and_a_softmax_per_row() -> None:
    query, source = rand(2, 4, 5, 16), rand(2, 4, 7, 16)
    rows = 2 * 4 * 5
    scores = rows * 7
    given = count(F.scaled_dot_product_attention, query, source, source)
    assert given.products == 2 * scores * 16
    assert given.flops == 2 * given.products - scores - rows * 16 + scores + (5 * scores - 2 * rows)


def test_attention_backward_is_twice_its_products() -> None:
    query, key, value = (rand(2, 4, 7, 16, gradient=True) for _ in range(3))
    given = count(F.scaled_dot_product_attention, query, key, value)
    assert given.backward_products == 2 * given.products
    frozen = count(F.scaled_dot_product_attention, query.detach(), key.detach(), value)
    assert frozen.backward_products == given.products // 2


def test_an_operator_without_a_rule_is_unknown_unless_it_computes_with_integers() -> None:
    assert count(torch.linalg.inv_ex, rand(4, 4)).unknown == 1
    assert count(torch.linalg.inv_ex, rand(4, 4)).flops == 0
    assert count(torch.cat, [rand(4, 4), rand(4, 4)]).unknown == 0
    assert count(torch.searchsorted, torch.arange(4), torch.tensor(2)).unknown == 0


def test_folding_adds_every_element_to_its_place() -> None:
    assert count(F.fold, rand(1, 12, 9), (4, 4), (2, 2)).flops == 12 * 9
