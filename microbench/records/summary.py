"""The summary of one series' samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from microbench.records.record import Summary
from microbench.stats.median import CONFIDENCE, quantile, quantile_interval, resolved
from microbench.stats.percentiles import PERCENTILES, reaches
from microbench.stats.trend import trend


def summarize(samples: ArrayLike, confidence: float = CONFIDENCE, resolution: float = 0.0) -> Summary:
    """Summarize at least one sample, in order, in the samples' own unit (seconds per call).

    Args:
        samples: the samples.
        confidence: the level of the median's interval.
        resolution: the clock's: the interval is no narrower.
    """
    values = np.asarray(samples, dtype=np.float64)
    low, high, effective = quantile_interval(values, confidence)
    q25, median, q75 = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    if low is not None and high is not None:
        low, high = resolved(low, high, median, resolution)
    tail = {
        percent: quantile(values, percent / 100) for percent in PERCENTILES if reaches(len(values), percent)
    }
    drift = trend(values)
    return Summary(
        n=len(values),
        n_effective=effective,
        median=median,
        ci_low=low,
        ci_high=high,
        confidence=confidence,
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        min=float(values.min()),
        max=float(values.max()),
        q25=q25,
        q75=q75,
        p90=tail.get(90.0),
        p95=tail.get(95.0),
        p99=tail.get(99.0),
        p99_9=tail.get(99.9),
        drift=drift.change if drift else None,
        drift_tau=drift.tau if drift else None,
        drift_p=drift.p if drift else None,
    )
