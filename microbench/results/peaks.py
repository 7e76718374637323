"""What a processor does at best: the arithmetic and the traffic of memory of cases that do nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from microbench.results.cases import CaseResult, Estimate
from microbench.results.record import Record

PHASE = "inference"
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Work:
    """What one call does.

    Attributes:
        amount: how much of it.
        unit: FLOP, a floating-point operation, or B, a byte read or written.
    """

    amount: float
    unit: str


@dataclass(frozen=True)
class Peak:
    """A rate of work over rounds.

    Attributes:
        work: what one call does.
        estimate: how long a call takes.
    """

    work: Work
    estimate: Estimate

    @property
    def rate(self) -> float:
        """Work per second: over the median of the rounds' medians, as every other rate."""
        return self.work.amount / self.estimate.median


def work_of(record: Record) -> Work | None:
    """The work of one call; None for a case whose work is not known.

    The product of two n x n matrices takes n multiplications and about n additions for each of its n^2
    elements: 2 n^3 FLOP, as LAPACK and LINPACK count them. A copy reads each byte once and writes it once:
    twice the tensor's size, as McCalpin's STREAM counts (Memory Bandwidth and Machine Balance in Current High
    Performance Computers, 1995); what a cache reads of a line before it is overwritten is not counted.
    """
    model, batch = record["config"]["model"], record["cfg_batch_size"]
    shape = model["input_shape"]
    if model["cls"] == "torch.matmul" and len(shape) == 2 and shape[0] == shape[1]:
        return Work(2.0 * shape[0] ** 3 * batch, "FLOP")
    if model["cls"] == "torch.Tensor.copy_" and model["input_dtype"] in BYTES:
        return Work(2.0 * math.prod(shape) * batch * BYTES[model["input_dtype"]], "B")
    return None


def peak_of(case: CaseResult) -> Peak | None:
    """The rate at which a case works; None where it was not measured, or its work is not known."""
    work, estimate = work_of(case.first), case.estimates.get(PHASE)
    return Peak(work, estimate) if work is not None and estimate is not None and estimate.median else None
