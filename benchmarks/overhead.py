"""The overhead of the instrumentation over the bare call per sample; it may be at most 150 ns.

    python benchmarks/overhead.py

Both sides are measured alternately in one process: the bare call, in a loop of a thousand between two
readings of the clock, and the same call as the sampler observes it, one sample at a time. The call does
nothing, so that it cannot hide the overhead. `total` spans several phases with a reading of the clock in
each; its overhead is per phase.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from statistics import median
from typing import cast

import torch

from microbench.config import Config
from microbench.devices.cpu import HostClock
from microbench.engines import Program
from microbench.measure.experiment import Experiment
from microbench.measure.sampler import quiet_gc
from microbench.measure.timer import observe
from microbench.modes import infer, train
from microbench.workloads import Objective, Workload

LIMIT = 150e-9
ROUNDS, SAMPLES = 50, 1000


def nothing() -> None:
    """Do nothing: the call to time."""


def no_loss(output: object) -> None:
    """Do nothing: the objective to time; `main` adds an objective's attributes."""


def bare() -> float:
    """Return the seconds per call, without the loop around it."""
    start = time.perf_counter_ns()
    for _ in range(SAMPLES):
        nothing()
    called = time.perf_counter_ns()
    for _ in range(SAMPLES):
        pass
    return (called - start - (time.perf_counter_ns() - called)) / SAMPLES * 1e-9


def observed(experiment: Experiment, clock: HostClock, calls: int) -> dict[str, float]:
    """Return the median of a thousand samples of each phase, in seconds per call."""
    samples = [observe(experiment, clock, calls) for _ in range(SAMPLES)]
    return {phase: median(sample[phase] for sample in samples) for phase in samples[0]}


def main() -> int:
    """Print the overhead of each phase and return 1 if one is above the limit."""
    vars(no_loss).update(is_loss=True, backward=lambda root: None)
    workload = Workload("nothing", torch.nn.Identity(), (), cast(Objective, no_loss))
    program, config = Program(workload, nothing), Config()
    clock = HostClock()
    above: dict[str, list[float]] = {}
    with ExitStack() as stack, quiet_gc():
        inference = stack.enter_context(infer.Mode().experiment(program, config)).experiment
        training = stack.enter_context(train.Mode().experiment(program, config)).experiment
        cases = (("one call", inference, 1), ("each of 16 calls", inference, 16), ("one step", training, 1))
        for _ in range(ROUNDS):
            for name, experiment, calls in cases:
                call = bare()
                for phase, seconds in observed(experiment, clock, calls).items():
                    first, last = experiment.phases[phase]
                    above.setdefault(f"{phase}, {name}", []).append(seconds / (last - first) - call)
    for name, overheads in above.items():
        print(f"{name:28} {median(overheads) * 1e9:4.0f} ns a phase above the bare call")
    print(f"limit: {LIMIT * 1e9:.0f} ns")
    return int(max(median(overheads) for overheads in above.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
