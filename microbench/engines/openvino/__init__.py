"""OpenVINO: the traced module, compiled for the CPU."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from microbench.distribution import install_line
from microbench.engines import EngineInfo, Job, Program, quiet
from microbench.engines.openvino import compiling, model
from microbench.engines.openvino.library import nncf, openvino
from microbench.errors import SkippedError
from microbench.workloads.exported import File

TRAINS = False
FILES = ("openvino", "onnx", "torchscript")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
LAYOUTS = ("contiguous",)
DEVICES = ("cpu",)
USES_TORCH = False
LIBRARIES = ("openvino",)


def prepare(job: Job) -> Program:
    """Convert the module, or read its file, compile it, and bind its inputs, so that a call copies nothing.

    Raises:
        SkippedError: nncf is missing, or the configuration is not supported here.
    """
    config, workload = job.config, job.workload
    is_int8 = config.precision.name == "int8"
    if is_int8 and nncf is None:
        raise SkippedError(f"precision=int8 needs nncf: {install_line('int8')}")
    settings = compiling.settings(config)
    with quiet():
        converted = model.read(workload) if isinstance(workload.module, File) else model.convert(workload)
        quantizes = is_int8 and not model.is_quantized(converted)
        reduced = quantizes and model.saturates()
        if quantizes:
            converted = model.quantize(converted, model.ordered(workload, converted), config.seed, reduced)
        compiled = openvino.Core().compile_model(converted, "CPU", settings)
    info = EngineInfo(
        f"openvino {version()}",
        compiling.arithmetic(compiled, config.precision.name, reduced),
        threads=compiled.get_property("INFERENCE_NUM_THREADS"),
        interop_threads=compiled.get_property("NUM_STREAMS"),
    )
    return Program(
        workload, call_of(compiled, model.ordered(workload, converted)), outputs=outputs, info=info
    )


def version() -> str:
    """Return OpenVINO's version, without the build."""
    return str(openvino.__version__).partition("-")[0]


def call_of(compiled: Any, inputs: tuple[Tensor, ...]) -> partial[Any]:
    """Bind the inputs in torch's memory, and return a call that returns views of OpenVINO's outputs."""
    request = compiled.create_infer_request()
    for port, array in zip(compiled.inputs, model.arrays(inputs), strict=True):
        request.set_tensor(port, openvino.Tensor(array, shared_memory=True))
    return partial(request.infer, share_outputs=True)


def outputs(found: Any) -> list[Tensor]:
    """Copy a call's outputs into torch's tensors."""
    return [torch.tensor(array) for array in found.values()]
