"""Layouts: how a workload's tensors lie in memory."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from microbench.errors import SkippedError
from microbench.formats import mkldnn
from microbench.workloads import Workload

IMAGES = 4  # dimensions of a batch of images: (batch, channels, height, width)


def apply(
    workload: Workload, layout: str, cache_weights: bool, training: bool
) -> tuple[Workload, int | None]:
    """Return a workload in a layout, and the layout conversions per call; None if it needs none.

    Raises:
        SkippedError: its tensors cannot have this layout.
    """
    if layout == "channels_last":
        return channels_last(workload), None
    if layout == "mkldnn":
        return mkldnn.apply(workload, cache_weights, training)
    return workload, None


def channels_last(workload: Workload) -> Workload:
    """Store images and kernels in the order batch, height, width, channels.

    Raises:
        SkippedError: no input is a batch of images.
    """
    if not any(tensor.dim() == IMAGES for tensor in workload.inputs):
        raise SkippedError(
            "layout=channels_last is for inputs of (batch, channels, height, width): this one has shape "
            f"{workload.shape()}"
        )
    done = {id(tensor): _channels_last(tensor) for tensor in workload.inputs}
    return replace(
        workload,
        module=workload.module.to(memory_format=torch.channels_last),
        inputs=tuple(done[id(tensor)] for tensor in workload.inputs),
    )


def _channels_last(tensor: Tensor) -> Tensor:
    if tensor.dim() != IMAGES:
        return tensor
    laid = tensor.detach().contiguous(memory_format=torch.channels_last)
    return laid.requires_grad_(tensor.requires_grad)
