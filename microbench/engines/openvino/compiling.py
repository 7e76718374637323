"""How a model is compiled, and what of it then is computed in which format."""

from __future__ import annotations

from collections import Counter
from typing import Any

from microbench.config import Config
from microbench.engines import counts_as_text
from microbench.engines.openvino.library import openvino
from microbench.errors import SkippedError
from microbench.formats import arithmetic as instructions
from microbench.formats.precision import REDUCED

HINTS = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16"), "fp16": ("f16", "FP16")}
"""By a precision: OpenVINO's names of it as a type, and as a capability of a CPU."""

FORMATS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
"""By OpenVINO's name of a layer's type: the precision."""

EXTENSIONS = {
    "bf16": ("amx_bf16", "avx512_bf16"),
    "fp16": ("amx_fp16", "avx512_fp16"),
    "int8": ("amx_int8", "avx512_vnni"),
}
"""By a precision: the CPU's extensions that multiply in it, as layers' kernels begin with their names."""

MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell")
MOVING = ("Input", "Output", "Const", "Reorder", "Reshape", "Transpose", "Convert")
"""Kinds of layers: those that count, and those that never do."""

Layer = dict[str, str]


def settings(config: Config) -> dict[str, Any]:
    """Return the properties to compile with: one stream of the case's threads, in that precision only.

    Left to itself, OpenVINO computes fp32 in bf16 on CPUs that have it.

    Raises:
        SkippedError: this CPU does not compute in that precision.
    """
    precision = config.precision.name
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": config.threads,
        "INFERENCE_PRECISION_HINT": hint(precision),
        "EXECUTION_MODE_HINT": "ACCURACY" if precision == "fp32" else "PERFORMANCE",
        "CPU_DENORMALS_OPTIMIZATION": config.flush_denormal,
    }


def hint(precision: str) -> str:
    """Return OpenVINO's name of the type to compute in; for int8, of what is not quantized.

    Raises:
        SkippedError: this CPU does not compute in it.
    """
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "int8":
        precision = "bf16" if "BF16" in able and is_allowed("bf16") else "fp32"
    name, capability = HINTS[precision]
    if capability not in able or not is_allowed(precision):
        limit = instructions.limit()
        where = "on this CPU" if capability not in able else f"within ONEDNN_MAX_CPU_ISA={limit}"
        raise SkippedError(f"engine=openvino does not support precision={precision} {where}")
    return name


def is_allowed(precision: str) -> bool:
    """Say whether the environment lets OpenVINO's copy of oneDNN compute in a precision.

    OpenVINO itself does not heed the variable, and fails where it counts on instructions that oneDNN may not
    use.
    """
    extensions = EXTENSIONS.get(precision, ())
    return not extensions or any(map(instructions.is_allowed, extensions))


def arithmetic(compiled: Any, precision: str, reduced: bool) -> str:
    """Describe what multiplies in a compiled model, by the layers' kernels.

    Args:
        compiled: the model.
        precision: what was asked for.
        reduced: whether weights have 7 bits, because products of 8 saturate here.

    Raises:
        SkippedError: nothing of it is computed in the precision that was asked for.
    """
    layers = layers_of(compiled)
    if precision not in {FORMATS.get(layer["runtimePrecision"]) for layer in layers}:
        raise SkippedError(f"engine=openvino computes no layer of this module in precision={precision}")
    text = counts_as_text(Counter(multiplier(layer, reduced) for layer in layers))
    return f"{text}, {REDUCED}" if reduced else text


def layers_of(compiled: Any) -> list[Layer]:
    """Return the layers that multiply; where none does, all that compute."""
    found = [
        {str(key): str(value.astype(str)) for key, value in each.get_rt_info().items()}
        for each in compiled.get_runtime_model().get_ordered_ops()
    ]
    computing = [layer for layer in found if layer["layerType"] not in MOVING]
    return [layer for layer in computing if layer["layerType"] in MULTIPLYING] or computing


def multiplier(layer: Layer, reduced: bool = False) -> str:
    """Name what multiplies in a layer: an extension of the CPU, or the precision where none is known."""
    type_, kernel = layer["runtimePrecision"], layer["primitiveType"]
    precision = FORMATS.get(type_, type_)
    saturating = reduced and precision == "int8"  # which none of the extensions does
    if layer["layerType"] in MULTIPLYING and not saturating:
        for extension in EXTENSIONS.get(precision, ()):
            if extension.partition("_")[0] in kernel and is_usable(extension):
                return extension
    return precision


def is_usable(extension: str) -> bool:
    """Say whether the CPU has an extension, and the environment lets OpenVINO's copy of oneDNN use it."""
    allowed = extension not in instructions.NEEDED or instructions.is_allowed(extension)
    return allowed and extension in instructions.available()
