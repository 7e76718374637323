"""A session of ONNX Runtime, and its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microbench.config import Config
from microbench.engines.onnxruntime.library import onnxruntime
from microbench.errors import SkippedError, first_line
from microbench.workloads import Workload
from microbench.workloads.exported import File


@dataclass(frozen=True)
class Provider:
    """An execution provider: it runs a session on a device.

    Attributes:
        name: its name in ONNX Runtime.
        package: the package that installs it.
        precisions: the precisions that it computes in.
        arithmetic: the instructions that multiply if nothing is quantized; None if unknown.
    """

    name: str
    package: str
    precisions: Sequence[str]
    arithmetic: str | None = None


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", "onnxruntime", ("fp32", "int8"), "fp32"),
    "cuda": Provider("CUDAExecutionProvider", "onnxruntime-gpu", ("fp32", "tf32", "fp16")),
}

LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}

TYPES = {
    "tensor(float)": (torch.float32, 1),
    "tensor(uint8)": (torch.uint8, 2),
    "tensor(int8)": (torch.int8, 3),
    "tensor(int16)": (torch.int16, 5),
    "tensor(int32)": (torch.int32, 6),
    "tensor(int64)": (torch.int64, 7),
    "tensor(bool)": (torch.bool, 9),
    "tensor(float16)": (torch.float16, 10),
    "tensor(double)": (torch.float64, 11),
    "tensor(bfloat16)": (torch.bfloat16, 16),
}
"""For each type's name in ONNX Runtime: torch's type and ONNX's number (`TensorProto.DataType`)."""

SEARCH = "cudnn_conv_algo_search"

ERRORS = 3  # the least severity that is logged

Run = tuple[Callable[[], Any], Callable[[Any], list[Tensor]]]
"""A function that computes the output, and one that converts it to torch's tensors."""


def load(path: Path, workload: Workload, config: Config, optimized: Path, stream: int | None = None) -> Any:
    """Load a module into a session with the configuration's options.

    Args:
        path: the module.
        workload: the workload; its inputs determine the dynamic sizes of an ONNX file of the user's.
        config: the case's configuration.
        optimized: where the session writes a quantized module as it has optimized it.
        stream: the address of the device's stream that it computes on; None for one of its own.

    Raises:
        SkippedError: ONNX Runtime cannot load the user's file.
    """
    provider = PROVIDERS[config.device.name]
    settings = provider_options(config, workload.inputs[0].device, stream)
    given, file = options(config, optimized), workload.module
    if isinstance(file, File):
        for name, size in file.sizes(workload.inputs).items():
            given.add_free_dimension_override_by_name(name, size)
    try:
        made = onnxruntime.InferenceSession(path, given, providers=[(provider.name, settings)])
    except Exception as error:
        if not isinstance(file, File):
            raise
        raise SkippedError(f"engine=onnxruntime cannot load {file.path.name}: {first_line(error)}") from error
    torch.set_flush_denormal(config.flush_denormal)  # the first session sets it in this thread
    return made


def provider_options(config: Config, device: torch.device, stream: int | None) -> dict[str, str]:
    """Return the options of a configuration's provider.

    On a GPU it computes on a stream of torch's, on which times are read, and looks for convolutions as torch
    does: by heuristics, or by trying all with cuDNN's benchmark.
    """
    if "tf32" not in PROVIDERS[config.device.name].precisions:
        return {}
    given = {
        "device_id": str(device.index or 0),
        "use_tf32": str(int(config.precision.name == "tf32")),
        SEARCH: "EXHAUSTIVE" if torch.backends.cudnn.benchmark else "HEURISTIC",
    }
    return given if stream is None else {**given, "user_compute_stream": str(stream)}


