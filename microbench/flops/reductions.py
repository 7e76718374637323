"""Operators that make one number of many, and those that run along a dimension.

Formulas are for n elements reduced to r results; macc is n for every pass over the elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import log2, prod

from torch import Tensor, nn

from microbench.flops.amount import Counts, needs_gradient
from microbench.flops.executed import Executed, Rule, shared


def reduced(call: Executed, *, each: int, once: int = 0, macc: int = 1, backward: int = 1) -> Counts:
    """`each` operations on every element, `once` for every result; backward so many for every element.

    Of integers there are none.
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
    """Inner products with 1 / n, 2n − r; backward, a quotient for each."""
    return Counts(flops=2 * n - results, macc=n, backward=n if sought else 0)


def averaged(call: Executed) -> Counts:
    """The mean over some dimensions, or all."""
    return mean(call.input.numel(), call.result.numel(), sought=needs_gradient(call.input))


def softmax(call: Executed) -> Counts:
    """For each of the rows: highest n − 1, differences n, exponentials n, sum n − 1, quotients n.

    Backward y(g − Σ y g): n products, n − 1 additions, n differences, n products.
    """
    return softmaxed(call.result.numel(), _rows(call), sought=needs_gradient(call.input))


def log_softmax(call: Executed) -> Counts:
    """As softmax, with a logarithm for each row and differences in the place of quotients.

    Backward g − exp(y) Σ g: n − 1 additions, n exponentials, n products, n differences.
    """
    n, rows = call.result.numel(), _rows(call)
    return softmaxed(n, rows, sought=needs_gradient(call.input)) + Counts(flops=rows)


def softmaxed(n: int, rows: int, *, sought: bool) -> Counts:
    """Softmax of rows with n elements in all."""
    return Counts(flops=5 * n - 2 * rows, macc=3 * n, backward=4 * n - rows if sought else 0)


def _rows(call: Executed) -> int:
    """How many rows a softmax has: of modules it is the last dimension unless they say otherwise."""
    result = call.result
    dimension = _dimension(call.module, result.dim()) if call.module is not None else call["dim"]
    return result.numel() // max(result.shape[dimension], 1) if result.dim() else 1


def _dimension(module: nn.Module, dimensions: int) -> int:
    """Over which dimension a module runs: without any said, over channels, as torch does."""
    if isinstance(module, nn.Softmax2d):
        return -3
    said = getattr(module, "dim", None)
    if said is not None:
        return int(said)
    return 0 if dimensions in (0, 1, 3) else 1


summed: Rule = partial(reduced, each=1, once=-1, backward=0)
highest: Rule = partial(reduced, each=1, once=-1)
length: Rule = partial(reduced, each=2, backward=2)
spread: Rule = partial(reduced, each=5, once=-1, macc=3, backward=3)
along: Rule = partial(reduced, each=1, backward=1)


def transformed(call: Executed) -> Counts:
    """Fourier's transform of n numbers along dimensions of length m in all: 5 n log₂ m, of reals half."""
    longer = max(call.input, call.result, key=Tensor.numel)
    length = prod(longer.shape[dimension] for dimension in call["dim"])
    real = not (call.input.is_complex() and call.result.is_complex())
    flops = round(5 * longer.numel() * log2(max(length, 1)) / (2 if real else 1))
    return Counts(flops=flops, macc=flops // 2, backward=flops if needs_gradient(call.input) else 0)


def distances(call: Executed) -> Counts:
    """Each distance of two rows of m: differences m, powers m, their sum m − 1, a root."""
    results, length = call.result.numel(), call.input.shape[-1]
    wanted = [each for each in (call["x1"], call["x2"]) if needs_gradient(each)]
    return Counts(
        flops=3 * results * length,
        macc=2 * results * length,
        backward=3 * results * length * len(wanted),
    )


MODULES: Mapping[type[nn.Module], Rule] = {
    nn.Softmax: softmax,
    nn.Softmax2d: softmax,
    nn.Softmin: softmax,
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
    "logsumexp": partial(reduced, each=4, once=0, macc=2, backward=3),
    "logcumsumexp": partial(reduced, each=4, once=0, macc=2, backward=3),
    **shared("_fft_c2c _fft_r2c _fft_c2r", transformed),
    "_cdist_forward": distances,
    "softmax": softmax,
    "_softmax": softmax,
    "_safe_softmax": softmax,
    "log_softmax": log_softmax,
    "_log_softmax": log_softmax,
}
