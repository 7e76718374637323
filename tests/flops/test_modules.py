from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import flops
from microbench.flops import Counts
from microbench.profile.trace import trace

FLOAT = 4  # bytes


def rand(*shape: int, gradient: bool = False) -> Tensor:
    return torch.rand(*shape, requires_grad=gradient)


@torch.no_grad()
def forward(module: nn.Module, *inputs: Any, **options: Any) -> Counts:
    return known(module, *inputs, **options)


def known(module: nn.Module, *inputs: Any, **options: Any) -> Counts:
    given = flops.of_module(module, inputs, options, module(*inputs, **options))
    assert given is not None
    return given


def summed(module: nn.Module, *inputs: Any, **options: Any) -> Counts:
    """Count the operators within a module."""
    holder = Holder(module)
    root = trace(holder, lambda: holder(*inputs, **options))
    return sum((call.counts for call, _ in root.walk() if not call.inner), Counts())


class Holder(nn.Module):
    """Does the same as another module, without calling it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._forward = module.forward

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self._forward(*inputs, **options)


# k products per output: 2k - 1 operations; with a bias, 1 more and one more macc.
@pytest.mark.parametrize(
    ("module", "shape", "outputs", "k", "bias"),
    [
        (nn.Linear(7, 5), (3, 7), 3 * 5, 7, 1),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), 2 * 3 * 5, 7, 0),
        (nn.Conv1d(4, 6, 3), (2, 4, 10), 2 * 6 * 8, 4 * 3, 1),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 5), 2 * 6 * 25, 4 * 9, 1),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 5), 2 * 6 * 9, 2 * 9, 0),
        (nn.Conv2d(4, 6, (1, 3)), (4, 5, 5), 6 * 15, 4 * 3, 1),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 3 * 27, 2 * 8, 1),
    ],
)
def test_an_output_is_a_sum_of_products(
    module: nn.Module, shape: tuple[int, ...], outputs: int, k: int, bias: int
) -> None:
    given = forward(module, rand(*shape))
    assert given.flops == outputs * (2 * k - 1 + bias)
    assert given.macc == outputs * (k + bias)
    assert given.products == outputs * k


@pytest.mark.parametrize(
    ("module", "shape", "k"),
    [
        (nn.ConvTranspose1d(4, 6, 3, stride=2, bias=False), (2, 4, 5), 6 * 3),
        (nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 5), 3 * 9),
        (nn.ConvTranspose3d(2, 3, 2, bias=False), (1, 2, 3, 3, 3), 3 * 8),
    ],
)
def test_every_input_of_a_transposed_convolution_is_multiplied_with_its_weights(
    module: nn.Module, shape: tuple[int, ...], k: int
) -> None:
    data = rand(*shape)
    given = forward(module, data)
    assert given.macc == given.products == data.numel() * k
    assert given.flops == 2 * data.numel() * k - module(data).numel()


N = 2 * 6 * 5 * 5


@pytest.mark.parametrize(
    ("module", "flops", "macc"),
    [
        (nn.BatchNorm2d(6).eval(), 4 * N, 2 * N),
        (nn.BatchNorm2d(6, affine=False).eval(), 2 * N, N),
        (nn.BatchNorm2d(6), 4 * N + 5 * N - 6, 5 * N),
        (nn.BatchNorm2d(6, track_running_stats=False).eval(), 4 * N + 5 * N - 6, 5 * N),
        (nn.InstanceNorm2d(6), 2 * N + 5 * N - 12, 4 * N),
        (nn.InstanceNorm2d(6, track_running_stats=True).eval(), 2 * N, N),
        (nn.GroupNorm(3, 6), 4 * N + 5 * N - 2 * 3, 5 * N),
        (nn.LayerNorm([5, 5]), 4 * N + 5 * N - 2 * 6, 5 * N),
        (nn.LayerNorm(5, bias=False), 3 * N + 5 * N - 2 * 6 * 5, 5 * N),
        (nn.RMSNorm(5), 4 * N, 3 * N),
        (nn.ReLU(), N, N),
        (nn.ReLU6(inplace=True), N, N),
        (nn.GELU(), N, N),
        (nn.PReLU(6), N, N),
        (nn.Softsign(), N, N),
        (nn.GLU(1), N, N // 2),
        (nn.Softmax(-1), 5 * N - 2 * 2 * 6 * 5, 3 * N),
        (nn.LogSoftmax(1), 5 * N - 2 * 5 * 5, 3 * N),
        (nn.MaxPool2d(2), 2 * 6 * 4 * 3, 2 * 6 * 4 * 4),
        (nn.MaxPool2d((1, 5), return_indices=True), 2 * 6 * 5 * 4, 2 * 6 * 5 * 5),
        (nn.AvgPool2d(2), 2 * 6 * 4 * 7, 2 * 6 * 4 * 4),
        (nn.LPPool2d(2, 2), 2 * 6 * 4 * 8, 2 * 6 * 4 * 4),
        (nn.AdaptiveAvgPool2d(1), 2 * 6 * (2 * 25 - 1), 2 * 6 * 25),
        # kernels of 5 - floor(1 * 5 / 2) = 3 and 5 - floor(2 * 5 / 3) = 2
        (nn.AdaptiveAvgPool2d((2, 3)), 2 * 6 * 6 * (2 * 6 - 1), 2 * 6 * 6 * 6),
        (nn.AdaptiveMaxPool2d((2, None)), 2 * 6 * 10 * (3 - 1), 2 * 6 * 10 * 3),
    ],
)
def test_flops_and_macc_of_layers_without_products(module: nn.Module, flops: int, macc: int) -> None:
    given = forward(module, rand(2, 6, 5, 5))
    assert (given.flops, given.macc, given.products) == (flops, macc, 0)


def test_inputs_and_parameters_are_read_once_and_outputs_written_in_bytes() -> None:
    linear = nn.Linear(7, 5)
    given = forward(linear, rand(3, 7))
    assert (given.mem_r, given.mem_w) == (FLOAT * (3 * 7 + 5 * 7 + 5), FLOAT * 3 * 5)
    half = forward(linear.bfloat16(), rand(3, 7).bfloat16())
    assert (half.mem_r, half.mem_w) == (given.mem_r // 2, given.mem_w // 2)


def test_buffers_are_not_parameters() -> None:
    assert forward(nn.BatchNorm1d(6, affine=False).eval(), rand(2, 6)).mem_r == FLOAT * 2 * 6


@pytest.mark.parametrize(
    "module", [nn.Identity(), nn.Dropout().eval(), nn.Dropout2d().eval(), nn.AlphaDropout().eval()]
)
def test_a_module_that_returns_its_input_costs_nothing(module: nn.Module) -> None:
    assert forward(module, rand(2, 6, 5, 5)) == Counts()


@pytest.mark.parametrize("rows", [10, 1000])
def test_an_embedding_reads_only_the_rows_it_looks_up(rows: int) -> None:
    given = forward(nn.Embedding(rows, 4), torch.tensor([1, 2, 2]))
    assert given == Counts(mem_r=3 * 8 + 3 * 4 * FLOAT, mem_w=3 * 4 * FLOAT)


@pytest.mark.parametrize(("mode", "flops"), [("sum", 12 - 8), ("mean", 12), ("max", 12 - 8)])
def test_a_bag_sums_the_rows_it_looks_up(mode: str, flops: int) -> None:
    given = forward(nn.EmbeddingBag(10, 4, mode=mode), torch.tensor([1, 2, 2]), torch.tensor([0, 2]))
    assert (given.flops, given.macc) == (flops, 12)
    assert (given.mem_r, given.mem_w) == (3 * 8 + 2 * 8 + 12 * FLOAT, 8 * FLOAT)


@pytest.mark.parametrize(
    ("kind", "gates", "elementwise"), [(nn.RNN, 1, 2), (nn.GRU, 3, 10), (nn.LSTM, 4, 13)]
)
def test_a_recurrent_layer_multiplies_its_input_and_its_state_at_every_step(
    kind: type[nn.RNNBase], gates: int, elementwise: int
) -> None:
    rows, hidden = 7 * 2, 5
    products = rows * gates * hidden * (3 + hidden)
    plain = forward(kind(3, hidden, bias=False), rand(7, 2, 3))
    assert plain.products == products
    assert plain.flops == 2 * products - 2 * rows * gates * hidden + elementwise * rows * hidden
    biased = forward(kind(3, hidden), rand(7, 2, 3))
    assert biased.flops == plain.flops + 2 * rows * gates * hidden
    both_ways = forward(kind(3, hidden, bidirectional=True), rand(7, 2, 3))
    assert both_ways.flops == 2 * biased.flops
    second = rows * gates * hidden * (2 * hidden + hidden)
    deep = forward(kind(3, hidden, num_layers=2, bidirectional=True), rand(7, 2, 3))
    assert deep.products == both_ways.products + 2 * second


def test_a_packed_sequence_counts_its_rows() -> None:
    packed = nn.utils.rnn.pack_sequence([rand(4, 3), rand(2, 3)])
    lstm = nn.LSTM(3, 5)
    assert forward(lstm, packed).flops == forward(lstm, rand(6, 1, 3)).flops


L, S, E, HEADS, BATCH = 5, 7, 8, 2, 3


def attention_products(keys: int = E, values: int = E, sources: int = S) -> int:
    projections = BATCH * E * (L * E + S * keys + S * values + L * E)
    return projections + 2 * BATCH * L * sources * E


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_has_four_projections_and_two_products(need_weights: bool, bias: bool) -> None:
    attention = nn.MultiheadAttention(E, HEADS, bias=bias, batch_first=True)
    query, source = rand(BATCH, L, E), rand(BATCH, S, E)
    given = forward(attention, query, source, source, need_weights=need_weights)
    outputs = BATCH * E * (L + S + S + L)
    scores = BATCH * HEADS * L * S
    softmax = 5 * scores - 2 * BATCH * HEADS * L
    mean = 2 * scores - scores // HEADS if need_weights else 0
    assert given.products == attention_products()
    assert given.flops == (
        2 * attention_products()
        - (0 if bias else outputs)
        - (scores + BATCH * L * E)  # sums of both products
        + (scores + softmax + mean)
    )


def test_attention_over_other_widths_and_added_sources() -> None:
    attention = nn.MultiheadAttention(E, HEADS, kdim=6, vdim=4, add_bias_kv=True, add_zero_attn=True)
    given = forward(attention, rand(L, BATCH, E), rand(S, BATCH, 6), rand(S, BATCH, 4))
    assert given.products == attention_products(keys=6, values=4, sources=S + 2)


def test_a_mask_is_added_to_every_score() -> None:
    attention, query, source = nn.MultiheadAttention(E, HEADS), rand(L, BATCH, E), rand(S, BATCH, E)
    masked = forward(attention, query, source, source, attn_mask=torch.zeros(L, S))
    assert masked.flops == forward(attention, query, source, source).flops + BATCH * HEADS * L * S


@pytest.mark.parametrize("training", [True, False])
def test_attention_costs_the_same_whichever_kernel_runs(training: bool) -> None:
    attention = nn.MultiheadAttention(E, HEADS, batch_first=True).train(training)
    data = rand(BATCH, L, E)
    with torch.no_grad():
        rule = known(attention, data, data, data, need_weights=False)
        operators = summed(attention, data, data, data, need_weights=False)
    assert (rule.flops, rule.macc, rule.products) == (operators.flops, operators.macc, operators.products)


def test_a_transformer_layer_costs_the_same_in_one_kernel_as_in_its_modules() -> None:
    layer, data = nn.TransformerEncoderLayer(E, HEADS, 16, batch_first=True).eval(), rand(BATCH, L, E)
    with torch.no_grad():
        fused = trace(layer, lambda: layer(data))
    apart = trace(layer, lambda: layer(data))
    assert not fused.inner
    assert len(apart.inner) > 1
    total = sum((call.counts for call in apart.inner), Counts())
    assert (fused.counts.flops, fused.counts.macc) == (total.flops, total.macc)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_examples_without_their_padding_cost_the_same_as_alone() -> None:
    layer = nn.TransformerEncoderLayer(E, HEADS, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1).eval()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        root = trace(encoder, lambda: encoder(rand(2, 5, E), src_key_padding_mask=padding))
        alone = [trace(layer.eval(), lambda n=n: layer(rand(1, n, E))).counts for n in (5, 3)]
    nested = next(call.counts for call, _ in root.walk() if call.type == "TransformerEncoderLayer")
    assert nested.flops == sum(each.flops for each in alone)


IMAGE = (2, 6, 5, 5)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(5, 3), IMAGE),
        (nn.Linear(5, 3, bias=False), IMAGE),
        (nn.Conv2d(6, 4, 3), IMAGE),
        (nn.Conv2d(6, 4, 3, groups=2, bias=False), IMAGE),
        (nn.ConvTranspose2d(6, 4, 3, stride=2), IMAGE),
        (nn.Conv1d(6, 4, 3), (2, 6, 5)),
        (nn.BatchNorm2d(6), IMAGE),
        (nn.BatchNorm2d(6).eval(), IMAGE),
        (nn.GroupNorm(2, 6), IMAGE),
        (nn.LayerNorm(5), IMAGE),
        (nn.ReLU(), IMAGE),
        (nn.SiLU(), IMAGE),
        (nn.PReLU(6), IMAGE),
        (nn.GLU(1), IMAGE),
        (nn.Softmax(1), IMAGE),
        (nn.LogSoftmax(1), IMAGE),
        (nn.MaxPool2d(2), IMAGE),
        (nn.AvgPool2d(2), IMAGE),
        (nn.AdaptiveAvgPool2d(1), IMAGE),
        (nn.AdaptiveAvgPool2d(2), IMAGE),
    ],
    ids=str,
)
def test_a_module_costs_the_same_as_its_operators_forward_and_backward(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    data = rand(*shape, gradient=True)
    rule, operators = known(module, data), summed(module, data)
    assert arithmetic(rule) == arithmetic(operators)
    assert rule.backward > 0


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("training", [True, False])
def test_a_recurrent_module_multiplies_as_its_operators_do(kind: type[nn.RNNBase], training: bool) -> None:
    module = kind(3, 5, num_layers=2, bidirectional=True).train(training)
    with torch.set_grad_enabled(training):
        rule, operators = known(module, rand(7, 2, 3)), summed(module, rand(7, 2, 3))
    assert (rule.flops, rule.macc, rule.products) == (operators.flops, operators.macc, operators.products)
    assert rule.backward_products == operators.backward_products


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_step_costs_the_same_as_its_operators_forward_and_backward(kind: type[nn.RNNCellBase]) -> None:
    data, state = rand(2, 3, gradient=True), rand(2, 5, gradient=True)
    hidden = (state, rand(2, 5, gradient=True)) if kind is nn.LSTMCell else state
    module = kind(3, 5)
    assert arithmetic(known(module, data, hidden)) == arithmetic(summed(module, data, hidden))


def test_bilinear_costs_the_same_as_its_operators() -> None:
    module = nn.Bilinear(3, 4, 5)
    inputs = rand(2, 3, gradient=True), rand(2, 4, gradient=True)
    assert arithmetic(known(module, *inputs)) == arithmetic(summed(module, *inputs))
    assert forward(module, *inputs).products == 10 * 4 * 3 + 10 * 4


def arithmetic(given: Counts) -> tuple[int, ...]:
    return given.flops, given.macc, given.backward, given.products, given.backward_products


def test_the_backward_of_a_product_is_one_product_per_gradient() -> None:
    linear, products = nn.Linear(7, 5), 3 * 5 * 7
    weight, bias, data = 2 * products - 35, 15 - 5, 2 * products - 21
    assert known(linear, rand(3, 7)).backward == weight + bias
    assert known(linear, rand(3, 7, gradient=True)).backward == weight + bias + data
    assert known(linear.requires_grad_(False), rand(3, 7, gradient=True)).backward == data
    assert known(linear, rand(3, 7)).backward == 0
    assert forward(linear.requires_grad_(True), rand(3, 7)).backward == 0


def test_a_subclass_has_its_bases_rule_unless_it_has_its_own_forward() -> None:
    class Named(nn.Linear):
        pass

    class Doubled(nn.Linear):
        def forward(self, data: Tensor) -> Tensor:
            return 2 * super().forward(data)

    data = rand(3, 7)
    assert known(Named(7, 5), data) == known(nn.Linear(7, 5), data)
    assert flops.of_module(Doubled(7, 5), (data,), {}, data) is None


def test_a_module_whose_forward_was_replaced_has_no_rule() -> None:
    linear = nn.Linear(7, 5)
    linear.forward = lambda data: data  # type: ignore[method-assign, assignment]
    assert flops.of_module(linear, (rand(3, 7),), {}, rand(3, 7)) is None


def test_a_lazy_module_costs_the_same_as_the_module_it_becomes() -> None:
    lazy, data = nn.LazyLinear(5), rand(3, 7)
    lazy(data)
    assert forward(lazy, data) == forward(nn.Linear(7, 5), data)


def test_arguments_may_be_given_by_name() -> None:
    linear, data = nn.Linear(7, 5), rand(3, 7)
    assert forward(linear, input=data) == forward(linear, data)
