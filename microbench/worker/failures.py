"""The report of a case that failed: its status, and one line with the remedy."""

from __future__ import annotations

import dataclasses
import re

import torch

from microbench import engines, modes, workloads
from microbench.config import Config, PrecisionConfig
from microbench.devices import Device
from microbench.engines import Job
from microbench.engines.capture.failures import reason
from microbench.errors import FailedAt, SkippedError, UserError, first_line
from microbench.records.record import Status
from microbench.workloads import Workload

HINTS: dict[type[BaseException], str] = {
    RuntimeError: "check model.input_shape",
    ValueError: "check model.input_shape",
    AssertionError: "check model.input_shape",
    IndexError: "check model.input_shape and model.input_high",
}
"""What to check if the first call fails with such an error."""

OF_BATCH = re.compile(r"Guard failed: .*\.size\(\)\[0\]")
"""How an exported program begins to say that it is not for a batch of this size."""

OF_GPU = ("CUDA error", "CUDA failure", "CUBLAS_STATUS_", "CUDNN_STATUS_")
"""What errors of a GPU contain: they may stem from an earlier call than the one that failed."""

NO_MEMORY = (
    "DefaultCPUAllocator",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to allocate memory for requested buffer",  # ONNX Runtime
)
"""What errors contain that mean that memory ran out."""


def explain(
    error: BaseException, config: Config, doing: str, workload: Workload | None
) -> tuple[Status, str]:
    """Return a failure's status, and one line that says what went wrong and what to do about it."""
    name, message = _name(config), first_line(error) if str(error) else type(error).__name__
    if isinstance(error, UserError):
        return Status.ERROR, str(error)
    if isinstance(error, SkippedError):
        return Status.SKIPPED, str(error)
    if is_out_of_memory(error):
        return Status.OOM, _sentence(f"{doing} {name} ran out of memory: {message}; lower batch_size")
    if "requires grad is being used in an in-place operation" in message:
        is_input = workload is not None and any(each.requires_grad for each in workload.inputs)
        written = "its input" if is_input else "a weight"
        return Status.ERROR, f"{name} overwrites {written}, so it cannot train: use mode=infer."
    if "more than 1 value per channel when training" in message:
        return Status.ERROR, (
            f"{name} cannot train at batch_size={config.batch_size}: batch normalization needs more than one "
            "value per channel; use batch_size=2 or more"
        )
    if config.model.file is not None and OF_BATCH.match(message):
        given = f"{config.model.name} was not exported for batch_size={config.batch_size}"
        return Status.ERROR, f"{given}: {message}; give another batch_size"
    on_gpu = _hint_on_gpu(error)
    told, hint, where = f"{type(error).__name__}: {message}", on_gpu or _hint(error, config), error.__cause__
    if isinstance(where, FailedAt):
        within, advice = f" in {where}" if where.name else "", f"; {hint}" if hint else ""
        return Status.ERROR, f"{config.model.name} failed{within} {where.given}: {told}{advice}"
    text = f"{doing} {name} failed: {told}"
    if on_gpu:
        text += f"; {on_gpu}"
    elif doing.startswith("the first call") and workload is not None:
        text += f" (input {workload.shape()}{f': {hint}' if hint else ''})"
    return Status.ERROR, _sentence(text)


def _hint_on_gpu(error: BaseException) -> str | None:
    """Return how to find the call that caused an error of a GPU; None for other errors."""
    if not any(text in str(error) for text in OF_GPU):
        return None
    index = "an index may be too large; " if "device-side assert" in str(error) else ""
    return f"{index}env_set.CUDA_LAUNCH_BLOCKING=1 shows which call fails"


def _hint(error: BaseException, config: Config) -> str | None:
    """Return what to check after an error of the module itself, not of what makes it or of its objective."""
    if isinstance(where := error.__cause__, FailedAt) and where.type in ("", "objective"):
        return None
    of_call = isinstance(error, (*HINTS, TypeError))
    if config.model.identity is not None:
        return "check inputs" if of_call else None
    if config.model.inputs is not None:
        return "check model.inputs" if of_call else None
    return HINTS.get(type(error))


def _name(config: Config) -> str:
    """Return the name of a case's workload, and of its engine if that is not eager."""
    name = f"{config.model.name} {config.model.part or ''}".rstrip()
    return name if config.engine.name == "eager" else f"{name} with engine={config.engine.name}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out, on the host or on a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    is_a_librarys = isinstance(error, RuntimeError) or type(error).__module__ != "builtins"
    return is_a_librarys and any(text in str(error) for text in NO_MEMORY)


def check_precision(error: Exception, config: Config, doing: str, device: Device) -> None:
    """Raise a SkippedError if a case that failed in its precision works in fp32 with the same engine.

    If it fails in fp32 too, the error is the model's own, or the engine's. Which formats a library supports
    for an operator depends on the CPU and on the library's version, so they are tried and not listed.
    """
    is_set_up = doing in ("preparing", "the first call of")
    if config.precision.name == "fp32" or not is_set_up:
        return
    if isinstance(error, (SkippedError, UserError)) or is_out_of_memory(error):
        return
    try:
        training = modes.find(config.mode.name).trains(config)
        _run_once(dataclasses.replace(config, precision=PrecisionConfig("fp32")), training, device)
    except Exception:
        return
    where = error.__cause__
    within = f" in {where}" if isinstance(where, FailedAt) and where.name else ""
    name, precision = _name(config), config.precision.name
    raise SkippedError(
        f"{name} runs in fp32 but not in precision={precision} here{within}: {reason(error)}"
    ) from error


def _run_once(config: Config, training: bool, device: Device) -> None:
    """Prepare a configuration of the same work, and call it once; in training, with the backward pass."""
    workload = workloads.build(config.model, config.batch_size, device.torch_device(), training, config.seed)
    program = engines.prepare(Job(workload, config, training))
    try:
        program.rehearse(training)
    finally:
        program.close()
