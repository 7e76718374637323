from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import facade
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from microbench import config as options
from microbench import engines
from microbench.config import Config, EngineConfig, PrecisionConfig
from microbench.devices import cuda
from microbench.distribution import install_line
from microbench.engines import Job, Program, onnxruntime
from microbench.engines.onnxruntime import files, library, session
from microbench.engines.onnxruntime.files import saturates
from microbench.errors import SkippedError
from microbench.host.state import denormals_flushed
from microbench.watch.tensors import tensors
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient


def configured(precision: str = "fp32", device: str = "cpu", **engine: Any) -> Config:
    config = Config(
        precision=PrecisionConfig(precision), engine=EngineConfig("onnxruntime", **engine), threads=1
    )
    config.device.name = device
    return config


def prepared(module: nn.Module, *inputs: Tensor, config: Config | None = None) -> Program:
    workload = Workload("tiny", module.eval(), inputs, OnesGradient())
    return engines.prepare(Job(workload, config or configured(), training=False))


def output(program: Program) -> list[Tensor]:
    """Return a copy of a call's output."""
    return [tensor.clone() for tensor in tensors(program.outputs(program.call()))]


def wanted(program: Program) -> list[Tensor]:
    """Return eager mode's output."""
    with torch.no_grad():
        return list(tensors(program.workload.module(*program.workload.inputs)))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where temporary files go."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield Path(tempfile.tempdir)
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def program(folder: Path) -> Program:
    return prepared(net(), torch.randn(2, 3, 8, 8))


def test_it_computes_what_eager_mode_computes(program: Program) -> None:
    torch.testing.assert_close(output(program), wanted(program))


def test_the_facts_name_library_version_and_provider(program: Program) -> None:
    library, provider = program.info.engine.split(", ")
    assert library.startswith("onnxruntime 1.")
    assert provider == "CPUExecutionProvider"
    assert program.info.arithmetic == "fp32"


def test_no_file_is_left(program: Program, folder: Path) -> None:
    assert output(program)
    assert list(folder.rglob("*.onnx*")) == []


def test_inputs_and_outputs_are_bound_in_place(program: Program) -> None:
    before, (images,) = output(program), program.workload.inputs
    addresses = [tensor.data_ptr() for tensor in program.outputs(program.call())]
    images.mul_(2)
    after = output(program)
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(after, wanted(program))
    assert [tensor.data_ptr() for tensor in program.outputs(program.call())] == addresses


def test_with_copies_a_call_takes_and_gives_arrays() -> None:
    program = prepared(net(), torch.randn(2, 3, 8, 8), config=configured(copies=True))
    assert [type(array) for array in program.call()] == [np.ndarray]
    assert program.call()[0].ctypes.data != program.call()[0].ctypes.data
    torch.testing.assert_close(output(program), wanted(program))


@pytest.mark.filterwarnings("error")  # of which torch's exporter has some for an LSTM
def test_several_outputs_come_in_their_order_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    program = prepared(nn.LSTM(6, 4, batch_first=True), torch.randn(2, 5, 6))
    assert [tuple(tensor.shape) for tensor in output(program)] == [(2, 5, 4), (1, 2, 4), (1, 2, 4)]
    torch.testing.assert_close(output(program), wanted(program))
    assert capfd.readouterr() == ("", "")


class Undeclared:
    """A session whose first output is declared without its shape."""

    def get_inputs(self) -> list[Any]:
        return []

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(shape=[]), SimpleNamespace(shape=[2, 3])]

    def run(self, names: None, feeds: dict[str, Any]) -> list[Any]:
        return [np.zeros((1, 2, 4)), np.zeros((2, 3))]


def test_a_run_tells_the_shape_that_a_graph_leaves_out() -> None:
    workload = Workload("nothing", nn.Identity(), (), OnesGradient())
    assert session.shapes(Undeclared(), workload) == [(1, 2, 4), [2, 3]]


def test_int8_is_computed_and_near() -> None:
    program = prepared(net(), torch.randn(2, 3, 8, 8), config=configured("int8"))
    (found,), (exact,) = output(program), wanted(program)
    error = (found - exact).abs().max() / exact.abs().max()
    assert 1e-4 < error < 5e-2
    assert program.info.arithmetic == ("int8, weights in 7 bits" if saturates() else "int8")


