"""Recurrent layers: products of weights with inputs and with the hidden state, and elementwise gates.

For every step, example, layer and direction, with hidden size H, G gates and hidden state of size P:

- G·H sums of products with the layer's input, G·H with the hidden state, and with biases G·H more each;
- the gates: LSTM 13H (4 sums of both parts, 4 activations, c = f·c + i·g, tanh(c), its product with o);
  GRU 10H (3 sums, one product with r, 3 activations, h = n + z·(h − n)); RNN 2H (a sum, an activation);
- with a projection P sums of H products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from microbench.profile.counts.amount import Counts, each, inner_products, needs_gradient, total
from microbench.profile.counts.executed import Executed, Rule


@dataclass(frozen=True)
class Gates:
    """A kind of recurrent layer.

    Attributes:
        number: G, how many gates it has.
        flops: elementwise operations for each hidden number.
        backward: the same of the backward pass: 2 for an activation, 1 for each operand of a product.
    """

    number: int
    flops: int
    backward: int


RNN = Gates(number=1, flops=2, backward=2)
GRU = Gates(number=3, flops=10, backward=11)
LSTM = Gates(number=4, flops=13, backward=16)


def layers(gates: Gates) -> Rule:
    """The rule of a module of several layers, in one direction or two."""

    def rule(call: Executed) -> Counts:
        module = call.module
        rows = call.input.numel() // max(module.input_size, 1)
        directions = 2 if module.bidirectional else 1
        state = module.proj_size or module.hidden_size
        widths = [module.input_size, *[state * directions] * (module.num_layers - 1)]
        learned = needs_gradient(*module.parameters())
        return total(
            step(
                gates,
                rows,
                width,
                module.hidden_size,
                module.proj_size,
                biased=module.bias,
                learned=learned,
                sought=needs_gradient(call.input) or (learned and layer > 0),
            )
            for layer, width in enumerate(widths)
            for _ in range(directions)
        )

    return rule


def cell(gates: Gates) -> Rule:
    """The rule of a module that does one step."""

    def rule(call: Executed) -> Counts:
        module = call.module
        rows = call.input.numel() // max(module.input_size, 1)
        return step(
            gates,
            rows,
            module.input_size,
            module.hidden_size,
            biased=module.bias,
            learned=needs_gradient(*module.parameters()),
            sought=needs_gradient(call.input),
        )

    return rule


def step(
    gates: Gates,
    rows: int,
    width: int,
    hidden: int,
    projection: int = 0,
    *,
    biased: bool,
    learned: bool,
    sought: bool,
) -> Counts:
    """A layer in one direction, over so many rows: steps times examples.

    Args:
        gates: the kind of layer.
        rows: over how many rows it runs.
        width: numbers of a row of its input.
        hidden: numbers of its hidden state, before the projection.
        projection: numbers of its state after the projection; 0 for none.
        biased: whether both products have a bias.
        learned: whether the weights' gradients are sought.
        sought: whether the input's gradient is.
    """
    made = gates.number * hidden
    state = projection or hidden
    back = learned or sought
    parts = [
        inner_products(rows * width * made, rows * made, [rows * width] * sought + [width * made] * learned),
        inner_products(rows * state * made, rows * made, [rows * state] * back + [state * made] * learned),
        each(2 * rows * made, backward=2 * made * (rows - 1) if learned else 0) if biased else Counts(),
        Counts(
            flops=gates.flops * rows * hidden,
            macc=gates.flops * rows * hidden,
            backward=gates.backward * rows * hidden if back else 0,
        ),
    ]
    if projection:
        parts.append(
            inner_products(
                rows * hidden * projection,
                rows * projection,
                [rows * hidden] * back + [hidden * projection] * learned,
            )
        )
    return total(parts)


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.RNN: layers(RNN),
    nn.GRU: layers(GRU),
    nn.LSTM: layers(LSTM),
    nn.RNNCell: cell(RNN),
    nn.GRUCell: cell(GRU),
    nn.LSTMCell: cell(LSTM),
}

OPERATORS: Mapping[str, Rule] = {}
