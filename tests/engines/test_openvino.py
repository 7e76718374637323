from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import engines
from microbench.config import Config, EngineConfig, PrecisionConfig
from microbench.distribution import install_line
from microbench.engines import Job, Program, openvino
from microbench.engines.openvino import compiling, library, model
from microbench.engines.openvino.model import difference, saturates
from microbench.errors import SkippedError
from microbench.formats import arithmetic
from microbench.host.state import denormals_flushed
from microbench.watch.tensors import tensors
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient


def configured(precision: str = "fp32") -> Config:
    config = Config(precision=PrecisionConfig(precision), engine=EngineConfig("openvino"), threads=1)
    config.device.name = "cpu"
    return config


def workload_of(module: nn.Module, *inputs: Tensor) -> Workload:
    return Workload("tiny", module.eval(), inputs, OnesGradient())


def prepared(module: nn.Module, *inputs: Tensor, config: Config | None = None) -> Program:
    return engines.prepare(Job(workload_of(module, *inputs), config or configured(), training=False))


def output(program: Program) -> list[Tensor]:
    """Return a call's output."""
    return list(tensors(program.outputs(program.call())))


def wanted(program: Program) -> list[Tensor]:
    """Return eager mode's output."""
    with torch.no_grad():
        return list(tensors(program.workload.module(*program.workload.inputs)))


def error(program: Program) -> float:
    """Return the first output's error against eager mode's, relative to the largest value."""
    found, exact = output(program)[0], wanted(program)[0]
    return float((found - exact).abs().max() / exact.abs().max())


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    )


@pytest.fixture(scope="module")
def program() -> Program:
    return prepared(net(), torch.randn(2, 3, 8, 8))


def test_fp32_is_fp32_whatever_the_cpu_has(program: Program) -> None:
    """By default, OpenVINO computes in bf16 on CPUs that have it, with an error of 1e-3."""
    assert error(program) < 1e-5
    assert program.info.arithmetic == "fp32"


def test_the_facts_name_library_and_version(program: Program) -> None:
    library, version = program.info.engine.split(" ")
    assert library == "openvino"
    assert all(part.isdigit() for part in version.split("."))


def test_inputs_are_bound_in_place(program: Program) -> None:
    (before,), (images,) = output(program), program.workload.inputs
    images.mul_(2)
    (after,) = output(program)
    assert not torch.allclose(before, after)
    torch.testing.assert_close([after], wanted(program))


def test_outputs_outlive_the_next_call(program: Program) -> None:
    (first,) = output(program)
    kept = first.clone()
    program.workload.inputs[0].mul_(2)
    assert not torch.equal(output(program)[0], kept)
    assert torch.equal(first, kept)


def test_bf16_is_what_computes_or_it_is_skipped() -> None:
    able = library.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in able or arithmetic.is_emulated("bfloat16", "cpu"):
        with pytest.raises(SkippedError, match=r"^engine=openvino does not support precision=bf16 "):
            prepared(net(), torch.randn(2, 3, 8, 8), config=configured("bf16"))
        return
    program = prepared(net(), torch.randn(2, 3, 8, 8), config=configured("bf16"))
    assert 1e-4 < error(program) < 2e-2
    assert program.info.arithmetic in ("amx_bf16", "avx512_bf16")


def test_int8_is_calibrated_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    program = prepared(net(), torch.randn(2, 3, 8, 8), config=configured("int8"))
    assert 1e-4 < error(program) < 5e-2
    multiplies = ("amx_int8", "avx512_vnni", "int8") if not saturates() else ("int8, weights in 7 bits",)
    assert program.info.arithmetic in multiplies
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("error")  # of which tracing has some
def test_several_outputs_come_in_their_order() -> None:
    program = prepared(nn.LSTM(6, 4, batch_first=True), torch.randn(2, 5, 6))
    assert [tuple(tensor.shape) for tensor in output(program)] == [(2, 5, 4), (1, 2, 4), (1, 2, 4)]
    torch.testing.assert_close(output(program), wanted(program))


