"""A module converted to an OpenVINO model, and quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from microbench.engines.capture.tracing import Flat, trace
from microbench.engines.openvino.library import nncf, openvino
from microbench.errors import SkippedError, first_line
from microbench.formats import precision
from microbench.formats.precision import LARGEST, LENGTH, saturated
from microbench.workloads import Workload
from microbench.workloads.exported import File, Script

UNKNOWN = "-- No conversion rule"  # how the line of a long message begins that gives the reason
ATTENTION = ("ScaledDotProductAttention", "Softmax")  # operations of attention; classifiers have no others


class Differences(TorchFunctionMode):
    """Computes `torch.diff`, which OpenVINO cannot convert, by the subtractions that it stands for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, or in place of `torch.diff`, those that it stands for."""
        return (difference if func in (torch.diff, Tensor.diff) else func)(*args, **(kwargs or {}))


def difference(
    input: Tensor,  # noqa: A002 - as torch.diff calls it
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Return the n-th differences along a dimension, as `torch.diff` does."""
    found = torch.cat([each for each in (prepend, input, append) if each is not None], dim)
    for _ in range(min(n, found.shape[dim])):  # then nothing is left
        length = found.shape[dim] - 1
        ends = found.narrow(dim, 1, length), found.narrow(dim, 0, length)
        found = ends[0] ^ ends[1] if found.dtype is torch.bool else ends[0] - ends[1]
    return found


def convert(workload: Workload) -> Any:
    """Convert a module to a model for inputs of exactly these shapes.

    The module is traced, as OpenVINO itself does: torch.export would decompose LSTM layers.

    Raises:
        SkippedError: the module works but cannot be converted.
    """
    try:
        with torch.no_grad():
            module = workload.module  # of a script, a trace would only say that it is called
            with Differences():
                traced = module.script if isinstance(module, Script) else trace(Flat(module), workload.inputs)
            model = openvino.convert_model(traced, example_input=workload.inputs)
    except Exception as error:
        workload.module(*workload.inputs)  # re-raises errors that eager mode has too
        raise SkippedError(f"engine=openvino cannot convert this module: {reason(error)}") from error
    shapes = [list(tensor.shape) for tensor in workload.inputs]
    model.reshape(dict(zip(model.inputs, shapes, strict=True)))
    return model


def read(workload: Workload) -> Any:
    """Read a file of the user's, for inputs of exactly these shapes.

    Raises:
        SkippedError: OpenVINO cannot read it.
    """
    file = workload.module
    assert isinstance(file, File)
    try:
        model = openvino.Core().read_model(file.path)
        shapes = [list(tensor.shape) for tensor in ordered(workload, model)]
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
    except Exception as error:
        raise SkippedError(f"engine=openvino cannot read {file.path.name}: {reason(error)}") from error
    return model


def ordered(workload: Workload, model: Any) -> tuple[Tensor, ...]:
    """Return a workload's inputs in the order of a model's; reading a file may change it."""
    if not isinstance(workload.module, File):
        return workload.inputs
    names = [each.name for each in workload.module.declared]
    return tuple(workload.inputs[names.index(each.node.get_friendly_name())] for each in model.inputs)


def is_quantized(model: Any) -> bool:
    """Return whether a model was quantized when it was exported."""
    return any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())


def reason(error: Exception) -> str:
    """Return the line of an error that gives the reason."""
    lines = (line for line in str(error).splitlines() if line.startswith(UNKNOWN))
    return first_line(next(lines, error))


def quantize(model: Any, inputs: Sequence[Tensor], seed: int, reduced: bool) -> Any:
    """Quantize a model to int8 where possible: weights scaled per channel, activations per tensor.

    Args:
        model: an OpenVINO model.
        inputs: the inputs that calibrate it.
        seed: seed of the random calibration inputs.
        reduced: use half the range for all weights, so that their products do not saturate; otherwise nncf
            uses half the range for the first convolutions alone.
    """
    batches = [arrays(batch) for batch in precision.calibration_batches(inputs, seed)]
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if reduced else None
        ),
        model_type=nncf.ModelType.TRANSFORMER if attends(model) else None,
    )


def attends(model: Any) -> bool:
    """Return whether a model contains attention, which is quantized by rules of its own."""
    return any(operation.get_type_name() in ATTENTION for operation in model.get_ops())


def arrays(inputs: Sequence[Tensor]) -> list[Any]:
    """Return inputs as NumPy arrays in the same memory."""
    return [tensor.detach().numpy() for tensor in inputs]


def saturates() -> bool:
    """Return whether sums of the largest products of uint8 activations and int8 weights saturate."""
    operations = openvino.opset13
    activation, weight = LARGEST
    values = operations.parameter([1, LENGTH], np.float32)
    weights = operations.constant(np.full((LENGTH, LENGTH), weight, np.float32))
    product = operations.matmul(
        operations.fake_quantize(values, *_range(0, activation), levels=activation + 1),
        operations.fake_quantize(weights, *_range(-weight, weight), levels=2 * weight + 1),
        transpose_a=False,
        transpose_b=True,
    )
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(openvino.Model([product], [values]), "CPU", settings)
    return saturated(compiled([np.full((1, LENGTH), activation, np.float32)])[0])


def _range(least: int, most: int) -> list[np.float32]:
    """Return the bounds of a quantizer's inputs and outputs; if they are the same, it only rounds."""
    return [np.float32(bound) for bound in (least, most)] * 2
