"""Classifiers of images or clips: cross entropy of random classes."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import models

from microbench.config import ModelConfig
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.workload import Workload, switch_on

SIZED = {"vit_": "image_size", "maxvit_": "input_size"}
"""The argument for the images' size of models that take one size only, by the beginning of their names."""


IMAGES = 4  # dimensions of a batch of images


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a classifier with standard normal images or clips of (batch, *input_shape)."""
    with device:
        module = models.get_model(
            config.name, weights=None, num_classes=config.num_classes, **size_of(config), **config.kwargs
        ).train(training)
        inputs = torch.randn(batch_size, *config.input_shape)
        targets = torch.randint(config.num_classes, (batch_size,))
        switch_on(module)
        if not training:
            calibrate(module, [torch.randn(EXAMPLES, *config.input_shape)])
    item = "images" if inputs.dim() == IMAGES else "clips"
    return Workload(config.name, module, (inputs,), CrossEntropy(targets, config.aux_weight), item)


def size_of(config: ModelConfig) -> dict[str, Any]:
    """Return the argument that tells a model of one size the images' size, unless it is given."""
    height, width = config.input_shape[-2:]
    sizes = {"image_size": height, "input_size": (height, width)}
    names = (name for start, name in SIZED.items() if config.name.startswith(start))
    return {name: sizes[name] for name in names if name not in config.kwargs}
