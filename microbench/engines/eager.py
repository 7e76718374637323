"""PyTorch's eager mode: the module as it is."""

from __future__ import annotations

from functools import partial

from microbench import formats
from microbench.engines import ALL_LAYOUTS, ALL_PRECISIONS, Job, Program, dressed

TRAINS = True
PRECISIONS = ALL_PRECISIONS
LAYOUTS = ALL_LAYOUTS
DEVICES = ("cpu", "cuda")


def prepare(job: Job) -> Program:
    """Call the module on its inputs, in train or eval mode."""
    workload, facts = dressed(job)
    module = workload.module
    return Program(
        workload,
        partial(module, *workload.inputs),
        list(module.parameters()),
        outputs=formats.dense,
        facts=facts,
    )
