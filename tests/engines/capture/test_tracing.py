"""A module in whose output no tensor is found is not made an empty graph, which would be fast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from microbench.engines import export, torchscript
from microbench.engines.libtorch import traced
from microbench.engines.onnxruntime import files
from microbench.engines.onnxruntime.library import onnx
from microbench.engines.openvino import model
from microbench.engines.openvino.library import openvino
from microbench.errors import SkippedError
from microbench.watch.tensors import tensors
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient


class Hiding(nn.Module):
    """Computes something, and puts out what no tensor is found in."""

    def __init__(self, hide: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.dense, self.hide = nn.Linear(4, 4), hide

    def forward(self, x: Tensor) -> object:
        return self.hide(self.dense(x))


class Box:
    def __init__(self, value: Tensor) -> None:
        self.value = value


def hiding(hide: Callable[[Tensor], object]) -> Workload:
    return Workload("tiny", Hiding(hide).eval(), (torch.randn(2, 4),), OnesGradient())


CAPTURES: dict[str, Callable[[Workload, Path], object]] = {
    "torchscript": lambda workload, folder: torchscript.traced(workload, training=False),
    "libtorch": lambda workload, folder: traced.write(workload, False, folder),
    "export": lambda workload, folder: export.exported(workload),
    "onnxruntime": lambda workload, folder: files.export(workload, folder),
    "openvino": lambda workload, folder: model.convert(workload),
}
LIBRARIES = {"onnxruntime": onnx, "openvino": openvino}
HIDES: dict[str, Callable[[Tensor], object]] = {
    "nothing": lambda y: None,
    "a number": lambda y: 1.0,
    "an object": lambda y: object(),
}


@pytest.mark.parametrize("hide", HIDES.values(), ids=list(HIDES))
@pytest.mark.parametrize("engine", CAPTURES)
def test_an_empty_graph_is_skipped(engine: str, hide: Callable[[Tensor], object], tmp_path: Path) -> None:
    if LIBRARIES.get(engine, torch) is None:
        pytest.skip(f"{engine} is not installed")
    with pytest.raises(SkippedError) as raised:
        CAPTURES[engine](hiding(hide), tmp_path)
    assert "\n" not in str(raised.value)


def test_the_reason_says_what_is_missing() -> None:
    with pytest.raises(SkippedError, match=r"^engine=torchscript .* this one has no tensor in its output"):
        torchscript.traced(hiding(lambda y: object()), training=False)


def test_a_tensor_in_an_object_is_computed_by_the_trace() -> None:
    workload = hiding(Box)
    with torch.no_grad():
        (wanted,) = tensors(workload.module(*workload.inputs))
        (found,) = tensors(torchscript.traced(workload, training=False)(*workload.inputs))
    assert torch.equal(found, wanted)


def test_tensors_that_a_trace_would_lose_are_reported(tmp_path: Path) -> None:
    with pytest.raises(SkippedError, match="this one returns 2 tensors, 1 of which would be lost"):
        traced.write(hiding(lambda y: (y, Box(y))), False, tmp_path)
