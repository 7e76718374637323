"""The optimizers of torch.optim that the C++ API has, and their options there."""

from __future__ import annotations

from typing import Any

import torch

from microbench.config import OptimizerConfig
from microbench.errors import SkippedError
from microbench.workloads.optimizer import make_optimizer

OPTIONS = {
    "SGD": ("lr", "momentum", "dampening", "weight_decay", "nesterov"),
    "Adam": ("lr", "betas", "eps", "weight_decay", "amsgrad"),
    "AdamW": ("lr", "betas", "eps", "weight_decay", "amsgrad"),
    "RMSprop": ("lr", "alpha", "eps", "weight_decay", "momentum", "centered"),
    "Adagrad": ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
}
"""For each class, the options that its C++ counterpart has."""


def options_of(config: OptimizerConfig) -> dict[str, Any]:
    """Return all options of an optimizer by their C++ names, with torch.optim's defaults.

    Raises:
        UserError: torch.optim does not have the optimizer, or not with these arguments.
        SkippedError: the C++ API does not have it, or one of its options.
    """
    parameters = [torch.zeros(1, requires_grad=True)]
    given = make_optimizer(config, parameters).defaults
    if config.cls not in OPTIONS:
        raise SkippedError(
            f"engine=libtorch cannot train with optimizer.cls={config.cls}: the C++ API has "
            f"{', '.join(OPTIONS)}"
        )
    usual = getattr(torch.optim, config.cls)(parameters).defaults
    for name, value in given.items():
        if name not in OPTIONS[config.cls] and value not in (usual[name], False):
            raise SkippedError(
                f"engine=libtorch cannot train with optimizer.kwargs.{name}={value}: the C++ API's "
                f"{config.cls} has {', '.join(OPTIONS[config.cls])}"
            )
    options = {name: given[name] for name in OPTIONS[config.cls]}
    if betas := options.pop("betas", None):
        options["beta1"], options["beta2"] = betas
    return options
