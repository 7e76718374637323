"""PyTorch's eager mode: the module as it is."""

from __future__ import annotations

from functools import partial

from microbench import formats
from microbench.engines import Job, Program, in_format
from microbench.workloads.arranged import unarranged

TRAINS = True
IN_GRAPHS = True
FILES = ("torchscript",)


def prepare(job: Job) -> Program:
    """Call the module on its inputs, in train or eval mode."""
    workload, info = in_format(job)
    module = workload.module
    inner, args, kwargs = unarranged(module, workload.inputs)
    return Program(
        workload,
        partial(inner, *args, **kwargs),
        list(module.parameters()),
        outputs=formats.dense,
        info=info,
    )