class Among(nn.Module):
    """Outputs in a dictionary, among what is no tensor; inputs that are one tensor, and indices."""

    def forward(self, left: Tensor, right: Tensor, indices: Tensor) -> dict[str, Any]:
        return {"sum": left + right, "nothing": None, "several": (left[indices], 3)}


def test_inputs_and_outputs_may_be_of_any_number_and_form() -> None:
    shared = torch.randn(4, 3)
    program = prepared(Among(), shared, shared, torch.tensor([2, 0]))
    torch.testing.assert_close(output(program), [shared + shared, shared[[2, 0]]])


class Differing(nn.Module):
    """Takes differences as decoders do, which OpenVINO cannot convert."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.diff(x, prepend=x[:, :1] - 1, dim=-1), x.diff(n=2, dim=0)


def test_differences_are_computed_by_subtraction() -> None:
    program = prepared(Differing(), torch.randn(4, 5))
    for found, exact in zip(output(program), wanted(program), strict=True):
        torch.testing.assert_close(found, exact)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dim": 0},
        {"n": 2},
        {"n": 0},
        {"n": 9},
        {"prepend": torch.ones(3, 2)},
        {"append": torch.ones(3, 1)},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_they_are_those_of_torch(options: dict[str, Any], dtype: torch.dtype) -> None:
    values = torch.arange(12).reshape(3, 4).square().remainder(7).to(dtype)
    given = {key: each.to(dtype) if isinstance(each, Tensor) else each for key, each in options.items()}
    assert torch.equal(difference(values, **given), torch.diff(values, **given))


class Decomposed(nn.Module):
    """Something that OpenVINO has no operation for."""

    def forward(self, matrix: Tensor) -> Any:
        return torch.linalg.svd(matrix)


def test_what_cannot_be_converted_is_skipped_with_the_reason() -> None:
    with pytest.raises(SkippedError, match=r"engine=openvino cannot convert this module: .*linalg_svd"):
        prepared(Decomposed(), torch.randn(3, 3))


def test_what_fails_in_eager_mode_too_fails_as_there() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        prepared(nn.Linear(4, 4), torch.randn(2, 3))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_that_nothing_is_computed_in_is_skipped(precision: str) -> None:
    with pytest.raises(SkippedError, match=f"precision={precision}"):
        prepared(nn.ReLU(), torch.randn(4), config=configured(precision))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (configured("amp_bf16"), "does not support precision=amp_bf16"),
        (replace(configured(), device=replace(Config().device, name="cuda")), "does not support device=cuda"),
        (replace(configured(), layout="mkldnn"), "does not support layout=mkldnn"),
    ],
)
def test_what_it_cannot_do_is_skipped(config: Config, message: str) -> None:
    with pytest.raises(SkippedError, match=f"engine=openvino {message}"):
        prepared(nn.ReLU(), torch.randn(4), config=config)


@pytest.mark.filterwarnings("ignore")  # of the tracer
def test_products_of_8_bits_that_saturate_here_have_weights_of_7(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = workload_of(nn.Linear(64, 16), torch.randn(8, 64))
    for reduced, least, most in ((False, 65, 128), (True, 1, 64)):
        with engines.quiet():
            made = model.quantize(model.convert(workload), workload.inputs, seed=0, reduced=reduced)
        constants = [each for each in made.get_ordered_ops() if each.get_type_name() == "Constant"]
        (weights,) = [each.data for each in constants if each.get_element_type().get_type_name() == "i8"]
        assert least <= abs(weights.astype(int)).max() <= most
    monkeypatch.setattr(model, "saturates", lambda: True)
    program = prepared(nn.Linear(64, 16), torch.randn(8, 64), config=configured("int8"))
    assert program.info.arithmetic == "int8, weights in 7 bits"


def test_a_dense_layer_in_int8_is_within_the_tolerance_whatever_multiplies() -> None:
    """Without 7 bits where 8 saturate, it is off by 0.13 of the largest output."""
    torch.manual_seed(0)
    assert error(prepared(nn.Linear(1024, 512), torch.randn(2, 1024), config=configured("int8"))) < 2e-2


def able(monkeypatch: pytest.MonkeyPatch, *capabilities: str, limit: str = "") -> None:
    """Let the CPU be one that computes in these formats, and the environment limit oneDNN."""
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    core = SimpleNamespace(get_property=lambda device, name: list(capabilities))
    monkeypatch.setattr(compiling, "openvino", SimpleNamespace(Core=lambda: core))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_the_cpu_does_not_compute_in_is_skipped(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    able(monkeypatch, "FP32", "INT8")
    with pytest.raises(SkippedError, match=f"does not support precision={precision} on this CPU"):
        compiling.hint(precision)


def test_a_format_that_onednn_may_not_use_is_not_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO has a copy of oneDNN, and fails if that lacks what OpenVINO assumes."""
    able(monkeypatch, "FP32", "BF16", "INT8", limit="AVX2")
    with pytest.raises(SkippedError, match=r"support precision=bf16 within ONEDNN_MAX_CPU_ISA=AVX2$"):
        compiling.hint("bf16")
    assert compiling.hint("int8") == "f32"


