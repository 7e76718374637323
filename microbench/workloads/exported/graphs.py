"""Files that torch does not run: ONNX models and OpenVINO's IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor, nn

from microbench.distribution import install_line
from microbench.errors import SkippedError, UserError, first_line
from microbench.system.weights import weight_files
from microbench.workloads.exported.declared import ANY_SIZE, Declared

ONNX_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
"""Torch's type for each of ONNX's numbers (`TensorProto.DataType`)."""

IR_TYPES = {
    "f16": torch.float16,
    "f32": torch.float32,
    "f64": torch.float64,
    "bf16": torch.bfloat16,
    "i8": torch.int8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    "u8": torch.uint8,
    "boolean": torch.bool,
}
"""Torch's type for each of OpenVINO's names."""


class File(nn.Module):
    """A model that an engine reads from its file; torch cannot call it.

    Attributes:
        path: the file.
        declared: its inputs.
    """

    def __init__(self, path: Path, declared: Sequence[Declared]) -> None:
        super().__init__()
        self.path, self.declared = path, tuple(declared)

    def sizes(self, inputs: Sequence[Tensor]) -> Mapping[str, int]:
        """Return the sizes that inputs give to the dynamic dimensions that have a name."""
        return {
            name: size
            for each, tensor in zip(self.declared, inputs, strict=True)
            for name, size in zip(each.shape or (), tensor.shape, strict=False)
            if isinstance(name, str) and name != ANY_SIZE
        }

    def forward(self, *inputs: Tensor) -> Any:
        """Refuse to run.

        Raises:
            SkippedError: always.
        """
        raise SkippedError(f"{self.path.name} holds no module of torch")


def onnx_file(path: Path) -> File:
    """Read an ONNX file's inputs, without its weights.

    Raises:
        SkippedError: the package that reads it is missing.
        UserError: it is something else, or its weights are missing.
    """
    if any(find_spec(each) is None for each in ("onnx", "onnxruntime")):
        raise SkippedError(f"{path.name} needs onnx and onnxruntime: {install_line('onnxruntime')}")
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:
        raise UserError(f"{path.name} is not an ONNX file: {first_line(error)}.") from error
    if not graph.node:
        raise UserError(f"{path.name} is not an ONNX file, or an empty one: its graph has no nodes.")
    _check_weights(path, weight_files(path))
    weights = {each.name for each in graph.initializer}
    return File(path, [_of_onnx(path, each) for each in graph.input if each.name not in weights])


def _of_onnx(path: Path, value: Any) -> Declared:
    kind = value.type.tensor_type
    if kind.elem_type not in ONNX_TYPES:
        raise UserError(f"{path.name} takes {value.name}, which is not a tensor of numbers.")
    dims = kind.shape.dim if kind.HasField("shape") else None
    shape = None if dims is None else tuple(_size(each) for each in dims)
    return Declared(value.name, ONNX_TYPES[kind.elem_type], shape)


def _size(dimension: Any) -> int | str:
    return int(dimension.dim_value) if dimension.dim_value else dimension.dim_param or ANY_SIZE


def ir_file(path: Path) -> File:
    """Read the inputs of an OpenVINO IR: an .xml, beside which a .bin has the weights.

    Raises:
        UserError: it is something else, or its weights are missing.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not an OpenVINO IR: {first_line(error)}.") from error
    layers = root.findall("./layers/layer")
    if root.tag != "net" or not layers:
        raise UserError(
            f"{path.name} is not an OpenVINO IR: its root is <{root.tag}>, not <net> with layers."
        )
    if any(each.get("type") == "Const" for each in layers):
        _check_weights(path, weight_files(path))
    return File(path, [_of_ir(path, each) for each in layers if each.get("type") == "Parameter"])


def _of_ir(path: Path, layer: ElementTree.Element) -> Declared:
    name, data = str(layer.get("name")), layer.find("data")
    kind = "" if data is None else data.get("element_type", "")
    if data is None or kind not in IR_TYPES:
        raise UserError(f"{path.name} takes {name} of type {kind or 'unknown'}, which cannot be drawn.")
    text = data.get("shape", "...")
    if "..." in text:
        return Declared(name, IR_TYPES[kind], None)
    sizes = [each.strip() for each in text.split(",") if each.strip()]
    return Declared(name, IR_TYPES[kind], tuple(int(each) if each.isdigit() else ANY_SIZE for each in sizes))


def _check_weights(path: Path, files: Sequence[Path]) -> None:
    """Raise a UserError if a file with weights is missing."""
    missing = next((each for each in files if not each.is_file()), None)
    if missing is not None:
        raise UserError(f"{path.name} has its weights in {missing.name}, which is not beside it: {missing}.")
