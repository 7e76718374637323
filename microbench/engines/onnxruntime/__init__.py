"""ONNX Runtime: the module exported by torch's own exporter, run by the CPU's or CUDA's provider."""

from __future__ import annotations

import tempfile
from pathlib import Path

from microbench.config import Config
from microbench.engines import Facts, Job, Program, dressed, quiet
from microbench.engines.onnxruntime import files, session
from microbench.engines.onnxruntime.saturation import saturates
from microbench.errors import SkippedError
from microbench.formats.precision import REDUCED

TRAINS = False
PRECISIONS = ("fp32", "tf32", "fp16", "int8")
LAYOUTS = ("contiguous",)
DEVICES = ("cpu", "cuda")
USES_TORCH = False
LIBRARIES = ("onnxruntime", "onnx", "onnxscript")

ABLE = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "tf32", "fp16")}
"""By a device, the precisions that its provider computes in."""

PLAIN = {"cpu": "fp32", "cuda": None}
"""What is known to multiply where nothing is quantized."""

PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu"}


def prepare(job: Job) -> Program:
    """Export the module and load it. No file is left: what is loaded stays without.

    Raises:
        SkippedError: its provider is missing, or cannot do what is asked for.
    """
    config, is_int8 = job.config, job.config.precision.name == "int8"
    check(config)
    workload = job.workload if is_int8 else dressed(job)[0]
    with tempfile.TemporaryDirectory(prefix="microbench-") as folder, quiet():
        path = files.export(workload, Path(folder))
        arithmetic = PLAIN[config.device.name]
        if is_int8:
            reduced = saturates()
            path = files.quantize(path, workload, config.seed, reduced)
        loaded = session.load(path, config)
        if is_int8:
            arithmetic = files.arithmetic(path) + (f", {REDUCED}" if reduced else "")
    run = session.copying if config.engine.copies else session.bound
    call, outputs = run(loaded, workload)
    facts = Facts(session.name(loaded), arithmetic, **session.threads(loaded))
    return Program(workload, call, outputs=outputs, facts=facts)


def check(config: Config) -> None:
    """Raise a SkippedError where there is no provider for the device, or none that computes so."""
    device, precision = config.device.name, config.precision.name
    if precision not in ABLE[device]:
        raise SkippedError(
            f"engine=onnxruntime does not do precision={precision} on device={device}: it can do "
            f"{', '.join(ABLE[device])}"
        )
    if not session.is_there(device):
        raise SkippedError(
            f"engine=onnxruntime has no {session.PROVIDERS[device]} here: pip uninstall onnxruntime, then "
            f"pip install {PACKAGES[device]}"
        )
