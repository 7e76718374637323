"""Operators that reduce many numbers to one, including losses, and those that run along a dimension.

Formulas are for n elements reduced to r results; macc is n per pass over the elements.
Losses without a kernel are the sum of their operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import log2, prod

from torch import Tensor, nn

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule, shared


def reduced(call: Executed, *, each: int, once: int = 0, macc: int = 1, backward: int = 1) -> Counts:
    """Count `each` operations per element, `once` per result; `backward` per element.

    Integers count nothing.
    """
    if call.is_of_integers:
        return Counts()
    data, results = call.input, call.result.numel()
    n = data.numel()
    return Counts(
        flops=max(each * n + once * results, 0),
        macc=macc * n,
        backward=backward * n if needs_gradient(data) else 0,
    )


def mean(n: int, results: int, *, sought: bool = False) -> Counts:
    """Count inner products with 1 / n: 2n − r; backward, one quotient per element."""
    return Counts(flops=2 * n - results, macc=n, backward=n if sought else 0)


def averaged(call: Executed) -> Counts:
    """Count the mean over some dimensions, or all."""
    return mean(call.input.numel(), call.result.numel(), sought=needs_gradient(call.input))


def softmax(call: Executed) -> Counts:
    """Count, per row: maximum n − 1, differences n, exponentials n, sum n − 1, quotients n.

    Backward y(g − Σ y g): n products, n − 1 additions, n differences, n products.
    """
    return softmaxed(call.result.numel(), _rows(call), sought=needs_gradient(call.input))


def log_softmax(call: Executed) -> Counts:
    """Count as softmax, with a logarithm per row, and differences instead of quotients.

    Backward g − exp(y) Σ g: n − 1 additions, n exponentials, n products, n differences.
    """
    n, rows = call.result.numel(), _rows(call)
    return softmaxed(n, rows, sought=needs_gradient(call.input)) + Counts(flops=rows)


def softmaxed(n: int, rows: int, *, sought: bool) -> Counts:
    """Count the softmax of rows with n elements in total."""
    return Counts(flops=5 * n - 2 * rows, macc=3 * n, backward=4 * n - rows if sought else 0)


def _rows(call: Executed) -> int:
    """Return the number of rows of a softmax over `dim`; by default over channels, as in torch's modules."""
    result = call.result
    dimension: int | None = call.get("dim")
    if not result.dim():
        return 1
    if isinstance(call.module, nn.Softmax2d):
        dimension = -3
    elif dimension is None:
        dimension = 0 if result.dim() in (1, 3) else 1
    return result.numel() // max(result.size(dimension), 1)


summed: Rule = partial(reduced, each=1, once=-1, backward=0)
highest: Rule = partial(reduced, each=1, once=-1)
length: Rule = partial(reduced, each=2, backward=2)
spread: Rule = partial(reduced, each=5, once=-1, macc=3, backward=3)
along: Rule = partial(reduced, each=1, backward=1)


def transformed(call: Executed) -> Counts:
    """Count the FFT of n numbers along dimensions of m numbers in total: 5 n log₂ m; half for reals."""
    longer = max(call.input, call.result, key=Tensor.numel)
    length = prod(longer.shape[dimension] for dimension in call["dim"])
    real = not (call.input.is_complex() and call.result.is_complex())
    flops = round(5 * longer.numel() * log2(max(length, 1)) / (2 if real else 1))
    return Counts(flops=flops, macc=flops // 2, backward=flops if needs_gradient(call.input) else 0)


def distances(call: Executed) -> Counts:
    """Count, per distance of two rows of length m: differences m, powers m, their sum m − 1, a root."""
    results, length = call.result.numel(), call.input.shape[-1]
    wanted = [each for each in (call["x1"], call["x2"]) if needs_gradient(each)]
    return Counts(
        flops=3 * results * length,
        macc=2 * results * length,
        backward=3 * results * length * len(wanted),
    )


MEAN = 1  # the number of the reduction `mean`


@dataclass(frozen=True)
class Loss:
    """The rule of a loss of n elements.

    Attributes:
        flops: per element.
        backward: per element, including the product with the gradient.
    """

    flops: int
    backward: int

    def __call__(self, call: Executed) -> Counts:
        """Count the loss."""
        n, results = call.input.numel(), call.result.numel()
        flops = self.flops * n + (n - results) + (call["reduction"] == MEAN)
        backward = self.backward * n if needs_gradient(call.input) else 0
        return Counts(flops=flops, macc=(flops + 1) // 2, backward=backward)


def picked(call: Executed) -> Counts:
    """Count the negative log-probabilities of the targets, picked and weighted, and their sum or mean."""
    n, results = call["target"].numel(), call.result.numel()
    weights = n if call.get("weight") is not None else 0
    flops = n + weights + (n - results) + (call["reduction"] == MEAN)
    backward = n if needs_gradient(call.input) else 0
    return Counts(flops=flops, macc=(flops + 1) // 2, backward=backward)


MODULES: Mapping[type[nn.Module], Rule] = {
    **dict.fromkeys((nn.Softmax, nn.Softmax2d, nn.Softmin), softmax),
    nn.LogSoftmax: log_softmax,
}

OPERATORS: Mapping[str, Rule] = {
    **shared("sum nansum", summed),
    "mean": averaged,
    **shared("max min amax amin aminmax argmax argmin prod", highest),
    **shared("median nanmedian", highest),
    **shared("norm linalg_vector_norm", length),
    **shared("var std var_mean std_mean", spread),
    **shared("cumsum cumprod cummax cummin _cummax_helper _cummin_helper", along),
    **shared("logsumexp logcumsumexp", partial(reduced, each=4, macc=2, backward=3)),
    **shared("_fft_c2c _fft_r2c _fft_c2r", transformed),
    "_cdist_forward": distances,
    **shared("softmax _softmax _safe_softmax", softmax),
    **shared("log_softmax _log_softmax", log_softmax),
    "mse_loss": Loss(flops=2, backward=2),
    **shared("smooth_l1_loss huber_loss", Loss(flops=4, backward=3)),
    "soft_margin_loss": Loss(flops=4, backward=4),
    "binary_cross_entropy": Loss(flops=6, backward=4),
    "binary_cross_entropy_with_logits": Loss(flops=6, backward=3),
    **shared("nll_loss_forward nll_loss2d_forward", picked),
}
