"""torch.compile: the module captured by TorchDynamo and compiled by one of its backends."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch
import torch._dynamo
from torch._dynamo.utils import counters

from microbench.engines import EngineInfo, Job, Program, in_format, quiet
from microbench.engines.capture import failures, inductor
from microbench.engines.capture.rehearsal import rehearse
from microbench.errors import SkippedError, unknown

TRAINS = True
LAYOUTS = ("contiguous", "channels_last")

INDUCTOR = "inductor"
OF_INDUCTOR = {"mode": "default", "freezing": False, "cpp_wrapper": False, "cache": "warm"}
"""Options of inductor alone, and the values that leave them unused."""
RECORDING = (("mode", "reduce-overhead"), ("backend", "cudagraphs"))  # no effect on the CPU
REHEARSALS = 3  # calls until CUDA graphs are replayed: one warms up, one records
USUAL = ("aot_eager", "eager")  # debugging backends that are measured, to separate a compiler's parts


def prepare(job: Job) -> Program:
    """Compile the module and call it once, so that its graphs are captured and their code is built.

    Raises:
        UserError: there is no such backend.
        SkippedError: not possible here, or there is nothing to compile.
        CompileError: compiling failed.
    """
    options, on_cpu = job.config.engine, inductor.is_on_cpu(job.workload)
    check(job)
    workload, info = in_format(job)
    torch._dynamo.reset()
    counters.clear()
    with ExitStack() as stack:
        stack.callback(torch._dynamo.reset)
        stack.enter_context(inductor.compiling(options, on_cpu))
        mode = options.mode if options.backend == INDUCTOR else None  # any but None goes to the backend
        compiled = torch.compile(workload.module, backend=options.backend, mode=mode, dynamic=options.dynamic)
        call = partial(compiled, *workload.inputs)
        with quiet(), failures.one_line_errors(f"engine.backend={options.backend}", workload, job.training):
            rehearse(call, workload, job.training, 1 if on_cpu else REHEARSALS, job.config.mode.grad)
        check_compiled(job)
        inductor.end_processes()
        close = stack.pop_all().close
    return Program(
        workload,
        call,
        list(workload.module.parameters()),
        info=info_of(info, options.backend),
        close=close,
    )


def check(job: Job) -> None:
    """Reject what is known not to work, before anything is compiled.

    Raises:
        UserError: there is no such backend.
        SkippedError: this backend, device or mode does not support it.
    """
    options = job.config.engine
    if options.backend not in torch._dynamo.list_backends(exclude_tags=()):
        raise unknown("engine.backend", options.backend, [*torch._dynamo.list_backends(), *USUAL])
    if options.backend == INDUCTOR:
        inductor.require_compiler("compile")
    elif given := next(
        (name for name, value in OF_INDUCTOR.items() if getattr(options, name) != value), None
    ):
        raise SkippedError(
            f"engine.{given} is an option of engine.backend=inductor: {options.backend} has none"
        )
    if job.training and options.freezing:
        raise SkippedError(
            "engine.freezing=true makes the parameters constants, which cannot train: use mode=infer, or "
            "engine.freezing=false"
        )
    recording = [f"{name}={value}" for name, value in RECORDING if getattr(options, name) == value]
    if recording and inductor.is_on_cpu(job.workload):
        raise SkippedError(f"engine.{recording[0]} records CUDA graphs, so it has no effect on the CPU")


def check_compiled(job: Job) -> None:
    """Raise a SkippedError if the compiled call is the eager one, or that of the default mode."""
    options, breaks = job.config.engine, counters["graph_break"]
    if not counters["stats"]["unique_graphs"]:
        why = failures.break_reason(next(iter(breaks))) if breaks else "there is nothing to capture"
        raise SkippedError(f"torch.compile leaves {job.workload.name} as it is: {why}")
    tuned = counters["inductor"]["cpp_templated_kernel_counter"]
    if inductor.is_on_cpu(job.workload) and options.mode.startswith("max-autotune") and not tuned:
        more = "" if options.freezing or job.training else "; with engine.freezing=true also linear layers"
        raise SkippedError(
            f"engine.mode={options.mode} compiles what engine.mode=default does: on the CPU it tunes batched "
            f"matrix products only{more}"
        )


def info_of(info: EngineInfo, backend: str) -> EngineInfo:
    """Add the backend that runs the module, and the number of graph breaks."""
    breaks = sum(counters["graph_break"].values())
    pieces = f", {breaks} graph break{'s' * (breaks > 1)}" if breaks else ""
    return replace(info, engine=backend + pieces)
