"""The optimizer of a training step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from microbench.config import OptimizerConfig
from microbench.errors import SkippedError, UserError, first_line, unknown


def make_optimizer(config: OptimizerConfig, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Make the optimizer that a configuration names.

    Raises:
        UserError: torch.optim has no such class, or it does not take these arguments.
    """
    try:
        optimizer: torch.optim.Optimizer = _class_of(config)(parameters, lr=config.lr, **config.kwargs)
    except (TypeError, ValueError) as error:
        given = f"optimizer.lr={config.lr} optimizer.kwargs={config.kwargs}"
        raise UserError(f"{config.cls} does not take {given}: {first_line(error)}") from error
    return optimizer


def _class_of(config: OptimizerConfig) -> Callable[..., torch.optim.Optimizer]:
    known = [name for name, each in vars(torch.optim).items() if inspect.isclass(each)]
    if config.cls not in known:
        raise unknown("optimizer.cls", config.cls, known)
    found: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, config.cls)
    return found


def capturable_options(config: OptimizerConfig) -> dict[str, Any]:
    """Return the arguments with which an optimizer's step can be part of a CUDA graph.

    Plain SGD needs none: it keeps no count of its steps.

    Raises:
        UserError: torch.optim has no such class.
        SkippedError: its step cannot be part of one.
    """
    if "capturable" in inspect.signature(_class_of(config)).parameters:
        return {"capturable": True}
    if config.cls == "SGD":
        return {}
    raise SkippedError(
        f"torch.optim.{config.cls} cannot be part of a CUDA graph (it has no `capturable`): use another "
        "optimizer, or leave out device.cuda_graph"
    )
