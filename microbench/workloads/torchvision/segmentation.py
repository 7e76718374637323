"""Segmentation of images: cross entropy of every pixel."""

from __future__ import annotations

import inspect

import torch
from torchvision import models

from microbench.config import ModelConfig
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.workload import Workload


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a segmentation model with standard normal images of (batch, *input_shape), each pixel of a class.

    It has its auxiliary classifier, if there is one, as in torchvision's reference training.
    """
    builder = models.get_model_builder(config.name)
    auxiliary = {"aux_loss": True} if "aux_loss" in inspect.signature(builder).parameters else {}
    arguments = {"weights": None, "weights_backbone": None, **auxiliary, **config.kwargs}
    with device:
        module = builder(num_classes=config.num_classes, **arguments).train(training)
        images = torch.randn(batch_size, *config.input_shape)
        targets = torch.randint(config.num_classes, (batch_size, *config.input_shape[1:]))
        if not training:
            calibrate(module, [torch.randn(EXAMPLES, *config.input_shape)])
    return Workload(config.name, module, (images,), CrossEntropy(targets, config.aux_weight), "images")
