"""WHAT is computed: a module, its example inputs and its objective; one Python module per source."""

from __future__ import annotations

import torch

from microbench.config import ModelConfig
from microbench.workloads import parts
from microbench.workloads.objectives import Objective
from microbench.workloads.workload import Workload, draw_if_zero

__all__ = ["Objective", "Workload", "build", "draw_if_zero"]


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool, seed: int) -> Workload:
    """Build a workload with random weights and inputs, drawn from `seed`.

    If the configuration names a part of a model, that part is the workload.

    Raises:
        UserError: the configuration describes no workload.
    """
    torch.manual_seed(seed)
    if config.part is not None:
        return parts.build(config, batch_size, device, training, seed)
    return parts.whole(config, batch_size, device, training)
