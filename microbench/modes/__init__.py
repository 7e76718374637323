"""WHICH phases are timed: one module a mode.

Each has `TRAINING`, whether it needs gradients; `experiment(program, config)`, a context manager that gives
the experiment to sample and, once it is sampled, says what it found; and `answer(program)`, what a call or a
step computes. One that does not go with every engine has `check(config)`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from microbench import registry
from microbench.config import Config
from microbench.devices import Device
from microbench.engines import Answer, Program
from microbench.measure.experiment import Experiment
from microbench.measure.sampler import Sampled
from microbench.records.peaks import Peaks
from microbench.records.record import Call
from microbench.watch.tensors import tensors


@dataclass(frozen=True)
class Trial:
    """An experiment, and a check of what it computes.

    Attributes:
        experiment: what to sample.
        finite: computes once more, untimed, and says whether every output and loss is finite.
        findings: what the samples say beyond the phases' times, and in the case's first round what is the
            same in all; None where there is nothing more.
    """

    experiment: Experiment
    finite: Callable[[], bool]
    findings: Callable[[Sampled, Device, bool], Findings] | None = None


@dataclass(frozen=True)
class Findings:
    """What a mode finds besides the times of its phases.

    Attributes:
        calls: what a module's calls are and take.
        joules: measured energy of a call; None where it is not known.
        peaks: what the machine reaches at best; None where it was not asked.
    """

    calls: tuple[Call, ...] = ()
    joules: float | None = None
    peaks: Peaks | None = None


class Mode(Protocol):
    """What a module of this room offers."""

    TRAINING: bool

    def experiment(self, program: Program, config: Config) -> AbstractContextManager[Trial]:
        """The phases to time, as long as the context lasts."""
        ...

    def answer(self, program: Program) -> Answer:
        """What one call, or one step, computes; untimed, and nothing is updated."""
        ...


def check(config: Config) -> None:
    """Refuse what a mode cannot do, before anything is built.

    Raises:
        SkippedError: the mode does not go with the case's engine.
    """
    refuse = getattr(find(config.mode.name), "check", None)
    if refuse is not None:
        refuse(config)


def find(name: str) -> Mode:
    """The mode of that name."""
    mode: Mode = registry.find("modes", name)
    return mode


def answer_of_call(program: Program) -> Answer:
    """What a call of a program puts out, in inference."""
    with torch.inference_mode():
        return Answer(tuple(tensors(program.outputs(program.call()))))


def is_finite(output: Any) -> bool:
    """Whether no tensor in an output, however nested, holds a NaN or an infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors(output))


def is_finite_answer(answer: Answer) -> bool:
    """Whether nothing of an answer is a NaN or an infinity."""
    return is_finite((*answer.outputs, *answer.gradients))
