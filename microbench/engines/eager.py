"""PyTorch's eager mode: the module as it is."""

from __future__ import annotations

from functools import partial

from microbench.engines import Program
from microbench.workloads import Workload


def prepare(workload: Workload, training: bool) -> Program:
    """Call the module on its inputs, in train or eval mode."""
    module = workload.module.train(training)
    return Program(partial(module, *workload.inputs), list(module.parameters()))
