"""Models in exported files: their inputs, what they may be, and which of them may run code."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import exported
import pytest
import torch
from torch import nn

from microbench import workloads
from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.options.compose import from_options
from microbench.system.weights import weight_files
from microbench.workloads import Workload
from microbench.workloads.exported import format_of
from microbench.workloads.exported.declared import Declared, draw

CPU = torch.device("cpu")
IDS = Declared("ids", torch.int64, ("batch", "length"))
IMAGES = Declared("x", torch.float32, ("batch", 3, 8, 8))
CONFIG = ModelConfig(source="exported", input_shape=[])


def model_of(path: Path, **options: Any) -> ModelConfig:
    given = {"model.file": str(path), **{f"model.{key}": value for key, value in options.items()}}
    return from_options(given, sweep=False)[0].config.model


def built(path: Path, batch_size: int = 2, **options: Any) -> Workload:
    return workloads.build(model_of(path, **options), batch_size, CPU, False, seed=0)


def complaint(of: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        of()
    text = str(caught.value)
    assert "\n" not in text
    return text


def drawn(*declared: Declared, batch_size: int = 2, **options: Any) -> list[tuple[int, ...]]:
    found = draw("net.onnx", declared, replace(CONFIG, **options), batch_size)
    return [tuple(each.shape) for each in found]


class TestInputs:
    def test_the_file_says_all_but_the_batch(self) -> None:
        assert drawn(IMAGES) == [(2, 3, 8, 8)]

    def test_numbers_are_standard_normal(self) -> None:
        (images,) = draw("net.onnx", [IMAGES], CONFIG, 50)
        assert images.std().item() == pytest.approx(1, abs=0.1)

    def test_dynamic_sizes_are_those_of_the_option(self) -> None:
        open_ = Declared("x", torch.float32, ("batch", 3, "?", "?"))
        assert drawn(open_, input_shape=[3, 4, 5]) == [(2, 3, 4, 5)]
        text = complaint(lambda: drawn(open_))
        assert "net.onnx leaves open the sizes of x of shape (batch, 3, ?, ?)" in text
        assert "give model.input_shape=[3,SIZE,SIZE]" in text

    def test_a_size_that_the_file_fixes_cannot_be_another(self) -> None:
        text = complaint(lambda: drawn(IMAGES, input_shape=[3, 9, 9]))
        assert "model.input_shape makes x float32 of shape (2, 3, 9, 9)" in text
        assert "takes float32 of shape (batch, 3, 8, 8)" in text

    def test_a_fixed_batch_must_be_given(self) -> None:
        fixed = Declared("x", torch.float32, (1, 3))
        assert drawn(fixed, batch_size=1) == [(1, 3)]
        assert "net.onnx was exported for a batch of 1: give batch_size=1 (got 8)" in complaint(
            lambda: drawn(fixed, batch_size=8)
        )

    def test_an_input_without_the_batch_keeps_its_size(self) -> None:
        scale, table = Declared("s", torch.float32, ()), Declared("t", torch.float32, (7, 4))
        assert drawn(IMAGES, scale, table, batch_size=5) == [(5, 3, 8, 8), (), (7, 4)]

    def test_indices_need_a_bound(self) -> None:
        text = complaint(lambda: drawn(IDS, input_shape=[6]))
        assert "net.onnx takes indices as ids (int64): give model.input_high=N" in text
        (ids,) = draw("net.onnx", [IDS], replace(CONFIG, input_shape=[100], input_high=3), 2)
        assert set(ids.flatten().tolist()) == {0, 1, 2}

    def test_bytes_take_all_values_and_truth_values_both(self) -> None:
        pixels = Declared("pixels", torch.uint8, ("batch", 100, 100))
        (values,) = draw("net.onnx", [pixels], CONFIG, 2)
        assert (values.min().item(), values.max().item()) == (0, 255)
        (mask,) = draw("net.onnx", [Declared("mask", torch.bool, ("batch", 100))], CONFIG, 2)
        assert mask.dtype is torch.bool

    def test_each_input_can_be_described(self) -> None:
        mask = Declared("mask", torch.int64, ("batch", "length"))
        given = {"ids": {"shape": [6], "high": 3}, "mask": {"shape": [6], "fill": 1}}
        ids, ones = draw("net.onnx", [IDS, mask], replace(CONFIG, inputs=given), 2)
        assert (ids.shape, ones.tolist()) == ((2, 6), [[1] * 6] * 2)
        assert drawn(IDS, mask, inputs=[{"high": 3}, {"high": 2}], input_shape=[9]) == [(2, 9), (2, 9)]

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            ({"idz": {"high": 3}}, "Did you mean ids?"),
            ({"ids": 3}, "model.inputs.ids=3 is not possible"),
            ([[6], [6]], "net.onnx takes ids"),
            ({"ids": {"shape": [6], "dtype": "int32", "high": 3}}, "net.onnx takes int64"),
        ],
    )
    def test_a_description_that_does_not_fit(self, inputs: Any, told: str) -> None:
        assert told in complaint(lambda: drawn(IDS, inputs=inputs))

    @pytest.mark.parametrize(
        ("declared", "given", "told"),
        [
            (
                [IMAGES, IMAGES],
                {"input_shape": [3, 8, 8]},
                "model.input_shape has no effect, because net.onnx",
            ),
            (
                [IDS],
                {"inputs": {"ids": [6]}, "input_shape": [6], "input_high": 3},
                "model.input_shape has no",
            ),
            ([IMAGES], {"input_high": 3}, "model.input_high has no effect, because net.onnx takes no other"),
            (
                [IDS],
                {"inputs": [{"shape": [6], "high": 3}], "input_high": 3},
                "model.input_high has no effect",
            ),
        ],
    )
    def test_an_option_without_an_effect_is_refused(
        self, declared: list[Declared], given: dict[str, Any], told: str
    ) -> None:
        assert complaint(lambda: drawn(*declared, **given)).startswith(told)

    def test_an_option_may_be_for_one_of_the_inputs(self) -> None:
        assert drawn(IMAGES, IDS, input_shape=[6], input_high=3) == [(2, 3, 8, 8), (2, 6)]

    def test_nothing_to_draw(self) -> None:
        assert "net.onnx has no inputs" in complaint(drawn)


class TestOnnx:
    @pytest.fixture(autouse=True)
    def _with_onnx(self) -> None:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")

    def test_its_inputs_are_read(self, tmp_path: Path) -> None:
        found = built(exported.onnx_file(tmp_path / "net.onnx"), batch_size=3)
        assert [tuple(each.shape) for each in found.inputs] == [(3, 6)]

    def test_another_file_of_that_name(self, tmp_path: Path) -> None:
        path = tmp_path / "net.onnx"
        for content in (b"", b"hello, this is text", b"\x00" * 40):
            path.write_bytes(content)
            assert "net.onnx is not an ONNX file" in complaint(lambda: built(path))

    def test_its_weights_may_be_missing(self, tmp_path: Path) -> None:
        path = exported.onnx_file(tmp_path / "net.onnx", external=True)
        assert weight_files(path) == [tmp_path / "net.onnx.data"]
        assert built(path).inputs
        (tmp_path / "net.onnx.data").unlink()
        assert "net.onnx has its weights in net.onnx.data, which is not beside it" in complaint(
            lambda: built(path)
        )

    def test_its_digest_is_that_of_its_contents_and_weights(self, tmp_path: Path) -> None:
        path = exported.onnx_file(tmp_path / "net.onnx", external=True)
        first = model_of(path).code
        (tmp_path / "moved").mkdir()
        for each in tmp_path.glob("net*"):
            each.rename(tmp_path / "moved" / each.name)
        moved = tmp_path / "moved" / "net.onnx"
        assert model_of(moved).code == first
        weights = moved.with_name("net.onnx.data")
        weights.write_bytes(b"\x01" + weights.read_bytes()[1:])
        assert model_of(moved).code != first

    @pytest.mark.parametrize("length", [127, 128, 250])
    def test_a_long_name_of_weights_is_read(self, length: int, tmp_path: Path) -> None:
        name = "n" * (length - len(".onnx.data"))
        path = exported.onnx_file(tmp_path / f"{name}.onnx", external=True)
        weights = tmp_path / f"{name}.onnx.data"
        assert (len(weights.name), weight_files(path)) == (length, [weights])
        first = model_of(path).code
        weights.write_bytes(b"\x01" + weights.read_bytes()[1:])
        assert model_of(path).code != first

    def test_a_file_that_changed_since_the_run_began(self, tmp_path: Path) -> None:
        config = model_of(exported.onnx_file(tmp_path / "net.onnx"))
        exported.onnx_file(tmp_path / "net.onnx", batch=2)
        text = complaint(lambda: workloads.build(config, 2, CPU, False, seed=0))
        assert "changed after the run began" in text


IR = """<?xml version="1.0"?>
<net name="n" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="{shape}" element_type="{type}"/></layer>
{more}</layers></net>"""


class TestIr:
    def written(self, path: Path, shape: str = "?,3,8", type_: str = "f32", more: str = "") -> Path:
        path.write_text(IR.format(shape=shape, type=type_, more=more))
        return path

    def test_its_inputs_are_read(self, tmp_path: Path) -> None:
        found = built(self.written(tmp_path / "net.xml"))
        assert [tuple(each.shape) for each in found.inputs] == [(2, 3, 8)]

    def test_a_shape_that_it_does_not_say(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "net.xml", shape="...")
        assert "give model.input_shape=[SIZE]" in complaint(lambda: built(path))
        assert built(path, input_shape=[5]).inputs[0].shape == (2, 5)

    def test_its_weights_may_be_missing(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "net.xml", more='<layer id="1" name="w" type="Const"/>')
        assert "net.xml has its weights in net.bin, which is not beside it" in complaint(lambda: built(path))

    @pytest.mark.parametrize("text", ["not XML", "<annotation/>", "<net/>"])
    def test_another_file_of_that_name(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "net.xml").write_text(text)
        assert "net.xml is not an OpenVINO IR" in complaint(lambda: built(tmp_path / "net.xml"))

    def test_an_input_that_is_not_of_numbers(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "net.xml", type_="string")
        assert "net.xml takes x of type string" in complaint(lambda: built(path))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.program_file(tmp_path_factory.mktemp("exported") / "net.pt2")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.script_file(tmp_path_factory.mktemp("exported") / "net.pt")


class Boom:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "boom")


class TestProgram:
    def test_it_is_a_module_of_torch_for_its_own_inputs(self, program: Path) -> None:
        found = built(program, batch_size=3, trust=True)
        assert format_of(model_of(program)) is None
        with torch.no_grad():
            wanted = exported.net()(*found.inputs)
            torch.testing.assert_close(found.module(*found.inputs), wanted)

    @pytest.mark.parametrize("option", ["args", "kwargs", "call_kwargs"])
    def test_what_makes_or_calls_a_module_is_refused(self, program: Path, option: str) -> None:
        given = {option: [1] if option == "args" else {"width": 1}}
        told = complaint(lambda: built(program, trust=True, **given))
        assert told.startswith(f"model.{option} ")
        assert "net.pt2" in told
        assert f": leave it out (got {given[option]})." in told

    def test_it_is_loaded_only_if_it_is_trusted(self, program: Path) -> None:
        text = complaint(lambda: built(program))
        assert "net.pt2 is loaded by torch.export.load, which can run any code in it" in text
        assert "model.trust=true" in text

    def test_loading_one_can_run_code(self, program: Path, tmp_path: Path) -> None:
        path, proof = tmp_path / "bad.pt2", tmp_path / "proof"
        with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
            for each in old.namelist():
                inputs = each.endswith("sample_inputs/model.pt")
                new.writestr(each, pickled(Boom(proof)) if inputs else old.read(each))
        complaint(lambda: built(path))
        assert not proof.exists()
        with pytest.raises(UserError):
            built(path, trust=True)
        assert proof.read_text() == "boom"  # so the option is needed

    def test_another_file_of_that_name(self, script: Path, tmp_path: Path) -> None:
        path = tmp_path / "net.pt2"
        for content in (b"text", script.read_bytes()):
            path.write_bytes(content)
            text = complaint(lambda: built(path, trust=True))
            assert "net.pt2 is not what torch.export.save writes" in text


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


class TestScript:
    def test_it_needs_the_shape_of_its_input_and_no_trust(self, script: Path) -> None:
        assert "net.pt does not describe its inputs: give model.input_shape" in complaint(
            lambda: built(script)
        )
        found = built(script, input_shape=[3, 8, 8])
        assert format_of(model_of(script)) == "torchscript"
        with torch.no_grad():
            torch.testing.assert_close(found.module(*found.inputs), exported.net()(*found.inputs))

    def test_its_pickle_makes_no_object_of_python(self, script: Path, tmp_path: Path) -> None:
        path, proof = tmp_path / "net.pt", tmp_path / "proof"
        with zipfile.ZipFile(script) as old, zipfile.ZipFile(path, "w") as new:
            for each in old.namelist():
                is_main = each.endswith("/data.pkl")
                new.writestr(each, pickle.dumps(Boom(proof), protocol=2) if is_main else old.read(each))
        assert "net.pt cannot be loaded" in complaint(lambda: built(path, input_shape=[3, 8, 8]))
        assert not proof.exists()

    def test_a_damaged_one(self, script: Path, tmp_path: Path) -> None:
        path = tmp_path / "net.pt"
        with zipfile.ZipFile(script) as old, zipfile.ZipFile(path, "w") as new:
            for each in old.namelist():
                new.writestr(each, b"?" if each.endswith("data.pkl") else old.read(each))
        assert "net.pt cannot be loaded" in complaint(lambda: built(path, input_shape=[3]))


class TestPickle:
    def test_a_module_is_loaded_only_if_it_is_trusted(self, tmp_path: Path) -> None:
        path = tmp_path / "net.pt"
        torch.save(nn.Linear(4, 3), path)
        assert "give model.trust=true" in complaint(lambda: built(path, input_shape=[4]))
        found = built(path, input_shape=[4], trust=True)
        assert found.module(*found.inputs).shape == (2, 3)

    @pytest.mark.parametrize("trust", [False, True])
    def test_weights_are_no_model(self, tmp_path: Path, trust: bool) -> None:
        path = tmp_path / "net.pt"
        torch.save(nn.Linear(4, 3).state_dict(), path)
        text = complaint(lambda: built(path, input_shape=[4], trust=trust))
        assert "net.pt holds weights without a model (a state dict)" in text

    @pytest.mark.parametrize("write", [pickled, pickle.dumps])
    def test_nothing_is_unpickled_without_trust(
        self, tmp_path: Path, write: Callable[[object], bytes]
    ) -> None:
        path, proof = tmp_path / "net.pt", tmp_path / "proof"
        path.write_bytes(write(Boom(proof)))
        complaint(lambda: built(path, input_shape=[4]))
        assert not proof.exists()

    @pytest.mark.parametrize("trust", [False, True])
    def test_what_torch_does_not_write(self, tmp_path: Path, trust: bool) -> None:
        path, archive = tmp_path / "net.pt", io.BytesIO()
        with zipfile.ZipFile(archive, "w") as written:
            written.writestr("notes/text.txt", "text")
        for content in (b"", b"e: text", archive.getvalue()):
            path.write_bytes(content)
            text = complaint(lambda: built(path, input_shape=[4], trust=trust))
            assert "net.pt is not what torch.jit.save or torch.save writes" in text

    def test_a_damaged_one(self, tmp_path: Path) -> None:
        path = tmp_path / "net.pt"
        path.write_bytes(pickle.dumps([1, 2])[:-4])
        assert "net.pt cannot be loaded" in complaint(lambda: built(path, input_shape=[4], trust=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mode": "layers"}, "mode=layers is for modules within a module"),
        ({"model.part": "dense"}, "model.part=dense is for modules within a module"),
    ],
)
def test_a_file_has_no_parts(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"")
    assert told in complaint(lambda: from_options({"model.file": str(path), **options}, sweep=False))


def test_a_search_needs_plain_eager(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    options = {"model.file": str(path), "experiment": "fastest"}
    text = complaint(lambda: from_options(options, sweep=True))
    assert "which does not run" in text
    assert "-m engine=onnxruntime" in text
