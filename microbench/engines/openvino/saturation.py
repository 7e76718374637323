"""Whether 8-bit products saturate here, asked of the library itself."""

from __future__ import annotations

import numpy as np

from microbench.engines.openvino.library import openvino
from microbench.formats.precision import LARGEST, LENGTH, saturated


def saturates() -> bool:
    """Whether a sum of the largest products of activations (uint8) and weights (int8) comes out too small."""
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
    """The bounds of a quantizer's inputs and of its outputs: where they are the same, it only rounds."""
    return [np.float32(bound) for bound in (least, most)] * 2
