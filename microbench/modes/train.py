"""Training: forward, loss, backward, update, and the total from the start of the first to the last's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch._dynamo  # torch imports it with the first optimizer (1.3 s): here the server does, once for all
from torch import Tensor

from microbench import modes
from microbench.config import Config, OptimizerConfig
from microbench.engines import Answer, Program
from microbench.measure.experiment import Experiment, Mark, Marker, Step
from microbench.modes import Trial, is_finite_answer
from microbench.watch.tensors import tensors
from microbench.workloads import Objective
from microbench.workloads.optimizer import make_optimizer

Update = tuple[Callable[[], Any], Callable[[], None]]
"""The update phase's two calls, made straight from the step as in a loop written by hand."""

SCALE = 1024.0
"""Of the loss of a step that is compared: float16 gradients of an unscaled one would vanish."""


class Mode(modes.Mode):
    """The phases of a training step."""

    TRAINING = True

    @contextmanager
    def experiment(self, program: Program, config: Config) -> Iterator[Trial]:
        """Return forward, loss, backward, update and total.

        `loss` is a phase where the objective is one (models, not layers), `update` where there are
        parameters; without them `total` ends with the backward pass. A loss under autocast to float16 is
        scaled.
        """
        objective = program.workload.objective
        names = ["forward", "loss", "backward", "update"]
        if not objective.is_loss:
            names.remove("loss")
        if not program.parameters:
            names.remove("update")
        phases = {name: (index, index + 1) for index, name in enumerate(names)} | {"total": (0, len(names))}
        experiment = Experiment(
            make_step(program, config),
            phases,
            main=("forward", "backward", "total"),
            whole="total",
            of_layers=("forward", "backward"),
        )
        with torch.enable_grad():
            yield Trial(experiment, lambda: is_finite_answer(program.answer(forward_answer)))

    def answer(self, program: Program) -> Answer:
        """Compute the loss of a step, or a layer's outputs, and the gradients; they are dropped again."""
        objective = program.workload.objective
        with torch.enable_grad():
            root = objective(program.outputs(program.call()))
            objective.backward(root * SCALE if objective.is_loss else root)
        scale = SCALE if objective.is_loss else 1.0
        wanted = [*program.parameters, *(each for each in program.workload.inputs if each.requires_grad)]
        gradients = tuple(
            torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.to_dense() / scale
            for tensor in wanted
        )
        for tensor in wanted:
            tensor.grad = None
        return Answer(tuple(tensor.detach().clone() for tensor in tensors(root)), gradients)


def make_step(program: Program, config: Config) -> Step:
    """The step of a model or of a layer, with its optimizer.

    Raises:
        UserError: torch.optim does not have the optimizer.
    """
    objective = program.workload.objective
    inputs = [tensor for tensor in program.workload.inputs if tensor.requires_grad]
    if not objective.is_loss:
        return step_of_layer(
            program.call, objective, make_update(config.optimizer, program.parameters, inputs)
        )
    if not is_scaled(config):
        return step_with_loss(
            program.call, objective, make_update(config.optimizer, program.parameters, inputs)
        )
    scaler = torch.amp.GradScaler(program.workload.device_type)
    update = make_update(config.optimizer, program.parameters, inputs, scaler)
    return step_with_loss(program.call, Scaled(objective, scaler), update)


def is_scaled(config: Config) -> bool:
    """Whether the loss is scaled: float16 has too few exponents for the gradients of a usual one."""
    return config.precision.autocast == "float16"


class Scaled:
    """An objective whose loss is scaled before the backward pass."""

    def __init__(self, objective: Objective, scaler: torch.amp.GradScaler) -> None:
        self._objective, self._scaler = objective, scaler
        self.is_loss = objective.is_loss

    def __call__(self, output: Any) -> Any:
        """The loss."""
        return self._objective(output)

    def backward(self, root: Any) -> None:
        """Backpropagate from the scaled loss."""
        self._objective.backward(self._scaler.scale(root))


def forward_answer(program: Program) -> Answer:
    """The outputs of a forward pass, and the loss."""
    output = program.outputs(program.call())
    return Answer((*tensors(output), *tensors(program.workload.objective(output))))


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


def make_update(
    config: OptimizerConfig,
    parameters: Sequence[Tensor],
    inputs: Sequence[Tensor],
    scaler: torch.amp.GradScaler | None = None,
) -> Update:
    """What ends a step: the optimizer's step, with its gradients unscaled, and every gradient dropped.

    The inputs' gradients are dropped too.
    """

    def drop_input_gradients() -> None:
        for tensor in inputs:
            tensor.grad = None

    if not parameters:
        return drop_input_gradients, drop_input_gradients
    optimizer = make_optimizer(config, parameters)

    def drop_all_gradients() -> None:
        optimizer.zero_grad()
        drop_input_gradients()

    def advance_scaled() -> None:
        assert scaler is not None
        scaler.step(optimizer)
        scaler.update()

    advance = optimizer.step if scaler is None else advance_scaled
    return advance, drop_all_gradients if inputs else optimizer.zero_grad
