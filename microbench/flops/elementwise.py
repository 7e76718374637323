"""Operators and activations that treat every element alike.

Each element counts as one operation of any kind: an addition, a comparison, an exponential, an activation.
Selection, logic and integer arithmetic count as none. A broadcast operand counts the result's elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from microbench.flops.amount import Counts, needs_gradient, per_element
from microbench.flops.executed import Executed, Rule, shared
from microbench.watch.tensors import tensors


@dataclass(frozen=True)
class Elementwise:
    """The rule of an elementwise operator.

    Attributes:
        flops: per element of the result.
        backward: per element, for each operand that requires a gradient: the derivative and its product with
            the gradient; 1 if the derivative is a constant or an operand, 0 if it is 1; None if there is
            none.
    """

    flops: int = 1
    backward: int | None = 2

    def __call__(self, call: Executed) -> Counts:
        """Count it; nothing, if all numbers are integers."""
        if call.is_of_integers:
            return Counts()
        elements = call.result.numel()
        gradients = self._gradients(elements, list(tensors(call.arguments)))
        return per_element(elements, self.flops, backward=gradients)

    def _gradients(self, elements: int, operands: Sequence[Tensor]) -> int:
        if self.backward is None:
            return 0
        wanted = [operand.numel() for operand in operands if needs_gradient(operand)]
        # A broadcast operand gets the sum of its elements' gradients.
        return sum(self.backward * elements + max(elements - own, 0) for own in wanted)


def sum_of_scaled(call: Executed) -> Counts:
    """Count the sum x ± αy: 2 per element, 1 if α is 1."""
    scaled = call.get("alpha") not in (None, 1)
    return Elementwise(flops=1 + scaled, backward=int(scaled))(call)


def accumulated(call: Executed) -> Counts:
    """Count elements that are added to chosen elements of another tensor: 1 each, none for integers."""
    if call.is_of_integers:
        return Counts()
    source = call.get("src") if call.get("src") is not None else call["source"]
    return per_element(source.numel(), backward=0)


def folded(call: Executed) -> Counts:
    """Count elements that are added to their places: 1 each."""
    return per_element(call.input.numel(), backward=0)


def multiplied(call: Executed) -> Counts:
    """Count the product with a tensor or a number; a product with the number 1 is free."""
    factor = call.get("other")
    return Counts() if isinstance(factor, (int, float)) and factor == 1 else SCALED(call)


def prelu(call: Executed) -> Counts:
    """Count 1 per element; backward 1 for the input, 2 for the weight: the product, and its sum."""
    elements = call.result.numel()
    backward = elements * needs_gradient(call.input) + 2 * elements * needs_gradient(call["weight"])
    return per_element(elements, backward=backward)


def glu(call: Executed) -> Counts:
    """Count the product a · σ(b): 2 per output; backward 1 for a, 3 for b."""
    elements = call.result.numel()
    return per_element(elements, flops=2, backward=4 * elements * needs_gradient(call.input))


SCALED = Elementwise(backward=1)
PIECEWISE_LINEAR = Elementwise(backward=1)
SMOOTH = Elementwise(backward=2)
SELECTED = Elementwise(flops=0, backward=1)
COMPARED = Elementwise(backward=None)
LOGIC = Elementwise(flops=0, backward=None)

MODULES: Mapping[type[nn.Module], Rule] = {
    **dict.fromkeys(
        (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.Threshold, nn.Hardtanh, nn.Hardsigmoid),
        PIECEWISE_LINEAR,
    ),
    **dict.fromkeys((nn.Hardshrink, nn.Softshrink), PIECEWISE_LINEAR),
    **dict.fromkeys((nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish), SMOOTH),
    **dict.fromkeys((nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink), SMOOTH),
    nn.PReLU: prelu,
    nn.GLU: glu,
}

OPERATORS: Mapping[str, Rule] = {
    **shared("add sub rsub", sum_of_scaled),
    "mul": multiplied,
    **shared("neg abs exp", SCALED),
    **shared(
        "relu hardtanh leaky_relu threshold hardsigmoid hardshrink softshrink clamp "
        "clamp_min clamp_max rrelu_with_noise maximum minimum fmax fmin",
        PIECEWISE_LINEAR,
    ),
    **shared("gelu silu mish hardswish log_sigmoid_forward copysign", SMOOTH),
    **shared("eq ne lt le gt ge", COMPARED),
    **shared("floor ceil round trunc sign sgn heaviside", COMPARED),
    **shared("where masked_fill _masked_scale", SELECTED),
    **shared("logical_and logical_or logical_xor logical_not", LOGIC),
    **shared("isnan isinf isposinf isneginf signbit", LOGIC),
    **shared("addcmul addcdiv xlogy special_xlog1py", Elementwise(flops=2)),
    **shared("lerp hypot", Elementwise(flops=3)),
    **shared("native_dropout _fused_dropout", SCALED),
    **shared("scatter_add index_add scatter_reduce index_reduce", accumulated),
    "addr": Elementwise(flops=2),
    "col2im": folded,
    "_prelu_kernel": prelu,
    "glu": glu,
}
