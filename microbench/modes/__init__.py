"""WHICH phases are timed: one module a mode.

Each has `TRAINING`, whether it needs gradients, and `experiment(workload, program, optimizer)`, a context
manager that gives the experiment to sample and, once it is sampled, says whether its results are finite.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from microbench import registry
from microbench.config import OptimizerConfig
from microbench.engines import Program
from microbench.measure.experiment import Experiment
from microbench.workloads import Workload, tensors


@dataclass(frozen=True)
class Trial:
    """An experiment, and a check of what it computes.

    Attributes:
        experiment: what to sample.
        finite: computes once more, untimed, and says whether every output and loss is finite.
    """

    experiment: Experiment
    finite: Callable[[], bool]


class Mode(Protocol):
    """What a module of this room offers."""

    TRAINING: bool

    def experiment(
        self, workload: Workload, program: Program, optimizer: OptimizerConfig
    ) -> AbstractContextManager[Trial]:
        """The phases to time, as long as the context lasts."""
        ...


def find(name: str) -> Mode:
    """The mode of that name."""
    mode: Mode = registry.find("modes", name)
    return mode


def is_finite(output: Any) -> bool:
    """Whether no tensor in an output, however nested, holds a NaN or an infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors(output))
