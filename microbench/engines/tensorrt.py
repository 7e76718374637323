"""TensorRT, through torch_tensorrt: the exported module compiled for an NVIDIA GPU."""

from __future__ import annotations

from functools import partial

import torch

from microbench.engines import EngineInfo, Job, Program, in_format, quiet

TRAINS = False
USES_TORCH = False
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
LAYOUTS = ("contiguous",)
DEVICES = ("cuda",)
LIBRARIES = ("torch_tensorrt",)
NEEDS = "an NVIDIA GPU"


def prepare(job: Job) -> Program:
    """Compile the module in its own precision; operators that TensorRT does not have stay torch's.

    The library is imported here and not before workers are forked, because it may initialize CUDA.
    """
    workload, _ = in_format(job)
    with quiet(), torch.no_grad():
        import torch_tensorrt

        module = torch_tensorrt.compile(
            workload.module,
            ir="dynamo",
            inputs=list(workload.inputs),
            disable_tf32=job.config.precision.name != "tf32",
            min_block_size=1,  # compile even a single layer
        )
    info = EngineInfo(f"torch_tensorrt {torch_tensorrt.__version__}")
    return Program(workload, partial(module, *workload.inputs), info=info)
