"""The shape of a distribution: how many samples are in each of a few bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

TOP = 99  # percentile that ends the last bin: the slowest sample would flatten all others


def histogram(samples: ArrayLike, bins: int) -> list[int]:
    """Return how many samples are in each of some bins of equal width.

    The bins go from the least sample to the 99th percentile; what is above is in the last one. Equal samples
    are all in the first.

    Args:
        samples: at least one, in any unit.
        bins: the number of bins.
    """
    values = np.asarray(samples, dtype=np.float64)
    low, high = float(values.min()), float(np.percentile(values, TOP))
    if high <= low:
        return [len(values), *[0] * (bins - 1)]
    counts, _ = np.histogram(np.minimum(values, high), bins, (low, high))
    return [int(each) for each in counts]
