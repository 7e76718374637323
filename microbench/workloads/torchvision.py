"""Classification models of torchvision, with random weights."""

from __future__ import annotations

import torch
from torch import nn
from torchvision import models

from microbench.config import ModelConfig
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.workload import Workload, draw_if_zero


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a torchvision classifier with standard normal images of (batch, *input_shape)."""
    with device:
        module = models.get_model(
            config.name, weights=None, num_classes=config.num_classes, **config.kwargs
        ).train(training)
        images = torch.randn(batch_size, *config.input_shape)
        targets = torch.randint(config.num_classes, (batch_size,))
        for each in module.modules():
            if isinstance(each, nn.Linear):
                draw_if_zero(each.weight)
    return Workload(config.name, module, (images,), CrossEntropy(targets, config.aux_weight), "images")
