"""Which engines run which exported file, and that they compute what the file's own engine does."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
import torch

from microbench import devices, engines, workloads
from microbench.config import Config, plain, reference_name
from microbench.engines import Job, Program
from microbench.errors import SkippedError
from microbench.modes import infer, profile
from microbench.options.compose import from_options
from microbench.records.record import Correctness
from microbench.verify import verify
from microbench.watch.tensors import tensors

CPU = torch.device("cpu")


def config_of(path: Path, engine: str, **options: Any) -> Config:
    given = {"model.file": str(path), "engine": engine, "device": "cpu", "threads": 1, "batch_size": 2}
    return from_options({**given, **options}, sweep=False)[0].config


def prepared(config: Config, training: bool = False) -> Program:
    workload = workloads.build(config.model, config.batch_size, CPU, training, config.seed)
    return engines.prepare(Job(workload, config, training))


def output(program: Program) -> Any:
    with torch.inference_mode():
        return next(tensors(program.outputs(program.call()))).clone().numpy()


def wanted(program: Program, kept: torch.dtype = torch.float32) -> Any:
    """Return the answer of the product and ReLU that the files hold, whose weights were of that type."""
    torch.manual_seed(0)
    return torch.relu(program.workload.inputs[0] @ torch.randn(6, 4).to(kept).float()).numpy()


class TestOnnx:
    @pytest.fixture(autouse=True)
    def _with_onnxruntime(self) -> None:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")

    @pytest.mark.parametrize("options", [{}, {"engine.copies": True}, {"engine.level": "disabled"}])
    def test_onnxruntime_runs_it(self, tmp_path: Path, options: dict[str, Any]) -> None:
        path = exported.onnx_file(tmp_path / "net.onnx", external=True)
        program = prepared(config_of(path, "onnxruntime", **options))
        np.testing.assert_allclose(output(program), wanted(program), rtol=1e-4, atol=1e-5)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]

    def test_a_dynamic_size_without_a_name(self, tmp_path: Path) -> None:
        path = exported.onnx_file(tmp_path / "net.onnx", batch="")
        program = prepared(config_of(path, "onnxruntime", batch_size=3))
        np.testing.assert_allclose(output(program), wanted(program), rtol=1e-4, atol=1e-5)

    def test_openvino_runs_it(self, tmp_path: Path) -> None:
        pytest.importorskip("openvino")
        program = prepared(config_of(exported.onnx_file(tmp_path / "net.onnx"), "openvino"))
        np.testing.assert_allclose(output(program), wanted(program), rtol=1e-4, atol=1e-5)

    def test_several_inputs_reach_their_places(self, tmp_path: Path) -> None:
        path = exported.embedding_file(tmp_path / "net.onnx")
        given = {"model.inputs": {"ids": {"shape": [5], "high": 7}, "mask": {"shape": [5]}}}
        program = prepared(config_of(path, "onnxruntime", **given))
        ids, mask = program.workload.inputs
        torch.manual_seed(0)
        rows = torch.randn(7, 4)[ids] * mask[..., None]
        np.testing.assert_allclose(output(program), rows.numpy(), rtol=1e-5)
        if find_spec("openvino"):
            np.testing.assert_allclose(
                output(prepared(config_of(path, "openvino", **given))), rows.numpy(), rtol=1e-5
            )

    def test_int8_leaves_the_file_as_it_is(self, tmp_path: Path) -> None:
        path = exported.onnx_file(tmp_path / "net.onnx")
        before = path.read_bytes()
        program = prepared(config_of(path, "onnxruntime", precision="int8", batch_size=64))
        assert "int8" in str(program.info.arithmetic)
        assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]
        assert path.read_bytes() == before

    def test_a_version_that_is_too_new(self, tmp_path: Path) -> None:
        path = exported.onnx_file(tmp_path / "net.onnx", opset=99)
        with pytest.raises(SkippedError, match=r"engine=onnxruntime cannot load net.onnx: .*99"):
            prepared(config_of(path, "onnxruntime"))

    def test_the_reference_is_onnxruntime_without_optimization(self, tmp_path: Path) -> None:
        config = config_of(exported.onnx_file(tmp_path / "net.onnx"), "onnxruntime")
        assert (plain(config).engine.name, plain(config).engine.level) == ("onnxruntime", "disabled")
        assert reference_name(config.model) == "unoptimized onnxruntime"
        device, mode = devices.open_device("cpu"), infer.Mode()
        checked = verify(config, device, mode, prepared(config)).check
        assert checked.answer is Correctness.SAME
        own = replace(config, engine=plain(config).engine)
        assert verify(own, device, mode, prepared(own)).check.answer is Correctness.REFERENCE

    def test_a_wrong_answer_names_the_reference(self, tmp_path: Path) -> None:
        config = config_of(exported.onnx_file(tmp_path / "net.onnx"), "onnxruntime")
        program = prepared(config)
        wrong = replace(program, outputs=lambda found: [each + 1 for each in program.outputs(found)])
        checked = verify(config, devices.open_device("cpu"), infer.Mode(), wrong)
        assert checked.check.answer is Correctness.MISMATCH
        assert "the output is off unoptimized onnxruntime's by" in str(checked.reason)


@pytest.mark.parametrize("compress_to_fp16", [True, False])
def test_openvino_runs_an_ir_in_fp32_however_its_weights_are_kept(
    tmp_path: Path, compress_to_fp16: bool
) -> None:
    pytest.importorskip("openvino")
    path = exported.ir_file(tmp_path / "net.xml", compress_to_fp16)
    config = config_of(path, "openvino", **{"model.input_shape": [6]})
    program = prepared(config)
    answer = wanted(program, torch.float16 if compress_to_fp16 else torch.float32)
    np.testing.assert_allclose(output(program), answer, rtol=1e-4, atol=1e-5)
    assert program.info.arithmetic == "fp32"
    assert reference_name(config.model) == "openvino fp32"
    assert plain(config).engine.name == "openvino"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("files")
    exported.program_file(found / "net.pt2")
    exported.script_file(found / "net.pt")
    return found


@pytest.mark.parametrize("engine", ["eager", "torchscript", "onnxruntime", "openvino"])
def test_an_exported_program_is_a_module_of_torch(folder: Path, engine: str) -> None:
    if engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine)
    program = prepared(config_of(folder / "net.pt2", engine, **{"model.trust": True}))
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(output(program)), exported.net()(*program.workload.inputs))


@pytest.mark.parametrize("engine", ["eager", "torchscript", "openvino"])
def test_a_script_runs_in_engines_of_torchscript(folder: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip(engine)
    program = prepared(config_of(folder / "net.pt", engine, **{"model.input_shape": [3, 8, 8]}))
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(output(program)), exported.net()(*program.workload.inputs))


def test_eager_runs_a_script_without_torchscripts_optimizations(folder: Path) -> None:
    program = prepared(config_of(folder / "net.pt", "eager", **{"model.input_shape": [3, 8, 8]}))
    for _ in range(3):
        output(program)
    assert "prim::profile" not in str(torch.jit.last_executed_optimized_graph())
    assert torch._C._get_graph_executor_optimize()  # only within the call


@pytest.mark.parametrize(
    ("file", "engine", "allowed"),
    [
        ("net.onnx", "eager", "use engine=onnxruntime, openvino"),
        ("net.xml", "onnxruntime", "use engine=openvino"),
        ("net.pt", "compile", "use engine=eager, libtorch, openvino, torchscript"),
    ],
)
def test_other_engines_are_skipped(folder: Path, file: str, engine: str, allowed: str) -> None:
    path = folder / file
    if not path.exists():
        path.write_bytes(b"")
    with pytest.raises(
        SkippedError, match=f"{file} is a file of .*, which engine={engine} does not run: {allowed}$"
    ):
        engines.engine_of(config_of(path, engine), training=False)


def test_files_do_not_train(folder: Path) -> None:
    config = config_of(folder / "net.pt2", "eager", mode="train")
    with pytest.raises(
        SkippedError, match=r"net.pt2 is for inference, as every exported file: use mode=infer"
    ):
        engines.engine_of(config, training=True)


def test_what_is_no_module_has_no_profile(folder: Path) -> None:
    (folder / "net.onnx").write_bytes(b"")
    config = config_of(folder / "net.onnx", "eager", mode="profile")
    with pytest.raises(SkippedError, match=r"mode=profile is for modules of torch, and .* holds none"):
        profile.Mode().check(config)
    profile.Mode().check(config_of(folder / "net.pt2", "eager", mode="profile"))