def test_a_dense_layer_in_int8_is_within_the_tolerance_whatever_multiplies() -> None:
    """Without 7 bits where 8 saturate, it is off by 0.13 of the largest output."""
    torch.manual_seed(0)
    program = prepared(nn.Linear(1024, 512), torch.randn(2, 1024), config=configured("int8"))
    (found,), (exact,) = output(program), wanted(program)
    assert (found - exact).abs().max() / exact.abs().max() < 2e-2


def test_products_of_8_bits_that_saturate_here_have_weights_of_7(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = Workload("tiny", nn.Linear(64, 16).eval(), (torch.randn(8, 64),), OnesGradient())
    path = files.export(workload, tmp_path)
    for reduced, least, most in ((False, 65, 128), (True, 1, 64)):
        written = library.onnx.load(files.quantize(path, path.parent, workload, seed=0, reduced=reduced))
        weights = [library.onnx.numpy_helper.to_array(each) for each in written.graph.initializer]
        largest = max(
            abs(each.astype(int)).max() for each in weights if each.dtype == np.int8 and each.size > 1
        )
        assert least <= largest <= most
    monkeypatch.setattr(files, "saturates", lambda: True)
    program = prepared(nn.Linear(64, 16), torch.randn(8, 64), config=configured("int8"))
    assert program.info.arithmetic == "int8, weights in 7 bits"


def test_quantizing_needs_the_optimizer_of_graphs() -> None:
    """It fuses what is quantized; without it all is converted to fp32 and back."""
    with pytest.raises(SkippedError, match="computes no layer of this module in precision=int8"):
        prepared(nn.Linear(4, 4), torch.randn(2, 4), config=configured("int8", level="disabled"))


class Decomposed(nn.Module):
    """Something that there is no ONNX for."""

    def forward(self, matrix: Tensor) -> Any:
        return torch.linalg.svd(matrix)


def test_what_cannot_be_exported_is_skipped_with_the_reason() -> None:
    with pytest.raises(SkippedError, match=r"engine=onnxruntime cannot export this module: .*linalg_svd"):
        prepared(Decomposed(), torch.randn(3, 3))


def test_what_fails_in_eager_mode_too_fails_as_there() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        prepared(nn.Linear(4, 4), torch.randn(2, 3))


class Found(nn.Module):
    """An output whose shape depends on values."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.nonzero(values)


def test_an_output_of_unknown_shape_cannot_be_bound() -> None:
    with pytest.raises(SkippedError, match=r"use engine\.copies=true"):
        prepared(Found(), torch.tensor([0.0, 1.0, 2.0]))


class Half(nn.Module):
    """Makes denormal numbers of the smallest normal ones."""

    def forward(self, values: Tensor) -> Tensor:
        return values * 0.5


@pytest.mark.parametrize("flush", [False, True])
def test_denormals_are_flushed_on_every_thread_if_requested(flush: bool) -> None:
    tiny = torch.full((1 << 20,), torch.finfo(torch.float32).tiny)
    config = replace(configured(), threads=2, flush_denormal=flush)
    with denormals_flushed(flush):
        (halves,) = output(prepared(Half(), tiny, config=config))
    assert bool((halves == 0).all()) is flush
    assert bool((halves == 0).any()) is flush


def test_a_session_has_the_threads_of_the_configuration(tmp_path: Path) -> None:
    made = session.options(replace(configured(level="basic"), threads=3, interop_threads=2), tmp_path)
    assert (made.intra_op_num_threads, made.inter_op_num_threads) == (3, 2)
    assert made.execution_mode.name == "ORT_PARALLEL"
    assert made.graph_optimization_level.name == "ORT_ENABLE_BASIC"


def test_one_operation_at_a_time_is_the_default(tmp_path: Path) -> None:
    assert session.options(configured(), tmp_path).execution_mode.name == "ORT_SEQUENTIAL"


def test_every_level_is_one_of_the_library(tmp_path: Path) -> None:
    assert tuple(session.LEVELS) == options.LEVELS
    for level in options.LEVELS:
        session.options(configured(level=level), tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            configured("bf16"),
            "does not support precision=bf16 on device=cpu; it supports fp32, tf32, fp16, int8",
        ),
        (configured("fp16"), "does not support precision=fp16 on device=cpu; it supports fp32, int8"),
        (
            configured("int8", "cuda"),
            "does not support precision=int8 on device=cuda; it supports fp32, tf32, fp16",
        ),
        (replace(configured(), layout="channels_last"), "does not support layout=channels_last"),
    ],
)
def test_what_it_does_not_compute_is_skipped(config: Config, message: str) -> None:
    with pytest.raises(SkippedError, match=f"engine=onnxruntime {message}"):
        prepared(nn.Linear(2, 2), torch.randn(1, 2), config=config)


def test_without_the_gpus_provider_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SkippedError, match=r"no CUDAExecutionProvider here: .*pip install onnxruntime-gpu"):
        onnxruntime.check(configured(device="cuda"))


@pytest.mark.parametrize("library", ["onnxruntime", "onnx", "onnxscript"])
def test_without_a_library_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SkippedError, match=re.escape(f"needs {library}: {install_line('onnxruntime')}")):
        prepared(nn.Linear(2, 2), torch.randn(1, 2))


class Session:
    """What a session of ONNX Runtime is made with, and its runs."""

    made: list[Session] = []  # noqa: RUF012

    def __init__(self, path: Path, given: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
        ((self.provider, self.settings),) = providers
        self.runs: list[tuple[Any, ...]] = []
        self.made.append(self)

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", type="tensor(float)", shape=[1, 2])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y", type="tensor(float)", shape=[1, 2])]

    def get_providers(self) -> list[str]:
        return [self.provider]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {self.provider: self.settings}

    def get_session_options(self) -> Any:
        return session.options(configured(), Path())

    def io_binding(self) -> Any:
        return SimpleNamespace(bind_input=lambda *place: None, bind_output=lambda *place: None)

    def run_with_iobinding(self, *how: Any) -> None:
        self.runs.append(how)

    def run(self, *how: Any) -> list[Any]:
        self.runs.append(how)
        return [np.zeros((1, 2))]


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A GPU that ONNX Runtime has a provider for; its streams as they become the current one, and end."""
    seen: list[str] = []

    @contextmanager
    def own_stream(self: Any) -> Iterator[int]:
        seen.append("stream")
        try:
            yield 4096
        finally:
            seen.append("end")

    Session.made = []
    with facade.installed():
        monkeypatch.setattr(cuda.Device, "own_stream", own_stream)
        monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr(session.onnxruntime, "InferenceSession", Session)
        yield seen


@pytest.mark.parametrize("is_timed", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_on_a_gpu_it_computes_on_torch_s_stream_without_waiting_and_searches_as_torch_does(
    is_timed: bool, precision: str, streams: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", is_timed)
    program = prepared(nn.Identity(), torch.ones(1, 2), config=configured(precision, "cuda"))
    (made,) = Session.made
    search = "EXHAUSTIVE" if is_timed else "HEURISTIC"
    assert (made.provider, made.settings) == (
        "CUDAExecutionProvider",
        {
            "device_id": "0",
            "use_tf32": str(int(precision == "tf32")),
            "cudnn_conv_algo_search": search,
            "user_compute_stream": "4096",
        },
    )
    assert program.info.engine.endswith(f", CUDAExecutionProvider, cudnn_conv_algo_search={search}")
    program.call()
    ((_, how),) = made.runs
    assert how.get_run_config_entry("disable_synchronize_execution_providers") == "1"
    assert streams == ["stream"]
    program.close()
    assert streams == ["stream", "end"]


def test_on_a_gpu_a_run_with_copies_waits_for_its_output(streams: list[str]) -> None:
    program = prepared(nn.Identity(), torch.ones(1, 2), config=configured(device="cuda", copies=True))
    program.call()
    assert len(Session.made[0].runs[-1]) == 2
    program.close()


def test_a_session_that_cannot_be_made_leaves_no_stream(
    streams: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(session.onnxruntime, "InferenceSession", refuse)
    with pytest.raises(RuntimeError, match="no memory"):
        prepared(nn.Identity(), torch.ones(1, 2), config=configured(device="cuda"))
    assert streams == ["stream", "end"]
