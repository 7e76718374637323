"""Whether 8-bit products saturate here, asked of the library itself."""

from __future__ import annotations

import numpy as np

from microbench.engines.onnxruntime.library import onnx, onnxruntime
from microbench.formats.precision import LARGEST, LENGTH, saturated


def saturates() -> bool:
    """Whether a sum of the largest products of activations (uint8) and weights (int8) comes out too small."""
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
