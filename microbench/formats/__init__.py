"""IN WHICH FORM: a workload's number format and its layout in memory."""

from __future__ import annotations

from microbench.config import Config
from microbench.formats import layout, precision
from microbench.workloads import Workload


def dressed(workload: Workload, config: Config, training: bool) -> tuple[Workload, int | None]:
    """The workload in the precision and the layout that are asked for, for torch's engines.

    Returns:
        The workload, whose module is the given one or wraps it, and how often a call converts between
        layouts; None where the layout needs no conversions.

    Raises:
        SkippedError: it cannot be brought into that form here.
    """
    cast = precision.apply(workload, config.precision, config.device.name)
    return layout.apply(cast, config.layout, config.cache_weights, training)
