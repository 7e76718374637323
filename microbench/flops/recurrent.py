"""Recurrent layers: products of weights with inputs and with the hidden state, and elementwise gates.

Per step, example, layer and direction, with hidden size H, G gates and hidden state of size P:

- G·H sums of products with the layer's input, G·H with the hidden state, and with biases G·H more each;
- the gates: LSTM 13H (4 sums of both parts, 4 activations, c = f·c + i·g, tanh(c), its product with o);
  GRU 10H (3 sums, one product with r, 3 activations, h = n + z·(h − n)); RNN 2H (a sum, an activation);
- with a projection, P sums of H products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.utils.rnn import PackedSequence

from microbench.flops.amount import Counts, inner_products, needs_gradient, per_element, total
from microbench.flops.executed import Executed, Rule
from microbench.watch.tensors import tensors


@dataclass(frozen=True)
class Gates:
    """A kind of recurrent layer.

    Attributes:
        number: G, its number of gates.
        flops: elementwise operations per hidden number.
        backward: the same in the backward pass: 2 for an activation, 1 for each operand of a product.
    """

    number: int
    flops: int
    backward: int


RNN = Gates(number=1, flops=2, backward=2)
GRU = Gates(number=3, flops=10, backward=10)
LSTM = Gates(number=4, flops=13, backward=16)


@dataclass(frozen=True)
class Layer:
    """A recurrent layer in one direction.

    Attributes:
        gates: its kind.
        width: numbers per row of its input.
        hidden: H, numbers in its hidden state before the projection.
        projection: P, numbers in its state after the projection; 0 for none.
        biased: whether both products have a bias.
        learned: whether the gradients of its weights are sought.
    """

    gates: Gates
    width: int
    hidden: int
    projection: int
    biased: bool
    learned: bool

    def run(self, rows: int, *, first: int, sought: bool) -> Counts:
        """Count a run over rows: steps times examples.

        Args:
            rows: number of rows.
            first: number of rows with an initial state whose gradient is not sought.
            sought: whether the input's gradient is sought.
        """
        made, state, learned = self.gates.number * self.hidden, self.projection or self.hidden, self.learned
        back = learned or sought
        continued = rows - first if back else 0  # rows whose state's gradient is sought
        parts = [
            inner_products(
                rows * self.width * made,
                rows * made,
                [rows * self.width] * sought + [self.width * made] * learned,
            ),
            inner_products(rows * state * made, rows * made, [state * made] * learned),
            Counts(backward=continued * state * (2 * made - 1), backward_products=continued * state * made),
            per_element(
                self.gates.flops * rows * self.hidden,
                backward=self.gates.backward * rows * self.hidden * back,
            ),
        ]
        if self.biased:
            parts.append(per_element(2 * rows * made, backward=2 * made * (rows - 1) * learned))
        if self.projection:
            weights = self.hidden * self.projection
            gradients = [rows * self.hidden] * back + [weights] * learned
            parts.append(inner_products(rows * weights, rows * self.projection, gradients))
        return total(parts)


def layers(gates: Gates) -> Rule:
    """Return the rule of a module of layers, in one direction or two, or of one that does one step."""

    def rule(call: Executed) -> Counts:
        module, projection = call.module, call.get("proj_size") or 0
        directions = 2 if call.get("bidirectional") else 1
        learned = needs_gradient(*module.parameters())
        sought = needs_gradient(call.input)
        rows = call.input.numel() // max(module.input_size, 1)
        first = 0 if needs_gradient(*tensors(call["hx"])) else _examples(call, rows)
        counts = []
        for number in range(call.get("num_layers") or 1):
            width = (projection or module.hidden_size) * directions if number else module.input_size
            layer = Layer(gates, width, module.hidden_size, projection, module.bias, learned)
            counts += [layer.run(rows, first=first, sought=sought or (learned and number > 0))] * directions
        return total(counts)

    return rule


def _examples(call: Executed, rows: int) -> int:
    """Return the number of sequences: a packed input says how many it has; for a step, all rows."""
    given, module = call["input"], call.module
    if isinstance(module, nn.RNNCellBase):
        return rows
    if isinstance(given, PackedSequence):
        return int(given.batch_sizes[0])
    return 1 if given.dim() == 2 else int(given.shape[0 if module.batch_first else 1])


def one_layer(call: Executed) -> Counts:
    """Count oneDNN's kernel: one layer in one direction."""
    weights = call["weight0"]
    layer = Layer(
        KINDS[call["mode"]],
        weights.shape[1],
        call["hidden_size"],
        0,
        call["has_biases"],
        needs_gradient(weights),
    )
    data = call["input"]
    first = 0 if needs_gradient(call["hx_"]) else call["hx_"].numel() // call["hidden_size"]
    return layer.run(data.shape[:-1].numel(), first=first, sought=needs_gradient(data))


def all_layers(call: Executed) -> Counts:
    """Count the kernels of cuDNN and MIOpen: all layers in all directions."""
    data, hidden, projection = call["input"], call["hidden_size"], call.get("proj_size") or 0
    weights = [each for each in call["weight"] if each.dim() == 2]
    products = weights[:: 3 if projection else 2]
    learned, sought = needs_gradient(*weights), needs_gradient(data)
    directions = 2 if call["bidirectional"] else 1
    state = call["hx"]
    first = 0 if needs_gradient(state) else state.shape[1]
    rows = data.shape[:-1].numel()
    return total(
        Layer(
            KINDS[call["mode"]],
            each.shape[1],
            hidden,
            projection,
            len(call["weight"]) > len(weights),
            learned,
        ).run(rows, first=first, sought=sought or (learned and number >= directions))
        for number, each in enumerate(products)
    )


def gates_alone(gates: Gates) -> Rule:
    """Return the rule of a kernel that takes both products, and does the rest of a step."""

    def rule(call: Executed) -> Counts:
        given = call["input_gates"]
        hidden = given.numel() // gates.number
        biases = [each for each in (call["input_bias"], call["hidden_bias"]) if each is not None]
        sought = needs_gradient(given, call["hidden_gates"])
        return per_element(
            gates.flops * hidden + len(biases) * given.numel(),
            backward=gates.backward * hidden if sought else 0,
        )

    return rule


#: Kinds by their numbers in kernels: RNN with ReLU, with tanh, LSTM, GRU.
KINDS = (RNN, RNN, LSTM, GRU)

MODULES: Mapping[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.RNN, nn.RNNCell), layers(RNN)),
    **dict.fromkeys((nn.GRU, nn.GRUCell), layers(GRU)),
    **dict.fromkeys((nn.LSTM, nn.LSTMCell), layers(LSTM)),
}

OPERATORS: Mapping[str, Rule] = {
    "mkldnn_rnn_layer": one_layer,
    "_cudnn_rnn": all_layers,
    "miopen_rnn": all_layers,
    "_thnn_fused_lstm_cell": gates_alone(LSTM),
    "_thnn_fused_gru_cell": gates_alone(GRU),
}
