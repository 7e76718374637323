"""Compiler settings for a model, and the formats in which its layers are then computed."""

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
"""For each precision: its names in OpenVINO as a type and as a CPU's capability."""

FORMATS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
"""The precision for each name of a layer's type in OpenVINO."""

EXTENSIONS = {
    "bf16": ("amx_bf16", "avx512_bf16"),
    "fp16": ("amx_fp16", "avx512_fp16"),
    "int8": ("amx_int8", "avx512_vnni"),
}
"""For each precision, the CPU extensions that multiply in it, by the prefixes of the kernels' names."""

MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell")
MOVING = ("Input", "Output", "Const", "Reorder", "Reshape", "Transpose", "Convert")
"""Kinds of layers: those that count, and those that never do."""

Layer = dict[str, str]


def settings(config: Config) -> dict[str, Any]:
    """Return the properties to compile with: one stream, the case's threads, its precision only.

    By default, OpenVINO computes fp32 in bf16 on CPUs that have it.

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
    """Return OpenVINO's name of the type to compute in; for int8, of the layers that are not quantized.

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
    """Return whether the environment lets OpenVINO's copy of oneDNN compute in a precision.

    OpenVINO itself ignores the variable, and fails if it relies on instructions that oneDNN may not use.
    """
    extensions = EXTENSIONS.get(precision, ())
    return not extensions or any(map(instructions.is_allowed, extensions))


def arithmetic(compiled: Any, precision: str, reduced: bool) -> str:
    """Return what multiplies in a compiled model, from the names of the layers' kernels.

    Args:
        compiled: the model.
        precision: the requested precision.
        reduced: whether weights have 7 bits because products of 8 bits saturate here.

    Raises:
        SkippedError: no layer is computed in the requested precision.
    """
    layers = layers_of(compiled)
    if precision not in map(_precision, layers):
        raise SkippedError(f"engine=openvino computes no layer of this module in precision={precision}")
    text = counts_as_text(Counter(multiplier(layer, reduced) for layer in layers))
    return f"{text}, {REDUCED}" if reduced else text


def layers_of(compiled: Any) -> list[Layer]:
    """Return the layers that multiply; if none does, all that compute."""
    found = [
        {str(key): str(value.astype(str)) for key, value in each.get_rt_info().items()}
        for each in compiled.get_runtime_model().get_ordered_ops()
    ]
    computing = [layer for layer in found if layer["layerType"] not in MOVING]
    return [layer for layer in computing if layer["layerType"] in MULTIPLYING] or computing


def multiplier(layer: Layer, reduced: bool = False) -> str:
    """Return the CPU extension that multiplies in a layer, or if none is known, the precision."""
    kernel, precision = layer["primitiveType"], _precision(layer)
    saturating = reduced and precision == "int8"  # no extension does
    if layer["layerType"] in MULTIPLYING and not saturating:
        for extension in EXTENSIONS.get(precision, ()):
            if extension.partition("_")[0] in kernel and is_usable(extension):
                return extension
    return precision


def _precision(layer: Layer) -> str:
    """Return the precision that a layer computes in.

    Of weights that a file keeps in 16 bits, as OpenVINO's IR does by default, the layer's type is that of the
    weights, although a kernel for fp32 reads them.
    """
    type_ = layer["runtimePrecision"]
    if type_ in ("f16", "bf16") and layer["primitiveType"].endswith("_f32"):
        type_ = "f32"
    return FORMATS.get(type_, type_)


def is_usable(extension: str) -> bool:
    """Return whether the CPU has an extension and the environment lets OpenVINO's copy of oneDNN use it."""
    allowed = extension not in instructions.NEEDED or instructions.is_allowed(extension)
    return allowed and extension in instructions.available()
