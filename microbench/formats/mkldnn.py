"""oneDNN, and its blocked layout."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils import mkldnn

from microbench.errors import SkippedError
from microbench.workloads import Workload


def apply(workload: Workload, cache_weights: bool, training: bool) -> tuple[Workload, int]:
    """The workload with blocked inputs, and how often a call converts between layouts.

    Raises:
        SkippedError: it is to be trained, or torch has no oneDNN here.
    """
    if training:
        raise SkippedError("layout=mkldnn is for inference: use mode=infer")
    if not is_usable():
        raise SkippedError("layout=mkldnn needs a torch built with oneDNN")
    module = (
        mkldnn.to_mkldnn(  # type: ignore[no-untyped-call]
            workload.module.eval()
        )
        if cache_weights
        else workload.module
    )
    inputs = tuple(tensor.to_mkldnn() for tensor in workload.inputs)
    return replace(workload, module=module, inputs=inputs), 0


def is_usable() -> bool:
    """Whether torch has oneDNN, and may use it."""
    return bool(torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
