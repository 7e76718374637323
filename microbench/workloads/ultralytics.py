"""Detectors of ultralytics, from their YAML files, with random weights. Its licence is AGPL-3.0."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microbench.config import ModelConfig
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.library import imported
from microbench.workloads.objectives import Loss
from microbench.workloads.unused import refuse, refuse_those_of_layers
from microbench.workloads.workload import BOXES, Workload

QUIETLY = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
"""Variables that ultralytics reads when it is imported: no network, no installation, no log."""


class DetectionLoss(Loss):
    """The loss of ultralytics' trainer: boxes, classes and their distribution, summed.

    Args:
        criterion: ultralytics' own, made of the model.
        targets: boxes with their classes, and with the image that each is in.
    """

    def __init__(self, criterion: Any, targets: Mapping[str, Tensor]) -> None:
        self._criterion, self._targets = criterion, targets

    def __call__(self, output: Any) -> Tensor:
        """Return the loss, a scalar."""
        losses, _ = self._criterion(output, self._targets)
        return losses.sum()  # type: ignore[no-any-return]


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a detector with standard normal images of (batch, *input_shape), and boxes drawn at random.

    Raises:
        SkippedError: ultralytics is not installed.
        UserError: an option has no effect on it.
    """
    refuse_those_of_layers(config)
    refuse(config, "kwargs", why="has no effect: ultralytics builds its models from YAML files")
    with _alone():
        imported("ultralytics", config.name, "yolo", licence="AGPL-3.0")
        tasks, losses, options = map(
            import_module, ("ultralytics.nn.tasks", "ultralytics.utils.loss", "ultralytics.cfg")
        )
        import_module("ultralytics.utils").SETTINGS["sync"] = False
    classes = config.num_classes
    module = tasks.DetectionModel(f"{config.name}.yaml", config.input_shape[0], classes, verbose=False)
    module.args = options.get_cfg()
    module.to(device).train(training)
    with device:
        images = torch.randn(batch_size, *config.input_shape)
        targets = _targets(batch_size, classes)
        if not training:
            calibrate(module, [torch.randn(EXAMPLES, *config.input_shape)])
            _place_anchors(module, images)
    objective = DetectionLoss(losses.v8DetectionLoss(module), targets)
    return Workload(config.name, module, (images,), objective, "images")


@torch.no_grad()
def _place_anchors(module: nn.Module, images: Tensor) -> None:
    """Call the model once: it keeps the places of its anchors, which graphs then have as constants."""
    module(images)


def _targets(batch_size: int, classes: int) -> dict[str, Tensor]:
    """Return boxes of (centre, size) relative to the image, all of which lie within it."""
    count = batch_size * BOXES
    centres, sizes = torch.rand(count, 2) / 2 + 0.25, torch.rand(count, 2) * 0.4 + 0.05
    return {
        "batch_idx": torch.arange(batch_size).repeat_interleave(BOXES).float(),
        "cls": torch.randint(classes, (count, 1)).float(),
        "bboxes": torch.cat([centres, sizes], 1),
    }


@contextmanager
def _alone() -> Iterator[None]:
    """Import ultralytics offline, with its settings in a folder that is then removed.

    It also sets variables that others read, such as OMP_NUM_THREADS, and how numpy prints: both are restored.
    """
    before = dict(os.environ)
    with TemporaryDirectory() as folder, np.printoptions():
        os.environ.update(QUIETLY, YOLO_CONFIG_DIR=folder)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