def options(config: Config, optimized: Path) -> Any:
    """Return a session's options; of a quantized module, it writes the optimized one to a file."""
    made = onnxruntime.SessionOptions()
    made.log_severity_level = ERRORS
    made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[config.engine.level])
    made.intra_op_num_threads = config.threads
    if config.interop_threads is not None and config.interop_threads > 1:
        made.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        made.inter_op_num_threads = config.interop_threads
    if config.flush_denormal:
        made.add_session_config_entry("session.set_denormal_as_zero", "1")
    if config.precision.name == "int8":
        made.optimized_model_filepath = str(optimized)
    return made


def name(session: Any) -> str:
    """Name the library, its version, the provider that runs the session, and how it finds convolutions."""
    provider = session.get_providers()[0]
    search = session.get_provider_options()[provider].get(SEARCH)
    told = "" if search is None else f", {SEARCH}={search}"
    return f"onnxruntime {onnxruntime.__version__}, {provider}{told}"


def threads(session: Any) -> dict[str, int]:
    """Return a session's numbers of threads: per operation, and of concurrent operations."""
    made = session.get_session_options()
    is_parallel = made.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    return {
        "threads": made.intra_op_num_threads,
        "interop_threads": made.inter_op_num_threads if is_parallel else 1,
    }


def bound(session: Any, workload: Workload, stream: int | None = None) -> Run:
    """Return a run on tensors that are bound once, so that nothing is copied.

    Args:
        session: the session.
        workload: the workload; its inputs are bound.
        stream: the address of the device's stream that it computes on; None for one of its own.

    Raises:
        SkippedError: the shape of an output is not known beforehand.
    """
    binding = session.io_binding()
    made = zip(session.get_outputs(), shapes(session, workload), strict=True)
    outputs = [empty(each, shape, workload.inputs[0].device) for each, shape in made]
    for each, tensor in zip(session.get_inputs(), workload.inputs, strict=True):
        binding.bind_input(*place(each, tensor))
    for each, tensor in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_output(*place(each, tensor))
    how = () if stream is None else (asynchronous(),)
    return partial(session.run_with_iobinding, binding, *how), lambda _: outputs


def asynchronous() -> Any:
    """Return the options of a run that does not wait for its stream at the end, as torch does not either."""
    made = onnxruntime.RunOptions()
    made.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return made


def shapes(session: Any, workload: Workload) -> list[Sequence[Any]]:
    """Return the outputs' shapes.

    A graph may leave out a shape, as torch 2.11 does for an LSTM's states. It then reads like a scalar's, so
    a run tells such an output's shape. A file of the user's may also leave out sizes.
    """
    declared = [each.shape for each in session.get_outputs()]
    if isinstance(workload.module, File):
        declared = [shape if _is_known(shape) else () for shape in declared]
    if all(declared):
        return declared
    run, _ = copying(session, workload)
    return [shape or array.shape for shape, array in zip(declared, run(), strict=True)]


def _is_known(shape: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in shape)


def empty(output: Any, shape: Sequence[Any], device: torch.device) -> Tensor:
    """Allocate a tensor for an output.

    Raises:
        SkippedError: its shape is not known.
    """
    if not _is_known(shape):
        raise SkippedError(
            "engine=onnxruntime binds outputs before they are computed, and the shape of one depends on "
            "values: use engine.copies=true"
        )
    dtype, _ = TYPES[output.type]
    return torch.empty(tuple(shape), dtype=dtype, device=device)


def place(value: Any, tensor: Tensor) -> tuple[Any, ...]:
    """Return a tensor's place as a binding takes it: name, device and its index, type, shape, address."""
    _, number = TYPES[value.type]
    device = tensor.device
    return value.name, device.type, device.index or 0, number, list(tensor.shape), tensor.data_ptr()


def copying(session: Any, workload: Workload) -> Run:
    """Return a run that takes NumPy arrays and returns new ones."""
    names = [each.name for each in session.get_inputs()]
    feeds = {name: tensor.cpu().numpy() for name, tensor in zip(names, workload.inputs, strict=True)}
    return partial(session.run, None, feeds), lambda arrays: [torch.as_tensor(each) for each in arrays]
