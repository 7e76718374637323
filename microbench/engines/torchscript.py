"""TorchScript: the module traced and run by torch's C++ interpreter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from microbench.config import EngineConfig
from microbench.engines import Job, Program, in_format, quiet
from microbench.engines.capture.rehearsal import rehearse, same_random_numbers, unchanged
from microbench.engines.capture.tracing import REHEARSALS, trace_or_skip
from microbench.errors import SkippedError
from microbench.watch.tensors import tensors
from microbench.workloads import Workload

TRAINS = True
IN_GRAPHS = True
FILES = ("torchscript",)
LAYOUTS = ("contiguous", "channels_last")  # a trace has weights as constants, which cannot be blocked


def prepare(job: Job) -> Program:
    """Trace the module in train or eval mode, optimize it, and call it until it is compiled.

    Raises:
        SkippedError: it cannot be traced, or parameters to train would become constants.
    """
    options = job.config.engine
    if job.training and (options.freeze or options.optimize):
        option = "optimize" if options.optimize else "freeze"
        raise SkippedError(
            f"engine.{option}=true makes the parameters constants, which cannot train: use mode=infer, or "
            f"engine.{option}=false"
        )
    workload, info = in_format(job)
    with quiet():  # warnings that TorchScript is deprecated, and that values become constants
        script = optimized(traced(workload, job.training), options)
        if job.config.precision.autocast is not None:
            check_autocast(script, workload)
        call = partial(script, *workload.inputs)
        times = REHEARSALS["train" if job.training else "infer"]
        rehearse(call, workload, job.training, times, job.config.mode.grad)
    return Program(
        workload,
        call,
        list(workload.module.parameters()),
        info=replace(info, engine="torchscript"),
        renewed=lambda: partial(traced(workload, job.training), *workload.inputs),
    )


def traced(workload: Workload, training: bool) -> torch.jit.ScriptModule:
    """Trace a module's call, and leave the module as it was.

    Raises:
        SkippedError: the module works but cannot be traced, or the trace would be empty.
    """
    module, inputs = workload.module, workload.inputs
    with quiet(), unchanged(module), same_random_numbers(workload), torch.set_grad_enabled(training):
        return trace_or_skip("torchscript", module, inputs)[0]


def check_autocast(script: torch.jit.ScriptModule, workload: Workload) -> None:
    """Raise a SkippedError if a trace, which includes torch.autocast's casts, returns other types."""
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
    """Make the parameters constants, or rewrite the traced module for inference, as the options say."""
    if options.freeze or options.optimize:
        script = torch.jit.freeze(script)
    if options.optimize:
        script = torch.jit.optimize_for_inference(script)
    return script
