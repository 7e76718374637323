"""TorchScript: the module traced, and run by torch's C++ interpreter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from microbench.config import EngineConfig
from microbench.engines import Job, Program, in_format, quiet
from microbench.engines.capture.rehearsal import (
    EMPTY,
    Flat,
    is_empty,
    rehearse,
    same_random_numbers,
    unchanged,
)
from microbench.errors import SkippedError, first_line
from microbench.workloads import Workload, tensors

TRAINS = True
LAYOUTS = ("contiguous", "channels_last")  # a trace has weights as constants, which cannot be blocked

REHEARSALS = {"infer": 2, "train": 3}
"""Calls until optimized code runs: TorchScript watches a graph's first call and optimizes it at the second,
and meets that of the backward pass one step later."""


def prepare(job: Job) -> Program:
    """Trace the module in train or eval mode, optimize it, and call it until it is compiled.

    Raises:
        SkippedError: it cannot be traced, or parameters that are to be trained would become constants.
    """
    options = job.config.engine
    if job.training and (options.freeze or options.optimize):
        option = "optimize" if options.optimize else "freeze"
        raise SkippedError(
            f"engine.{option}=true makes the parameters constants, which cannot train: use mode=infer, or "
            f"engine.{option}=false"
        )
    workload, info = in_format(job)
    with quiet():  # that TorchScript is to go, and that values become constants
        script = optimized(traced(workload, job.training), options)
        if job.config.precision.autocast is not None:
            check_autocast(script, workload)
        call = partial(script, *workload.inputs)
        rehearse(call, workload, job.training, REHEARSALS["train" if job.training else "infer"])
    return Program(
        workload,
        call,
        list(workload.module.parameters()),
        info=replace(info, engine="torchscript"),
        renewed=lambda: partial(traced(workload, job.training), *workload.inputs),
    )


def traced(workload: Workload, training: bool) -> torch.jit.ScriptModule:
    """The trace of a module's call.

    Raises:
        SkippedError: the module works, but cannot be traced, or the trace would be empty.
    """
    module, inputs = workload.module, workload.inputs
    with quiet(), unchanged(module), same_random_numbers(workload), torch.set_grad_enabled(training):
        try:
            script = _trace(module, inputs)
        except Exception as error:
            module(*inputs)  # what fails untraced, too, is not for this engine to tell
            script = _trace_flat(module, inputs, error)
    if is_empty(script):
        raise SkippedError(f"engine=torchscript runs traced modules, and of this one {EMPTY}")
    return script


def _trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    script: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
        module, inputs, check_trace=False, strict=False
    )
    return script


def _trace_flat(module: nn.Module, inputs: tuple[Tensor, ...], first: Exception) -> torch.jit.ScriptModule:
    try:
        return _trace(Flat(module), inputs)
    except SkippedError as error:
        raise SkippedError(f"engine=torchscript runs traced modules, and of this one {error}") from error
    except Exception as error:
        raise SkippedError(
            f"engine=torchscript runs traced modules, and this one cannot be traced: {first_line(first)}"
        ) from error


def check_autocast(script: torch.jit.ScriptModule, workload: Workload) -> None:
    """Raise a SkippedError where a trace, which has torch.autocast's casts in it, puts out other types."""
    with unchanged(workload.module), same_random_numbers(workload), torch.no_grad():
        wanted, found = (
            [tensor.dtype for tensor in tensors(run(*workload.inputs))] for run in (workload.module, script)
        )
    if found != wanted:
        raise SkippedError(
            f"tracing {workload.name} leaves out torch.autocast, as it does for recurrent layers: use a "
            "precision that casts, such as bf16, or engine=eager"
        )


def optimized(script: torch.jit.ScriptModule, options: EngineConfig) -> torch.jit.ScriptModule:
    """The traced module, its parameters made constants or rewritten for inference where that is asked for."""
    if options.freeze or options.optimize:
        script = torch.jit.freeze(script)
    if options.optimize:
        script = torch.jit.optimize_for_inference(script)
    return script
