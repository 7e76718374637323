"""Detectors: lists of images, in training with boxes, labels, masks and keypoints; their own losses, summed.

Random weights do the usual work. In inference the scores are spread as those of a trained detector are, so
that many boxes pass the threshold and a fixed number is left: all that `detections_per_img` allows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from microbench.config import ModelConfig
from microbench.watch.tensors import tensors
from microbench.workloads import objectives
from microbench.workloads.arranged import arranged
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.workload import BOXES, Workload

SIDES = (0.2, 0.5)
"""The shortest and the longest side of these boxes, as shares of the image's."""

KEYPOINTS = 17
"""Of a person in COCO."""

SPREAD = {"softmax": 3.0, "sigmoid": 1.0}
"""Standard deviation of a class's logits over the boxes, by the function that makes them scores. With softmax
about two classes of a box pass R-CNN's threshold of 0.05."""


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a detector with `batch_size` images of `input_shape`, uniform in [0, 1].

    It takes images as large as they are; SSDs scale them to the size in their names.
    """
    sizes = {"min_size": min(config.input_shape[1:]), "max_size": max(config.input_shape[1:])}
    scaled = {} if config.name.startswith("ssd") else sizes
    arguments = {"weights": None, "weights_backbone": None, **scaled, **config.kwargs}
    with device:
        detector = models.get_model(config.name, num_classes=config.num_classes, **arguments).train(training)
        images = [torch.rand(config.input_shape) for _ in range(batch_size)]
        targets = [target(config) for _ in range(batch_size if training else 0)]
        module, inputs = arranged(detector, (images, targets) if training else (images,), {})
        if not training:
            examples = [torch.rand(config.input_shape) for _ in range(EXAMPLES)]
            calibrate(detector, [examples], deviations_of(detector))
    objective = objectives.find("own_loss", seed=0)  # which draws nothing
    return Workload(config.name, module, tuple(inputs), objective, "images", batch_size, comparable)


def target(config: ModelConfig) -> dict[str, Tensor]:
    """Draw what is to be found in one image: boxes within it, their labels, and masks or keypoints."""
    _, height, width = config.input_shape
    image = torch.tensor([width, height])
    low, high = SIDES
    sides = image * (low + (high - low) * torch.rand(BOXES, 2))
    corners = (image - sides) * torch.rand(BOXES, 2)
    found = {
        "boxes": torch.cat([corners, corners + sides], 1),
        "labels": torch.randint(1, config.num_classes, (BOXES,)),
    }
    if config.name.startswith("maskrcnn"):
        found["masks"] = torch.randint(2, (BOXES, height, width), dtype=torch.uint8)
    if config.name.startswith("keypointrcnn"):
        places = corners[:, None] + sides[:, None] * torch.rand(BOXES, KEYPOINTS, 2)
        found["keypoints"] = torch.cat([places, torch.ones(BOXES, KEYPOINTS, 1)], 2)
    return found


def deviations_of(detector: nn.Module) -> dict[nn.Module, float]:
    """Return the layers that compute a detector's classes, each with the deviation of its logits."""
    is_softmax = isinstance(detector, (models.detection.FasterRCNN, models.detection.ssd.SSD))
    spread = SPREAD["softmax" if is_softmax else "sigmoid"]
    layers = (each for name, each in detector.named_modules() if is_scoring(name))
    return {
        each: spread
        for layer in layers
        for each in layer.modules()
        if isinstance(each, (nn.Linear, nn.Conv2d)) and each.bias is not None
    }


def is_scoring(name: str) -> bool:
    """Return whether a module of that name computes the scores of classes."""
    is_of_anchors = name.endswith(".cls_logits") and not name.startswith("rpn.")
    return is_of_anchors or name.endswith(".cls_score") or "classification_head.module_list." in name


def comparable(output: Any) -> list[Tensor]:
    """Return of detections what does not depend on their order, which rounding may change.

    That is each column of boxes, scores and keypoints in ascending order, and the mean of each mask likewise.
    """
    numbers = (each for each in tensors(output) if each.is_floating_point())
    return [(each.mean((1, 2, 3)) if each.dim() == 4 else each).sort(0).values for each in numbers]
