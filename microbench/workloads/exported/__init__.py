"""Models in the files that others exported: ONNX, OpenVINO's IR, and what torch saves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.system.weights import digest_with_weights
from microbench.workloads import inputs
from microbench.workloads.arranged import arranged
from microbench.workloads.exported import programs
from microbench.workloads.exported.declared import Declared, draw
from microbench.workloads.exported.graphs import File, ir_file, onnx_file
from microbench.workloads.exported.programs import Script
from microbench.workloads.objectives import OnesGradient
from microbench.workloads.unused import refuse
from microbench.workloads.workload import Workload

__all__ = ["NAME", "File", "Script", "build", "format_of"]

NAME = "exported"
"""The name of this source."""


def format_of(model: ModelConfig) -> str | None:
    """Return the format of a model's file if only some engines run it; None for a module of torch."""
    path = Path(model.file or "")
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".xml":
        return "openvino"
    is_saved = model.source == NAME and path.suffix != ".pt2"
    return "torchscript" if is_saved and programs.is_script(path) else None


def build(config: ModelConfig, batch_size: int, device: torch.device, training: bool) -> Workload:
    """Build what a file holds, with its own weights, and inputs as it declares them.

    Where the file says nothing about inputs, the configuration does. The objective has no effect, because
    files are for inference.

    Raises:
        UserError: it is something else, is not trusted, or has other inputs, or an option has no effect.
        SkippedError: a package that reads it is missing.
    """
    path = Path(str(config.file))
    if digest_with_weights(path) != config.code:
        raise UserError(f"{path} changed after the run began: start a new run.")
    refuse(config, "cls", "args", "kwargs", why=f"is for what makes a module, and {path.name} holds one")
    with device:
        module, declared = _loaded(config, path, device)
        module.train(False)
        if declared is not None:
            undeclared = ("call_kwargs", "input_count", "input_shared", "input_dtype")
            refuse(config, *undeclared, why=f"has no effect, because {path.name} declares its inputs")
            return Workload(
                config.name, module, tuple(draw(path.name, declared, config, batch_size)), OnesGradient()
            )
        if config.inputs is None and not config.input_shape:
            raise UserError(
                f"{path.name} does not describe its inputs: give model.input_shape or model.inputs."
            )
        args, kwargs = inputs.draw(config, module, batch_size, training=False)
    called, tensors = arranged(module, args, kwargs | config.call_kwargs)
    return Workload(config.name, called, tuple(tensors), OnesGradient())


def _loaded(config: ModelConfig, path: Path, device: torch.device) -> tuple[nn.Module, list[Declared] | None]:
    """Load a file: the module that it holds, and the inputs that it declares; None if it declares none."""
    if path.suffix in (".onnx", ".xml"):
        file = onnx_file(path) if path.suffix == ".onnx" else ir_file(path)
        return file, list(file.declared)
    if path.suffix == ".pt2":
        if not config.trust:
            raise programs.untrusted(path, "is loaded by torch.export.load, which")
        return programs.program(path, device)
    if programs.is_script(path):
        return programs.script(path, device), None
    return programs.pickled(path, device, config.trust), None
