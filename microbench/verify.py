"""Whether a way of running a workload computes what eager fp32 computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from microbench import workloads
from microbench.config import Config, DeviceConfig, PrecisionConfig
from microbench.devices import Device
from microbench.engines import Answer, Job, Program, eager
from microbench.modes import Mode
from microbench.results.record import Check, Verdict
from microbench.workloads import Workload


def verify(config: Config, device: Device, mode: Mode, program: Program) -> Check:
    """Compare what a program computes with what eager fp32 computes, from the same weights and inputs.

    The workload is built again from the same seed, and the program gets its weights and inputs back, which
    measuring may have changed. What is random in training (dropout) is switched off in both.

    Returns:
        The errors, and whether they are within the precision's tolerance, or the one that was asked for.
    """
    if not config.verify:
        return Check(Verdict.OFF)
    if is_reference(config):
        return Check(Verdict.REFERENCE)
    plain = reference_config(config)
    with device.prepared(plain):
        workload = workloads.build(
            plain.model, plain.batch_size, device.torch_device(), mode.TRAINING, plain.seed
        )
        reference = eager.prepare(Job(workload, plain, mode.TRAINING))
        put_back(program.workload, workload)
        with quieted(workload.module):
            wanted = _answer(mode, reference, config.seed)
    with quieted(program.workload.module):
        found = _answer(mode, program, config.seed)
    return check(found, wanted, config, is_classified=workload.objective.is_loss and not mode.TRAINING)


def is_reference(config: Config) -> bool:
    """Whether a case is plain eager fp32 itself."""
    plain = reference_config(config)
    return all(
        getattr(config, key) == getattr(plain, key) for key in ("engine", "precision", "layout", "device")
    )


def reference_config(config: Config) -> Config:
    """The configuration of plain eager fp32 for the same work."""
    return replace(
        config,
        engine=replace(type(config.engine)(), name="eager"),
        precision=PrecisionConfig("fp32"),
        layout="contiguous",
        cache_weights=True,
        device=DeviceConfig(config.device.name),
    )


def _answer(mode: Mode, program: Program, seed: int) -> Answer:
    """What a program computes; what draws random numbers all the same draws those of the seed."""
    torch.manual_seed(seed)
    return mode.answer(program)


@torch.no_grad()
def put_back(to: Workload, fresh: Workload) -> None:
    """Give a workload the parameters and inputs that it was built with, in its own precision and layout."""
    pairs = [
        *zip(to.module.parameters(), fresh.module.parameters(), strict=False),
        *zip(to.inputs, fresh.inputs, strict=False),
    ]
    for old, new in pairs:
        if not old.is_mkldnn and old.shape == new.shape:
            old.copy_(new)


RANDOM = ("p", "dropout")  # the attributes by which modules say how much they drop


@contextmanager
def quieted(module: nn.Module) -> Iterator[None]:
    """Let the modules that drop values at random drop none; then put back how much they drop."""
    kinds = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase, StochasticDepth)
    found = [
        (each, name, getattr(each, name))
        for each in module.modules()
        if isinstance(each, kinds)
        for name in RANDOM
        if isinstance(getattr(each, name, None), float) and getattr(each, name) > 0
    ]
    for each, name, _ in found:
        setattr(each, name, 0.0)
    try:
        yield
    finally:
        for each, name, before in found:
            setattr(each, name, before)


def check(found: Answer, wanted: Answer, config: Config, is_classified: bool) -> Check:
    """The errors of an answer, and whether they are within tolerance.

    Largest errors are of outputs: absolute, and relative to the largest wanted value of the same output. The
    gradients' error is the norm of all differences over the norm of all wanted gradients.
    """
    tolerance = config.tolerance or config.precision.tolerance
    gradient_tolerance = config.tolerance or config.precision.gradient_tolerance
    if differ := _shapes_differ(found.outputs, wanted.outputs) or _shapes_differ(
        found.gradients, wanted.gradients
    ):
        return Check(Verdict.MISMATCH, tolerance=tolerance, reason=differ)
    absolute, relative = largest_errors(found.outputs, wanted.outputs)
    gradients = gradient_error(found.gradients, wanted.gradients) if wanted.gradients else None
    is_same = relative <= tolerance and (gradients is None or gradients <= gradient_tolerance)
    return Check(
        Verdict.SAME if is_same else Verdict.MISMATCH,
        absolute,
        relative,
        top1_agreement(found.outputs[0], wanted.outputs[0]) if is_classified else None,
        gradients,
        tolerance,
        None if is_same else _told(relative, tolerance, gradients, gradient_tolerance),
    )


def _shapes_differ(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> str | None:
    shapes = [[tuple(tensor.shape) for tensor in each] for each in (found, wanted)]
    return None if shapes[0] == shapes[1] else f"shapes {shapes[0]} instead of {shapes[1]}"


def largest_errors(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[float, float]:
    """The largest absolute error, and the largest relative to its tensor's largest value; NaN is infinite."""
    absolute, relative = 0.0, 0.0
    for one, other in zip(found, wanted, strict=True):
        if not other.numel():
            continue
        error = (one.detach().double() - other.detach().double()).abs().nan_to_num(torch.inf).max().item()
        scale = other.detach().double().abs().max().item()
        absolute = max(absolute, error)
        relative = max(relative, error / scale if scale else (torch.inf if error else 0.0))
    return absolute, relative


def gradient_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The norm of all gradients' differences over that of the wanted gradients."""
    pairs = list(zip(found, wanted, strict=True))
    off = sum((one.double() - other.double()).square().sum().item() for one, other in pairs)
    norm = sum(other.double().square().sum().item() for _, other in pairs)
    if off != off:
        return torch.inf
    return (off / norm) ** 0.5 if norm else (torch.inf if off else 0.0)


def top1_agreement(found: Tensor, wanted: Tensor) -> float | None:
    """The share of the batch whose largest of (batch, classes) outputs is the same class."""
    if wanted.dim() != 2:
        return None
    return (found.argmax(1) == wanted.argmax(1)).double().mean().item()


def _told(relative: float, tolerance: float, gradients: float | None, gradient_tolerance: float) -> str:
    parts = []
    if relative > tolerance:
        parts.append(
            f"the output is off eager fp32's by {relative:.2g} of its largest value (allowed: {tolerance:g})"
        )
    if gradients is not None and gradients > gradient_tolerance:
        parts.append(f"the gradients by {gradients:.2g} of their norm (allowed: {gradient_tolerance:g})")
    return " and ".join(parts)
