"""Eager fp32 on the same weights and inputs: the reference answer for every other configuration.

For a file that torch does not run it is the answer of the file's own engine (`config.REFERENCES`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from microbench import engines, workloads
from microbench.config import Config, PrecisionConfig, plain
from microbench.devices import Device
from microbench.engines import Answer, Job, Program
from microbench.measure.timer import observe
from microbench.modes import Mode
from microbench.workloads import Workload

SUMS = 2.0**-20
"""The relative error of fp32 if hundreds of products are summed in another order: the rounding of one sum,
2^-24, times about the square root of their number (Higham, Accuracy and Stability of Numerical Algorithms,
2002, section 2.8).
"""

ROUNDING = {"tf32": 2.0**-11, "int8": 3 * 2.0**-9}
"""Half the distance between 1 and the next larger number, for formats that are not torch types.

The steps of int8 do not shrink with the number: half a step is 2^-9 of the range of a tensor's values, which
is at least three times their root mean square: 2√3 times that of uniform weights, more after a ReLU.
"""


def is_reference(config: Config) -> bool:
    """Return whether a case is plain eager fp32 itself, whatever its tolerances."""
    given, reference = config.precision, plain(config)
    precision = replace(
        reference.precision, tolerance=given.tolerance, gradient_tolerance=given.gradient_tolerance
    )
    return config == replace(reference, precision=precision)


def rounding(precision: PrecisionConfig) -> float:
    """Return the relative error of rounding to a precision; in fp32, of summing."""
    if name := precision.cast or precision.autocast:
        return torch.finfo(getattr(torch, name)).eps / 2
    return ROUNDING.get(precision.name, SUMS)


def answer_of(mode: Mode, program: Program, seed: int) -> Answer:
    """Return a program's answer without dropout; other random numbers are those of the seed."""
    with without_dropout(program.workload.module) if mode.TRAINING else nullcontext(False) as drops:
        if drops and program.renewed is not None:
            program = replace(program, call=program.renewed())
        torch.manual_seed(seed)
        return program.answer(mode.answer)


@dataclass(frozen=True)
class Reference:
    """Plain eager fp32 of a case's work.

    Attributes:
        config: the case's configuration.
        device: where it runs.
        mode: the mode that it runs in.
    """

    config: Config
    device: Device
    mode: Mode

    def answer(self, restoring: Program | None = None, nudge: float = 0.0, draw: int = 0) -> Answer:
        """Compute its answer with weights and inputs rebuilt from the same seed.

        Nothing of them outlives the call.

        Args:
            restoring: a program that gets these weights and inputs too, before they are used.
            nudge: change every weight and input by a random share of up to this much.
            draw: selects the random numbers to draw meanwhile; the same number draws the same ones.
        """
        return self.timed_answer(restoring=restoring, nudge=nudge, draw=draw)[0]

    def seconds(self) -> float:
        """Return the seconds of a first call with other weights and inputs, whose answer cannot be cached."""
        config = plain(replace(self.config, seed=self.config.seed ^ 1))
        with self.device.prepared(config):
            program = engines.prepare(Job(self._workload(config), config, self.mode.TRAINING))
            with self.mode.experiment(program, config) as trial:
                return observe(trial.experiment, self.device.clock)[trial.experiment.whole]

    def timed_answer(
        self, restoring: Program | None = None, nudge: float = 0.0, draw: int = 0
    ) -> tuple[Answer, float]:
        """Compute the same, and also return its seconds, not counting the build."""
        config, training = plain(self.config), self.mode.TRAINING
        with self.device.prepared(config):
            workload = self._workload(config)
            if restoring is not None:
                put_back(restoring, workload, training)
            if nudge:
                shift(workload, nudge)
            program, clock = engines.prepare(Job(workload, config, training)), self.device.clock
            marks = [clock.mark()]
            answer = answer_of(self.mode, program, config.seed + draw)
            marks.append(clock.mark())
            return answer, clock.seconds(marks)[1]

    def _workload(self, config: Config) -> Workload:
        where, training = self.device.torch_device(), self.mode.TRAINING
        return workloads.build(config.model, config.batch_size, where, training, config.seed)


@torch.no_grad()
def put_back(program: Program, fresh: Workload, training: bool) -> None:
    """Restore the inputs of a program, and after training its weights too.

    Measuring may have changed them: a layer may work in place, and training updates parameters and buffers.
    """
    pairs = list(zip(program.workload.inputs, fresh.inputs, strict=True))
    if training:
        pairs += zip(program.parameters, fresh.module.parameters(), strict=True)
        pairs += zip(program.workload.module.buffers(), fresh.module.buffers(), strict=True)
    for old, new in pairs:
        old.copy_(new.to_mkldnn() if old.is_mkldnn else new)


@torch.no_grad()
def shift(workload: Workload, share: float) -> None:
    """Change every parameter and input by a random share of up to `share`, or by its own type's rounding."""
    inputs = {id(tensor): tensor for tensor in workload.inputs}
    for tensor in filter(Tensor.is_floating_point, (*workload.module.parameters(), *inputs.values())):
        most = max(share, torch.finfo(tensor.dtype).eps / 2)
        tensor.mul_(1 + torch.empty_like(tensor).uniform_(-most, most))


QUIET_IN_EVAL = frozenset(
    (
        *("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"),
        *("RReLU", "StochasticDepth", "DropPath"),
    )
)
"""Classes that are random in training, and do the average of that in evaluation."""


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[bool]:
    """Switch off dropout, and yield whether there is any.

    Classes are recognized by name, which TorchScript modules keep.
    """
    found: list[tuple[nn.Module, str, object]] = []
    for each in module.modules():
        if getattr(each, "original_name", type(each).__name__) in QUIET_IN_EVAL:
            found.append((each, "training", False))
            if isinstance(each, _DropoutNd):  # attention may read the rate from a layer that it does not call
                found.append((each, "p", 0.0))
        elif isinstance(each, (nn.MultiheadAttention, nn.RNNBase)) and each.dropout:
            found.append((each, "dropout", 0.0))
    before = [getattr(each, name) for each, name, _ in found]
    try:
        for each, name, quiet in found:
            setattr(each, name, quiet)
        yield bool(found)
    finally:
        for (each, name, _), value in zip(found, before, strict=True):
            setattr(each, name, value)
