"""Training: forward, loss, backward, update, and the total from the start of the first to the last's end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch._dynamo  # torch imports it with the first optimizer (1.3 s): here the server does, once for all
from torch import Tensor

from microbench.config import OptimizerConfig
from microbench.engines import Program
from microbench.errors import UserError, first_line, unknown
from microbench.measure.experiment import Experiment, Mark, Marker, Step
from microbench.modes import Trial, is_finite
from microbench.workloads import Objective, Workload

TRAINING = True

Update = tuple[Callable[[], Any], Callable[[], None]]
"""The update phase's two calls, made straight from the step as in a loop written by hand."""


@contextmanager
def experiment(workload: Workload, program: Program, optimizer: OptimizerConfig) -> Iterator[Trial]:
    """The phases of a training step.

    `loss` is a phase where the objective is one (models, not layers), `update` where there are parameters;
    without them `total` ends with the backward pass.
    """
    call, objective = program.call, workload.objective
    inputs = [tensor for tensor in workload.inputs if tensor.requires_grad]
    update = make_update(optimizer, program.parameters, inputs)
    step = (
        step_with_loss(call, objective, update)
        if objective.is_loss
        else step_of_layer(call, objective, update)
    )
    names = ["forward", "loss", "backward", "update"]
    if not objective.is_loss:
        names.remove("loss")
    if not program.parameters:
        names.remove("update")
    phases = {name: (index, index + 1) for index, name in enumerate(names)} | {"total": (0, len(names))}

    def finite() -> bool:
        output = call()
        return is_finite(output) and is_finite(objective(output))

    with torch.enable_grad():
        yield Trial(Experiment(step, phases, main=("forward", "backward", "total"), whole="total"), finite)


def step_with_loss(call: Callable[[], Any], objective: Objective, update: Update) -> Step:
    """A model's step: forward, loss, backward, update.

    The output and the loss outlive the step, as they do in a loop written by hand: the next forward pass
    replaces, and so frees, them.
    """
    backward, (advance, drop_gradients) = objective.backward, update
    output = loss = None

    def step(mark: Marker, calls: int) -> tuple[Mark, ...]:
        nonlocal output, loss
        start = mark()
        output = call()
        forward_end = mark()
        loss = objective(output)
        loss_end = mark()
        backward(loss)
        backward_end = mark()
        advance()
        drop_gradients()
        return start, forward_end, loss_end, backward_end, mark()

    return step


def step_of_layer(call: Callable[[], Any], objective: Objective, update: Update) -> Step:
    """A layer's step: forward, backward straight from the output, update. The output outlives the step."""
    backward, (advance, drop_gradients) = objective.backward, update
    output = None

    def step(mark: Marker, calls: int) -> tuple[Mark, ...]:
        nonlocal output
        start = mark()
        output = call()
        forward_end = mark()
        backward(output)
        backward_end = mark()
        advance()
        drop_gradients()
        return start, forward_end, backward_end, mark()

    return step


def make_optimizer(config: OptimizerConfig, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimizer that a configuration names.

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


def make_update(config: OptimizerConfig, parameters: Sequence[Tensor], inputs: Sequence[Tensor]) -> Update:
    """What ends a step: the optimizer's step, and every gradient dropped, the inputs' too."""

    def drop_input_gradients() -> None:
        for tensor in inputs:
            tensor.grad = None

    if not parameters:
        return drop_input_gradients, drop_input_gradients
    optimizer = make_optimizer(config, parameters)

    def drop_all_gradients() -> None:
        optimizer.zero_grad()
        drop_input_gradients()

    return optimizer.step, drop_all_gradients if inputs else optimizer.zero_grad
