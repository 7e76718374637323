"""Inference: the call in eval mode under `torch.inference_mode()`, or with autograd on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import torch

from microbench import modes
from microbench.config import Config
from microbench.engines import Program
from microbench.measure.experiment import Experiment, Mark, Marker, Step
from microbench.modes import Trial, is_finite_answer


class Mode(modes.Mode):
    """One phase, `inference`; a sample may be several calls."""

    @contextmanager
    def experiment(self, program: Program, config: Config) -> Iterator[Trial]:
        """Return the phase, under inference_mode; with mode.grad=true, autograd keeps what it would need."""
        with torch.enable_grad() if config.mode.grad else torch.inference_mode():
            yield Trial(
                Experiment(
                    step_of_calls(program.call),
                    {"inference": (0, 1)},
                    main=("inference",),
                    whole="inference",
                    of_layers=("inference",),
                    mergeable=True,
                ),
                finite=lambda: is_finite_answer(program.answer(self.answer)),
            )


def step_of_calls(call: Callable[[], Any]) -> Step:
    """Return a step of several calls, timed together."""

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

    return step
