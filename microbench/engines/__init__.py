"""HOW it is executed: one module an engine, each with `prepare(workload, training) -> Program`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from microbench import registry
from microbench.workloads import Workload


@dataclass(frozen=True)
class Program:
    """A workload made ready to run.

    Attributes:
        call: computes the output for the workload's inputs.
        parameters: what an optimizer updates.
    """

    call: Callable[[], Any]
    parameters: Sequence[Tensor]


def prepare(name: str, workload: Workload, training: bool) -> Program:
    """Make a workload ready to run by the engine of that name; for training, or in eval mode."""
    make: Callable[[Workload, bool], Program] = registry.find("engines", name).prepare
    return make(workload, training)
