"""torch.export: the module as one graph, compiled ahead of time by AOTInductor into a library."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._inductor
import torch.export
from torch.export.graph_signature import TensorArgument

from microbench.engines import Job, Program, in_format, quiet
from microbench.engines.capture import failures, inductor
from microbench.engines.capture.tracing import EMPTY
from microbench.errors import SkippedError
from microbench.workloads import Workload

TRAINS = False
LAYOUTS = ("contiguous", "channels_last")


def prepare(job: Job) -> Program:
    """Export the module, compile it into a package in a temporary folder, and load the package.

    Raises:
        SkippedError: the module cannot be exported, or there is no C++ compiler.
        CompileError: compiling failed.
    """
    inductor.require_compiler("export")
    workload, info = in_format(job)
    program = exported(workload)
    with ExitStack() as stack:
        folder = stack.enter_context(inductor.folder("export"))
        with (
            quiet(),
            failures.one_line_errors("AOTInductor", workload, training=False),
            inductor.compiling(job.config.engine, inductor.is_on_cpu(workload)),
        ):
            loaded = load(program, folder / "module.pt2")
        stack.callback(setattr, loaded, "loader", None)  # the loader keeps a copy of the library in a folder
        close = stack.pop_all().close
    return Program(
        workload, partial(loaded, *workload.inputs), info=replace(info, engine="aotinductor"), close=close
    )


def exported(workload: Workload) -> torch.export.ExportedProgram:
    """Export the module as one graph.

    Raises:
        SkippedError: the module works but cannot be exported, or the graph would be empty.
    """
    what = f"torch.export cannot make one graph of {workload.name}"
    told = failures.one_line_errors(what, workload, training=False, kind=SkippedError)
    with quiet(), told, torch.no_grad():
        program = torch.export.export(workload.module, workload.inputs)
    if not any(isinstance(each.arg, TensorArgument) for each in program.graph_signature.output_specs):
        raise SkippedError(f"engine=export makes a graph of the module; this one {EMPTY}")
    return program


def load(program: torch.export.ExportedProgram, path: Path) -> Any:
    """Compile a graph into a package at `path`, and load its library."""
    with torch.no_grad():
        package = torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        return torch._inductor.aoti_load_package(package)