def test_what_is_not_quantized_is_computed_in_the_fastest_format(monkeypatch: pytest.MonkeyPatch) -> None:
    able(monkeypatch, "FP32", "INT8")
    assert compiling.hint("int8") == "f32"
    able(monkeypatch, "FP32", "BF16", "INT8")
    assert compiling.hint("int8") == "bf16"


@pytest.mark.parametrize(
    ("kind", "type_", "kernel", "has", "name"),
    [
        ("Convolution", "f32", "jit_avx512_f32", "avx512_bf16", "fp32"),
        ("Convolution", "f16", "brgconv_avx2_f32", "avx512_bf16", "fp32"),  # weights are kept in f16
        ("Convolution", "bf16", "brgconv_avx512_1x1_bf16", "avx512_bf16", "avx512_bf16"),
        ("FullyConnected", "bf16", "brgemm_avx512_amx_bf16", "amx_bf16", "amx_bf16"),
        ("Convolution", "u8", "brgconv_avx512_1x1_I8", "avx512_vnni", "avx512_vnni"),
        ("Convolution", "u8", "jit_avx512_I8", "avx512_f", "int8"),
        ("Convolution", "i8", "jit_avx2_I8", "avx512_vnni", "int8"),
        ("MatMul", "f16", "brgemm_avx512_f16", "avx512_fp16", "avx512_fp16"),
        ("RNNSeq", "bf16", "ref_any_bf16", "avx512_bf16", "bf16"),
        ("Gather", "i8", "jit_avx512_i8", "avx512_vnni", "int8"),
    ],
)
def test_what_multiplies_is_reported_by_a_layers_kernel(
    monkeypatch: pytest.MonkeyPatch, kind: str, type_: str, kernel: str, has: str, name: str
) -> None:
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(arithmetic, "available", lambda: {has})
    layer = {"layerType": kind, "runtimePrecision": type_, "primitiveType": kernel}
    assert compiling.multiplier(layer, reduced=False) == name
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    type_ = "f32" if kernel.endswith("_f32") else type_
    assert compiling.multiplier(layer, reduced=True) == compiling.FORMATS[type_]


@pytest.mark.filterwarnings("ignore")  # of the tracer
def test_attention_is_recognized() -> None:
    queries = torch.randn(2, 5, 8)
    assert model.attends(model.convert(workload_of(nn.TransformerEncoderLayer(8, 2, 16), queries)))
    assert not model.attends(model.convert(workload_of(nn.Linear(8, 8), queries)))


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


def test_it_uses_the_threads_of_the_configuration() -> None:
    assert compiling.settings(replace(configured(), threads=3))["INFERENCE_NUM_THREADS"] == 3


def test_without_the_library_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SkippedError, match=re.escape(f"needs openvino: {install_line('openvino')}")):
        prepared(nn.ReLU(), torch.randn(4))


def test_without_what_quantizes_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "nncf", None)
    with pytest.raises(SkippedError, match=re.escape(f"precision=int8 needs nncf: {install_line('int8')}")):
        prepared(nn.ReLU(), torch.randn(4), config=configured("int8"))
