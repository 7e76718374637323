"""WHICH phases are timed: one module a mode, with a class `Mode` that owns all that is particular to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from microbench.workloads import Workload


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


class Mode:
    """A mode: its phases, and what else is particular to it. The defaults are those of plain inference.

    Nothing outside asks which mode it is: the worker asks what is below, and what tables and analysis need
    to know of a phase stands in the record (`Series.role`, `Series.of_layers`).

    Attributes:
        TRAINING: what it measures needs gradients, and its answer is that of a training step.
    """

    TRAINING = False

    def trains(self, config: Config) -> bool:
        """Say whether a case of this mode needs gradients."""
        return self.TRAINING

    def check(self, config: Config) -> None:
        """Refuse what this mode cannot do, before anything is built.

        Raises:
            SkippedError: it does not go with the case.
        """

    def experiment(self, program: Program, config: Config) -> AbstractContextManager[Trial]:
        """Return the phases to time, as long as the context lasts."""
        raise NotImplementedError

    def answer(self, program: Program) -> Answer:
        """Compute one call, or one step, untimed; nothing is updated."""
        with torch.inference_mode():
            return Answer(tuple(tensors(program.outputs(program.call()))))

    def dry_run(self, workload: Workload, config: Config, fill: Callable[[], object]) -> tuple[Call, ...]:
        """Return what the calls of a workload are and cost, without executing them (`timing=false`).

        Args:
            workload: in its precision and layout; its weights have no values yet.
            config: the case.
            fill: gives the weights their values, where the workload asks for them.
        """
        raise NotImplementedError

    def write_trace(self, program: Program, device: Device, path: Path) -> None:
        """Write a trace of one call, for Perfetto or chrome://tracing.

        Raises:
            OSError: it cannot be written.
        """
        raise NotImplementedError


def find(name: str) -> Mode:
    """Return the mode of that name.

    Raises:
        UserError: there is none.
    """
    mode: Mode = registry.find("modes", name).Mode()
    return mode


def is_finite(output: Any) -> bool:
    """Whether no tensor in an output, however nested, holds a NaN or an infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors(output))


def is_finite_answer(answer: Answer) -> bool:
    """Whether nothing of an answer is a NaN or an infinity."""
    return is_finite((*answer.outputs, *answer.gradients))
