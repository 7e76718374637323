"""Training: forward, loss, backward, update, and the total from the first's start to the last's end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch._dynamo  # the first optimizer imports it (1.3 s): here the server does so, once for all
from torch import Tensor

from microbench import devices, modes
from microbench.config import Config, OptimizerConfig
from microbench.devices import Device
from microbench.engines import Answer, Program
from microbench.errors import SkippedError
from microbench.measure.experiment import Experiment, Mark, Marker, Step
from microbench.modes import Trial, is_finite_answer
from microbench.watch.tensors import tensors
from microbench.workloads import Objective
from microbench.workloads.optimizer import capturable_options, make_optimizer

Update = tuple[Callable[[], Any], Callable[[], None]]
"""The update phase's two calls, which the step makes directly, like a hand-written loop."""

SCALE = 1024.0
"""The scale of a compared step's loss: without it, float16 gradients would vanish."""


class Mode(modes.Mode):
    """The phases of a training step."""

    TRAINING = True

    @contextmanager
    def experiment(self, program: Program, config: Config) -> Iterator[Trial]:
        """Return forward, loss, backward, update and total.

        `loss` is a phase if the objective is a loss (models, not layers), `update` if there are parameters;
        without them `total` ends with the backward pass. The loss is scaled under autocast to float16.
        """
        objective = program.workload.objective
        names = ["forward", "loss", "backward", "update"]
        if not objective.is_loss:
            names.remove("loss")
        if not program.parameters:
            names.remove("update")
        phases = {name: (index, index + 1) for index, name in enumerate(names)} | {"total": (0, len(names))}
        step, is_graph, capture = make_step(program, config), config.device.cuda_graph, 0.0
        with torch.enable_grad():
            if is_graph:
                start = time.perf_counter_ns()
                step = step_of_graph(step, devices.find(config.device.name))
                capture = (time.perf_counter_ns() - start) * 1e-9
            experiment = Experiment(
                step,
                phases,
                main=("forward", "backward", "total"),
                whole="total",
                of_layers=("forward", "backward"),
                reuses_marks=is_graph,
            )
            finite = lambda: is_finite_answer(program.answer(forward_answer))  # noqa: E731
            yield Trial(experiment, finite, capture=capture)

    def answer(self, program: Program) -> Answer:
        """Compute a step's loss, or a layer's outputs, and the gradients, which are then dropped."""
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
    """Return the step of a model or of a layer, with its optimizer.

    Raises:
        UserError: torch.optim has no such optimizer.
        SkippedError: a graph of the step is asked for, but the step waits for the device.
    """
    if config.device.cuda_graph:
        config = capturable(config)
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
    """Return whether the loss is scaled: the range of float16 is too small for typical gradients."""
    return config.precision.autocast == "float16"


def capturable(config: Config) -> Config:
    """Return the case with an optimizer that does not read the device's numbers on the host.

    Raises:
        SkippedError: there is none.
    """
    if is_scaled(config):
        raise SkippedError(
            f"precision={config.precision.name} scales the loss, and each step waits to learn whether that "
            "was too much, which a CUDA graph cannot: use precision=amp_bf16, or leave out device.cuda_graph"
        )
    options = capturable_options(config.optimizer)
    return replace(config, optimizer=replace(config.optimizer, kwargs=config.optimizer.kwargs | options))


def step_of_graph(step: Step, device: Device) -> Step:
    """Capture a step, and return one that launches it as a whole.

    Its marks are the graph's own, which it sets again each time, and one behind them, by which a clock knows
    that all have been passed.
    """
    replay = device.captured(lambda within: step(within, 1))

    def replayed(mark: Marker, calls: int) -> tuple[Mark, ...]:
        return *replay(), mark()

    return replayed


class Scaled:
    """An objective whose loss is scaled before the backward pass."""

    def __init__(self, objective: Objective, scaler: torch.amp.GradScaler) -> None:
        self._objective, self._scaler = objective, scaler
        self.is_loss = objective.is_loss

    def __call__(self, output: Any) -> Any:
        """Return the loss."""
        return self._objective(output)

    def backward(self, root: Any) -> None:
        """Backpropagate from the scaled loss."""
        self._objective.backward(self._scaler.scale(root))


def forward_answer(program: Program) -> Answer:
    """Return a forward pass's outputs, and the loss."""
    output = program.outputs(program.call())
    return Answer((*tensors(output), *tensors(program.workload.objective(output))))


def step_with_loss(call: Callable[[], Any], objective: Objective, update: Update) -> Step:
    """Return a model's step: forward, loss, backward, update.

    The output and the loss outlive the step, as in a hand-written loop: the next step replaces them, and so
    frees them.
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
    """Return a layer's step: forward, backward directly from the output, update. The output outlives it."""
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
    """Return the calls that end a step: the optimizer's step, with unscaled gradients, and their release.

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
