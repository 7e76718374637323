"""ONNX Runtime: the module exported by torch's own exporter, run by the CPU or CUDA provider."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from microbench import devices
from microbench.config import Config
from microbench.engines import EngineInfo, Job, Program, in_format, quiet, unsupported
from microbench.engines.onnxruntime import files, session
from microbench.engines.onnxruntime.library import onnxruntime
from microbench.errors import SkippedError
from microbench.formats.precision import REDUCED
from microbench.workloads.exported import File

TRAINS = False
FILES = ("onnx",)
PRECISIONS = ("fp32", "tf32", "fp16", "int8")
LAYOUTS = ("contiguous",)
DEVICES = tuple(session.PROVIDERS)
USES_TORCH = False
LIBRARIES = ("onnxruntime", "onnx", "onnxscript")


def prepare(job: Job) -> Program:
    """Export the module, unless it is an ONNX file, and load it.

    Files that it writes are removed, because the session does not need them.

    Raises:
        SkippedError: its provider is missing, or does not support the configuration.
    """
    config = job.config
    check(config)
    file = job.workload.module if isinstance(job.workload.module, File) else None
    if file is not None and config.precision.cast is not None:
        raise SkippedError(f"{file.path.name} keeps the types that it was exported with: use precision=fp32")
    with ExitStack() as stack:
        made = _made(job, file, stack.enter_context(devices.find(config.device.name).own_stream()))
        return replace(made, close=stack.pop_all().close)


def _made(job: Job, file: File | None, stream: int | None) -> Program:
    """Do the same with a session that computes on a stream of the device; None for one of its own."""
    config, is_int8 = job.config, job.config.precision.name == "int8"
    workload = job.workload if is_int8 or file is not None else in_format(job)[0]
    with tempfile.TemporaryDirectory(prefix="microbench-") as name, quiet():
        folder = Path(name)
        path = files.export(workload, folder) if file is None else file.path
        was_quantized = file is not None and files.is_quantized(path)
        reduced = is_int8 and not was_quantized and files.saturates()
        if is_int8 and not was_quantized:
            path = files.quantize(path, folder, workload, config.seed, reduced)
        loaded = session.load(path, workload, config, files.optimized(folder), stream)
        arithmetic = None if was_quantized else session.PROVIDERS[config.device.name].arithmetic
        if is_int8:
            arithmetic = files.arithmetic(files.optimized(folder)) + (f", {REDUCED}" if reduced else "")
    run = session.copying if config.engine.copies else partial(session.bound, stream=stream)
    call, outputs = run(loaded, workload)
    info = EngineInfo(session.name(loaded), arithmetic, **session.threads(loaded))
    return Program(workload, call, outputs=outputs, info=info)


def check(config: Config) -> None:
    """Raise a SkippedError if no provider supports the device and precision."""
    device, precision = config.device.name, config.precision.name
    provider = session.PROVIDERS[device]
    if precision not in provider.precisions:
        raise unsupported("onnxruntime", f"precision={precision} on device={device}", provider.precisions)
    if provider.name not in onnxruntime.get_available_providers():
        raise SkippedError(
            f"engine=onnxruntime has no {provider.name} here: pip uninstall onnxruntime, then "
            f"pip install {provider.package}"
        )
