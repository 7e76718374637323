"""Isolated layers: any module of torch.nn, or any function of tensors, on random inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn

from microbench.config import ModelConfig
from microbench.errors import UserError, first_line, unknown
from microbench.workloads.arranged import Applied
from microbench.workloads.inputs import draw
from microbench.workloads.objectives import OnesGradient
from microbench.workloads.workload import Workload


def locate(name: str) -> Callable[..., Any]:
    """Return the class, function or method of a dotted name; a name without dots is looked up in torch.nn.

    Raises:
        UserError: there is none; the message gives the nearest names.
    """
    path, _, last = name.rpartition(".")
    path = path or "torch.nn"
    try:
        owner = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"model.cls={name}: cannot import {path!r} ({first_line(error)}).") from error
    found = getattr(owner, last, None)
    if not callable(found):
        prefix = name.removesuffix(last)
        known = [prefix + each for each in dir(owner) if callable(getattr(owner, each, None))]
        raise unknown("model.cls", name, known)
    return found  # type: ignore[no-any-return]


def _module(config: ModelConfig) -> nn.Module:
    target = locate(config.cls or "")
    if not (inspect.isclass(target) and issubclass(target, nn.Module)):
        return Applied(target, config.args, config.kwargs | config.call_kwargs)
    module = target(*config.args, **config.kwargs)
    return Applied(module, (), config.call_kwargs) if config.call_kwargs else module


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build a layer with standard normal inputs of (batch, *input_shape), or uniform indices.

    Raises:
        UserError: no such class, arguments it does not take, or nothing to differentiate in training.
    """
    with device:
        try:
            module = _module(config).train(training)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{config.cls} does not take model.args={config.args} model.kwargs={config.kwargs}: "
                f"{first_line(error)}"
            ) from error
        inputs, _ = draw(config, module, batch_size, training)
    return Workload(config.name, module, tuple(inputs), OnesGradient())
