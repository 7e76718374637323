"""A module as ONNX files: exported, quantized, and optimized by a session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from microbench.engines import counts_as_text
from microbench.engines.capture.tracing import EMPTY
from microbench.engines.onnxruntime.library import onnx, onnxruntime, quantization
from microbench.errors import SkippedError, first_line
from microbench.formats import precision
from microbench.formats.precision import LARGEST, LENGTH, saturated
from microbench.workloads import Workload

QUANTIZED = ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm", "QAttention")
FLOATING = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN")
"""Parts of the names of operators that multiply."""


def export(workload: Workload, folder: Path) -> Path:
    """Write a module, with its weights in a separate file because a file is limited to 2 GB.

    Raises:
        SkippedError: the module works but cannot be exported, or the graph would be empty.
    """
    path = folder / "module.onnx"
    try:
        with torch.no_grad():
            program = torch.onnx.export(workload.module, workload.inputs, dynamo=True, verbose=False)
        program.save(path, external_data=True)  # type: ignore[union-attr]
    except Exception as error:
        workload.module(*workload.inputs)  # re-raises errors that eager mode has too
        raise SkippedError(f"engine=onnxruntime cannot export this module: {cause(error)}") from error
    if not onnx.load(path, load_external_data=False).graph.output:
        raise SkippedError(f"engine=onnxruntime exports the module; this one {EMPTY}")
    return path


def cause(error: BaseException) -> str:
    """Return the first line of an error's cause: the exporter's own text only says how to report it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


class Feeds:
    """The inputs that int8's ranges are calibrated with, call by call."""

    def __init__(self, names: list[str], workload: Workload, seed: int) -> None:
        self._names, self._batches = names, precision.calibration_batches(workload.inputs, seed)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next call's inputs, by name; None after the last."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        return {name: tensor.numpy() for name, tensor in zip(self._names, batch, strict=True)}


def quantize(path: Path, folder: Path, workload: Workload, seed: int, reduced: bool) -> Path:
    """Write a module with its weights in int8, scaled by channel, and its activations in uint8.

    Args:
        path: the exported module.
        folder: where to write it.
        workload: the workload whose inputs calibrate it.
        seed: seed of the random calibration inputs.
        reduced: use 7 bits for weights, so that their products do not saturate.
    """
    names = [each.name for each in onnx.load(path, load_external_data=False).graph.input]
    written = folder / "quantized.onnx"
    quantization.quantize_static(
        path,
        written,
        Feeds(names, workload, seed),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        reduce_range=reduced,
    )
    return written


def optimized(folder: Path) -> Path:
    """Return the path that a session writes its optimized module to."""
    return folder / "optimized.onnx"


def is_quantized(path: Path) -> bool:
    """Return whether an ONNX file was quantized when it was exported."""
    kinds = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    return bool(kinds & {"QuantizeLinear", "DynamicQuantizeLinear", *QUANTIZED})


def arithmetic(path: Path) -> str:
    """Return the formats in which an optimized module's operators multiply, with their counts.

    Raises:
        SkippedError: none multiplies in int8.
    """
    nodes = onnx.load(path, load_external_data=False).graph.node
    counts = Counter(filter(None, (format_of(node.op_type) for node in nodes)))
    if "int8" not in counts:
        raise SkippedError("engine=onnxruntime computes no layer of this module in precision=int8")
    return counts_as_text(counts)


def format_of(operator: str) -> str | None:
    """Return the format in which an operator multiplies; None if it does not multiply."""
    if any(name in operator for name in QUANTIZED):
        return "int8"
    return "fp32" if any(name in operator for name in FLOATING) else None


def saturates() -> bool:
    """Return whether sums of the largest products of uint8 activations and int8 weights saturate."""
    helper, types = onnx.helper, onnx.TensorProto
    activation, weight = LARGEST
    weights = onnx.numpy_helper.from_array(np.full((LENGTH, LENGTH), weight, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "saturation",
        [helper.make_tensor_value_info("activations", types.UINT8, [1, LENGTH])],
        [helper.make_tensor_value_info("sums", types.INT32, [1, LENGTH])],
        [weights],
    )
    # The oldest versions that have the operator: any ONNX Runtime reads them.
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=7)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        written.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (sums,) = session.run(None, {"activations": np.full((1, LENGTH), activation, np.uint8)})
    return saturated(sums)
