"""Training: forward, loss, backward, update, and the total from the start of the first to the last's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch._dynamo  # torch imports it with the first optimizer (1.3 s): here the server does, once for all
from torch import Tensor

from microbench.config import OptimizerConfig
from microbench.engines import Program
from microbench.measure.experiment import Experiment, Mark, Marker
from microbench.modes import Trial, is_finite
from microbench.workloads import Workload

TRAINING = True


@contextmanager
def experiment(workload: Workload, program: Program, optimizer: OptimizerConfig) -> Iterator[Trial]:
    """The phases of a training step.

    `loss` is a phase where the objective is one (models, not layers), `update` where there are parameters;
    without them `total` ends with the backward pass.
    """
    call, objective = program.call, workload.objective
    backward = objective.backward
    inputs = [tensor for tensor in workload.inputs if tensor.requires_grad]
    update = make_update(optimizer, program.parameters, inputs)

    def step(mark: Marker, calls: int) -> tuple[Mark, ...]:
        start = mark()
        output = call()
        forward_end = mark()
        root = objective(output)
        loss_end = mark()
        backward(root)
        backward_end = mark()
        update()
        return start, forward_end, loss_end, backward_end, mark()

    def finite() -> bool:
        output = call()
        return is_finite(output) and is_finite(objective(output))

    phases = {"forward": (0, 1), "loss": (1, 2), "backward": (2, 3), "update": (3, 4), "total": (0, 4)}
    if not objective.is_loss:
        del phases["loss"]
    if not program.parameters:
        del phases["update"]
        phases["total"] = (0, 3)
    with torch.enable_grad():
        yield Trial(Experiment(step, phases, main=("forward", "backward", "total"), whole="total"), finite)


def make_update(
    config: OptimizerConfig, parameters: Sequence[Tensor], inputs: Sequence[Tensor]
) -> Callable[[], None]:
    """What ends a step: the optimizer's step, and every gradient dropped, the inputs' too."""

    def drop_input_gradients() -> None:
        for tensor in inputs:
            tensor.grad = None

    if not parameters:
        return drop_input_gradients
    optimizer = getattr(torch.optim, config.cls)(parameters, lr=config.lr, **config.kwargs)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if inputs:
            drop_input_gradients()

    return update
