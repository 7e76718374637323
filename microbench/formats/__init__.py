"""IN WHICH FORM: a workload's precision and its layout in memory."""

from __future__ import annotations

from microbench.config import Config
from microbench.errors import SkippedError
from microbench.formats import layout, precision
from microbench.formats.trial import dense
from microbench.workloads import Workload

__all__ = ["dense", "in_format", "needs_values"]


def in_format(workload: Workload, config: Config, training: bool) -> tuple[Workload, int | None]:
    """Return a workload in a configuration's precision and layout, for torch's engines.

    Returns:
        The workload, whose module is the given one or wraps it, and the layout conversions per call; None if
        the layout needs none.

    Raises:
        SkippedError: it cannot be converted here.
    """
    if config.layout == "mkldnn" and config.precision.autocast:
        raise SkippedError(
            f"layout=mkldnn does not support precision={config.precision.name}: torch.autocast casts no "
            "tensor in it; use precision=bf16"
        )
    cast = precision.apply(workload, config.precision)
    return layout.apply(cast, config.layout, config.cache_weights, training)


def needs_values(config: Config) -> bool:
    """Return whether converting needs the weights' values: mkldnn tries which parts run in it."""
    return config.layout == "mkldnn"
