"""Image models of timm, with random weights."""

from __future__ import annotations

from typing import Any

import torch

from microbench.config import ModelConfig
from microbench.errors import UserError, first_line
from microbench.workloads.calibration import EXAMPLES, calibrate
from microbench.workloads.library import imported, preload
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.unused import refuse_those_of_layers
from microbench.workloads.workload import Workload, switch_on

preload("timm")


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a model of timm with standard normal images of (batch, *input_shape), by default of its own size.

    Raises:
        SkippedError: timm is not installed.
        UserError: the model does not take these arguments, or an option has no effect on it.
    """
    refuse_those_of_layers(config)
    timm = imported("timm", config.name)
    name = config.name.removeprefix("timm/")
    own = timm.models.get_pretrained_cfg(name)
    shape = tuple(config.input_shape or own.input_size)
    kwargs: dict[str, Any] = {"num_classes": config.num_classes, "in_chans": shape[0], **config.kwargs}
    if own.fixed_input_size and shape != tuple(own.input_size):
        kwargs.setdefault("img_size", shape[1:])
    with device:
        try:
            module = timm.create_model(name, pretrained=False, **kwargs).train(training)
        except (TypeError, AssertionError) as error:
            given = f"model.kwargs={config.kwargs} model.input_shape={list(shape)}"
            raise UserError(f"{config.name} does not take {given}: {first_line(error)}") from error
        switch_on(module)
        images = torch.randn(batch_size, *shape)
        targets = torch.randint(config.num_classes, (batch_size,))
        if not training:
            calibrate(module, [torch.randn(EXAMPLES, *shape)])
    return Workload(config.name, module, (images,), CrossEntropy(targets, config.aux_weight), "images")
