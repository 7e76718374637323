"""Torchvision's models with random weights: one module per family that takes other inputs than images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision import models

from microbench.config import ModelConfig
from microbench.workloads.torchvision import (
    classification,
    detection,
    optical_flow,
    quantization,
    segmentation,
)
from microbench.workloads.unused import refuse_those_of_layers
from microbench.workloads.workload import Workload

FAMILIES: dict[str, Callable[[ModelConfig, int, torch.device, bool], Workload]] = {
    "detection": detection.build,
    "optical_flow": optical_flow.build,
    "quantization": quantization.build,
    "segmentation": segmentation.build,
}
"""What builds the models of packages within `torchvision.models`; all others are classifiers."""


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a model with inputs and an objective that suit its family.

    Raises:
        SkippedError: it cannot train, or not here.
        UserError: an option has no effect on it.
    """
    refuse_those_of_layers(config)
    family = models.get_model_builder(config.name).__module__.split(".")[2]
    return FAMILIES.get(family, classification.build)(config, batch_size, device, training)
