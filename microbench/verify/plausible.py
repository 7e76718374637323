"""Whether a case's time is plausible: work beyond the machine's peak was not done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch

from microbench import workloads
from microbench.config import Config, PrecisionConfig
from microbench.devices import Device
from microbench.host import state
from microbench.profile.dry_run import dry_run
from microbench.profile.peaks import fastest, peaks
from microbench.records.peaks import Peaks
from microbench.workloads.parts.deferred import Deferred

MARGIN = 10.0
"""How many times as fast as the peak a case may appear.

An algorithm may multiply less often than the definition, by which FLOPs are counted. Winograd's does 5.1
times less for kernels of 3x3, and 6.3 times for 5x5, on tiles of 8x8, the largest in use:
(m r / (m + r - 1))^2 with m + r - 1 = 8 (Lavin, Gray: Fast Algorithms for Convolutional Neural Networks,
CVPR 2016). Fourier transforms on tiles of 16x16 need 10 times less for 7x7 and 9x9, not counting the
transforms themselves.
"""

DISTURBED = 2.0  # times the margin, if other work kept the machine from its peaks
SIDE = 512  # rows and columns of the product that quickly shows a lower bound of the peak
LASTING = 0.02  # seconds of repeating it


class _NotCountedError(Exception):
    """The work cannot be counted without computing it."""


def implausible(
    config: Config, device: Device, training: bool, seconds: float, work: float, again: Callable[[], float]
) -> str | None:
    """Return why a case cannot have taken so little time; None if it can have, or that is unknown.

    A call that certainly did the work stayed below the peak: a time less than `MARGIN` times as fast is
    plausible without further checks. A first call of tens of microseconds takes milliseconds in a process
    where torch is not set up yet, so it is repeated before its FLOPs are counted, which takes a second. Next
    comes a product of tens of milliseconds, and only rates beyond its reach are compared with the machine's
    peaks.

    Args:
        config: the case.
        device: the device that it ran on, in the case's state.
        training: whether the seconds are those of a training step.
        seconds: seconds per call.
        work: seconds of eager fp32's first call of the same work.
        again: does work of the same size in the same way, and returns its seconds.
    """
    if seconds <= 0 or seconds * MARGIN >= work or seconds * MARGIN >= again():
        return None
    flops = counted(config, device, training)
    rate = flops / seconds
    with state.threads_set(max(config.threads or 1, torch.get_num_threads())):
        if rate <= MARGIN * _reached(device):
            return None
        found = peaks(device)
    most, margin = at_best(found, config.precision), MARGIN * (DISTURBED if found.disturbed else 1)
    if most is None or rate <= margin * most:
        return None
    return (
        f"{flops:.3g} FLOPs in {seconds:.3g} s are {rate / most:.0f} times the {most:.3g} FLOP/s that the "
        f"machine reaches at most in {config.precision.name}: something was not computed, or the count is "
        "wrong; check the output of the module, and the graph of the engine"
    )


def counted(config: Config, device: Device, training: bool) -> int:
    """Count the FLOPs of a call's products, in training with the backward pass; 0 without a rule.

    They are counted on tensors without values: 0 if that is impossible.
    """

    def refuse() -> None:
        raise _NotCountedError

    with suppress(Exception), torch.set_grad_enabled(training):
        with Deferred():
            workload = workloads.build(
                config.model, config.batch_size, device.torch_device(), training, config.seed
            )
        root = dry_run(workload.module, workload.inputs, fill=refuse, training=training)
        return sum(2 * (call.counts.products + call.counts.backward_products) for call, _ in root.walk())
    return 0


def _reached(device: Device) -> float:
    """Measure the FLOP/s of a small fp32 product: the peak of any precision is higher."""
    a = torch.ones(SIDE, SIDE, dtype=torch.float32, device=device.torch_device())
    out = torch.empty_like(a)
    with torch.inference_mode(), torch.autocast(a.device.type, enabled=False):
        seconds = fastest(device.clock, partial(torch.mm, a, a, out=out), LASTING)
    return 2.0 * SIDE**3 / seconds if seconds > 0 else 0.0


def at_best(found: Peaks, precision: PrecisionConfig) -> float | None:
    """Return the FLOP/s that a precision can reach at most; None if no peak was measured.

    An engine may compute in a format that torch's kernels emulate, or in another than requested: the highest
    rate that instructions allow counts. Those for fp16 do twice fp32's products (AVX512-FP16, NEON), or as
    many as for bf16 (AMX); those for int8 four times fp32's (VNNI, I8MM), or twice bf16's (AMX).
    """
    if found.fp32 is None:
        return None
    bf16 = found.bf16 or 0.0
    match precision.cast or precision.autocast or precision.name:
        case "int8":
            return max(4 * found.fp32, 2 * bf16)
        case "float16":
            return max(2 * found.fp32, bf16, found.fp16 or 0.0)
        case "bfloat16":
            return max(found.fp32, bf16)
    return found.fp32
