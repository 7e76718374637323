"""Classification models of torchvision, with random weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision import models

from microbench.config import ModelConfig
from microbench.workloads.objectives import Loss
from microbench.workloads.workload import Workload, draw_if_zero


class CrossEntropy(Loss):
    """Cross entropy of the logits with random classes, plus a weighted one for each auxiliary output.

    Args:
        targets: class indices, of shape (batch).
        aux_weight: weight of each auxiliary classifier's loss.
    """

    def __init__(self, targets: Tensor, aux_weight: float) -> None:
        self._targets, self._aux_weight = targets, aux_weight

    def __call__(self, output: Tensor | Sequence[Tensor | None]) -> Tensor:
        """Return the loss, a scalar; if there are several outputs, the first is the main one."""
        if isinstance(output, Tensor):
            return cross_entropy(output, self._targets)
        loss, *auxiliary = (cross_entropy(logits, self._targets) for logits in output if logits is not None)
        return loss + self._aux_weight * sum(auxiliary)


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
