"""WHICH phases are timed: one module per mode, whose class `Mode` owns all that is specific to it."""

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
from microbench.measure.experiment import Experiment, Step
from microbench.measure.sampler import Sampled
from microbench.records.peaks import Peaks
from microbench.records.record import Call
from microbench.watch.tensors import tensors
from microbench.workloads import Workload


@dataclass(frozen=True)
class Trial:
    """An experiment, and a check of what it computes.

    Attributes:
        experiment: the experiment to sample.
        finite: computes once more, untimed, and returns whether every output and loss is finite.
        plain: does a call without marks within it, whose energy is measured; None if the experiment's step is
            such.
        findings: returns the findings of the samples, and in the case's first round also those that are the
            same in all rounds; None if the mode has none.
        capture: the host's seconds for what the mode prepared itself, a graph: part of the phase `prepare`.
    """

    experiment: Experiment
    finite: Callable[[], bool]
    findings: Callable[[Sampled, Device, bool], Findings] | None = None
    plain: Step | None = None
    capture: float = 0.0


@dataclass(frozen=True)
class Findings:
    """A mode's findings besides the times of its phases.

    Attributes:
        calls: a module's calls with their costs and times.
        joules: measured energy per call; None if unknown.
        peaks: the machine's peaks; None if not measured.
    """

    calls: tuple[Call, ...] = ()
    joules: float | None = None
    peaks: Peaks | None = None


class Mode:
    """A mode: its phases, and all else that is specific to it. The defaults are those of plain inference.

    Nothing outside asks which mode it is: the worker calls the methods below, and the record has what tables
    and analysis need to know about a phase (`Series.role`, `Series.of_layers`).

    Attributes:
        TRAINING: whether it measures with gradients, and its answer is that of a training step.
    """

    TRAINING = False

    def trains(self, config: Config) -> bool:
        """Return whether a case of this mode needs gradients."""
        return self.TRAINING

    def check(self, config: Config) -> None:
        """Reject a case that this mode does not support, before anything is built.

        Raises:
            SkippedError: it is such a case.
        """

    def experiment(self, program: Program, config: Config) -> AbstractContextManager[Trial]:
        """Return the phases to time within the context."""
        raise NotImplementedError

    def answer(self, program: Program) -> Answer:
        """Compute one call or one step, untimed; nothing is updated."""
        compared = program.workload.compared
        with torch.inference_mode():
            output = program.outputs(program.call())
            return Answer(tuple(tensors(output if compared is None else compared(output))))

    def dry_run(self, workload: Workload, config: Config, fill: Callable[[], object]) -> tuple[Call, ...]:
        """Return a workload's calls and their costs, without executing them.

        `timing=false` asks for it, which is an option of `mode=profile` alone.

        Args:
            workload: in its precision and layout; its weights have no values yet.
            config: the case.
            fill: gives the weights their values, if the workload needs them.
        """
        raise NotImplementedError

    def write_trace(self, program: Program, device: Device, path: Path) -> None:
        """Write a trace of one call, for Perfetto or chrome://tracing.

        Raises:
            OSError: it cannot be written.
        """
        raise NotImplementedError


def find(name: str) -> Mode:
    """Return the mode of a name.

    Raises:
        UserError: there is none.
    """
    mode: Mode = registry.find("modes", name).Mode()
    return mode


def is_finite(output: Any) -> bool:
    """Return whether no tensor in an output, however nested, contains a NaN or an infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors(output))


def is_finite_answer(answer: Answer) -> bool:
    """Return whether an answer contains no NaN and no infinity."""
    return is_finite((*answer.outputs, *answer.gradients))
