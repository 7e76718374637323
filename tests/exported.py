"""Tiny models in the files that others export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A convolution and a dense layer, for images of 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.dense = nn.Linear(4 * 8 * 8, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.dense(torch.relu(self.convolution(images)).flatten(1))
        return logits


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def onnx_file(path: Path, batch: int | str = "batch", opset: int = 17, external: bool = False) -> Path:
    """Write a product of (batch, 6) with weights of (6, 4), and a ReLU."""
    import onnx

    helper, types = onnx.helper, onnx.TensorProto
    torch.manual_seed(0)
    weights = onnx.numpy_helper.from_array(torch.randn(6, 4).numpy(), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weights"], ["product"]),
            helper.make_node("Relu", ["product"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", types.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info("y", types.FLOAT, [batch, 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    settings: dict[str, Any] = {"location": f"{path.name}.data", "size_threshold": 0} if external else {}
    onnx.save_model(model, path, save_as_external_data=external, **settings)
    return path


def embedding_file(path: Path) -> Path:
    """Write an ONNX file that looks up indices of (batch, length) in a table of seven rows."""
    import onnx

    helper, types = onnx.helper, onnx.TensorProto
    torch.manual_seed(0)
    table = onnx.numpy_helper.from_array(torch.randn(7, 4).numpy(), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("Unsqueeze", ["mask", "last"], ["shares"]),
            helper.make_node("Mul", ["rows", "shares"], ["y"]),
        ],
        "embedding",
        [
            helper.make_tensor_value_info("ids", types.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("mask", types.FLOAT, ["batch", "length"]),
        ],
        [helper.make_tensor_value_info("y", types.FLOAT, ["batch", "length", 4])],
        [table, helper.make_tensor("last", types.INT64, [1], [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path)
    return path


def ir_file(path: Path, compress_to_fp16: bool = True) -> Path:
    """Write an OpenVINO IR of a product of (batch, any) with weights of (6, 4), by default kept in fp16."""
    import numpy as np

    from microbench.engines.openvino.library import openvino

    operations = openvino.opset13
    torch.manual_seed(0)
    x = operations.parameter(openvino.PartialShape([-1, -1]), np.float32, name="x")
    product = operations.matmul(x, operations.constant(torch.randn(6, 4).numpy()), False, False)
    model = openvino.Model([operations.relu(product)], [x], "net")
    openvino.save_model(model, path, compress_to_fp16=compress_to_fp16)
    return path


def program_file(path: Path) -> Path:
    """Write `Net` as an exported program for any batch."""
    shapes = {"images": {0: torch.export.Dim("batch")}}
    torch.export.save(torch.export.export(net(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=shapes), path)
    return path


def script_file(path: Path) -> Path:
    """Write `Net` as TorchScript."""
    torch.jit.save(torch.jit.script(net()), path)  # type: ignore[no-untyped-call]
    return path
