"""Optical flow between two images: RAFT's loss of the sequence of its estimates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import models

from microbench.config import ModelConfig
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.objectives import Loss
from microbench.workloads.unused import refuse
from microbench.workloads.workload import Workload

GAMMA = 0.8
"""Each estimate counts this share of the next, better one (Teed and Deng, RAFT, 2020, equation 7)."""

PIXELS = 8.0
"""Standard deviation of the true flow."""


class SequenceLoss(Loss):
    """The mean absolute error of every estimate, weighted by its place: the last has weight 1.

    Args:
        flow: the true flow in pixels, of shape (batch, 2, height, width).
    """

    def __init__(self, flow: Tensor) -> None:
        self._flow = flow

    def __call__(self, output: Sequence[Tensor]) -> Tensor:
        """Return the loss, a scalar, of estimates of the flow's shape."""
        last = len(output) - 1
        errors = ((estimate - self._flow).abs().mean() for estimate in output)
        return torch.stack([GAMMA ** (last - index) * error for index, error in enumerate(errors)]).sum()


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a model of optical flow with two standard normal images of (batch, *input_shape)."""
    refuse(config, "num_classes", "aux_weight", why="is for classifiers, and optical flow has no classes")
    with device:
        module = models.get_model(config.name, weights=None, **config.kwargs).train(training)
        first, second = torch.randn(2, batch_size, *config.input_shape)
        flow = PIXELS * torch.randn(batch_size, 2, *config.input_shape[1:])
        if not training:
            calibrate(module, torch.randn(2, EXAMPLES, *config.input_shape).unbind())
    return Workload(config.name, module, (first, second), SequenceLoss(flow), "image pairs")
