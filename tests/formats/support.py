"""Helpers of the tests of formats."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from microbench import engines
from microbench.config import Config
from microbench.engines import Job, Program
from microbench.options.compose import from_options
from microbench.workloads import Objective, Workload
from microbench.workloads.objectives import OnesGradient


class SumOfSquares:
    """A loss of one output."""

    is_loss = True

    def __call__(self, output: Tensor) -> Tensor:
        return output.square().sum()

    def backward(self, root: Tensor) -> None:
        torch.autograd.backward(root)


@cache
def config(**options: Any) -> Config:
    """Return a case's configuration, on the CPU in one thread."""
    (case,) = from_options({"model": "dense", "device": "cpu", "threads": 1, **options}, sweep=False)
    return case.config


def prepared(
    module: nn.Module,
    *inputs: Tensor,
    training: bool = False,
    objective: Objective | None = None,
    **options: Any,
) -> Program:
    """Return a module's program by engine=eager."""
    workload = Workload("mine", module.train(training), inputs, objective or OnesGradient())
    return engines.prepare(Job(workload, config(**options), training))


def inferred(program: Program) -> Any:
    """Return a program's outputs in inference, dense."""
    with torch.inference_mode():
        return program.outputs(program.call())
