"""The optimizer of a training step."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from microbench.config import OptimizerConfig
from microbench.errors import UserError, first_line, unknown


def make_optimizer(config: OptimizerConfig, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Make the optimizer that a configuration names.

    Raises:
        UserError: torch.optim has no such class, or it does not take these arguments.
    """
    known = [name for name, each in vars(torch.optim).items() if inspect.isclass(each)]
    if config.cls not in known:
        raise unknown("optimizer.cls", config.cls, known)
    try:
        optimizer: torch.optim.Optimizer = getattr(torch.optim, config.cls)(
            parameters, lr=config.lr, **config.kwargs
        )
    except (TypeError, ValueError) as error:
        given = f"optimizer.lr={config.lr} optimizer.kwargs={config.kwargs}"
        raise UserError(f"{config.cls} does not take {given}: {first_line(error)}") from error
    return optimizer
