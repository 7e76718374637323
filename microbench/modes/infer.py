"""Inference: the call in eval mode under `torch.inference_mode()`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

import torch

from microbench.config import OptimizerConfig
from microbench.engines import Program
from microbench.measure.experiment import Experiment, Mark, Marker
from microbench.modes import Trial, is_finite
from microbench.workloads import Workload

TRAINING = False


@contextmanager
def experiment(workload: Workload, program: Program, optimizer: OptimizerConfig) -> Iterator[Trial]:
    """One phase, `inference`; calls may be merged into a sample."""
    call = program.call

    def step(mark: Marker, calls: int) -> tuple[Mark, Mark]:
        if calls == 1:
            start = mark()
            call()
            return start, mark()
        each = repeat(None, calls)
        start = mark()
        for _ in each:
            call()
        return start, mark()

    with torch.inference_mode():
        yield Trial(
            Experiment(step, {"inference": (0, 1)}, main=("inference",), whole="inference", mergeable=True),
            finite=lambda: is_finite(call()),
        )
