from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from microbench import errors
from microbench.config import Config
from microbench.errors import UserError
from microbench.options.compose import from_command_line, from_options
from microbench.options.messages import explain
from microbench.schema import keys_of


def complaint(options: Mapping[str, Any]) -> str:
    """Return the one-line error for these options."""
    with pytest.raises(UserError) as caught:
        from_options(options, sweep=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"mode": "tran"},
            "Unknown mode 'tran'. Did you mean train? Allowed: infer, layers, profile, train.",
        ),
        (
            {"device": "cuda:x"},
            "device=cuda:x is not possible: numbers count from 0, as in device=cuda:1.",
        ),
        (
            {"device": "cuda:-1"},
            "device=cuda:-1 is not possible: numbers count from 0, as in device=cuda:1.",
        ),
        ({"device": "cpu:1"}, "device=cpu:1 is not possible: only GPUs have numbers, as in device=cuda:1."),
        (
            {"device": "cuda:1", "isolation": "inline"},
            "isolation=inline runs in this process; set CUDA_VISIBLE_DEVICES=1 in the shell, not "
            "device=cuda:1.",
        ),
        ({"device": "gpu"}, "Unknown device 'gpu'. Did you mean device=cuda? Allowed: auto, cpu, cuda."),
        (
            {"batch_size": 0},
            "batch_size=0 is not possible: give an integer of at least 1, or max.",
        ),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_allowed(options: dict[str, Any], line: str) -> None:
    assert complaint({"model": "vgg16"} | options) == line


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("batch_size", "many", "an integer of at least 1, or max"),
        ("threads", "x", "an integer or null"),
        ("measure.rel_ci", "narrow", "a number"),
        ("model.input_grad", "maybe", "true or false or null"),
        ("model.kwargs", 3, "a dictionary, such as {stride: 2}"),
        ("model.input_shape", "wide", "a list, such as [3,224,224]"),
    ],
)
def test_a_value_of_the_wrong_type_is_answered_with_the_right_one(key: str, value: Any, kind: str) -> None:
    line = complaint({"model": "vgg16", key: value})
    assert line.startswith(key)
    assert kind in line
    assert "\n" not in line
    if isinstance(value, str) and "list" not in kind:
        assert value in line


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("batchsize", "batch_size"),
        ("measure.relci", "measure.rel_ci"),
        ("rel_ci", "measure.rel_ci"),
        ("model.input_shap", "model.input_shape"),
        ("+measure.maxtime", "measure.max_time"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_one_that_was_meant(key: str, meant: str) -> None:
    line = complaint({"model": "vgg16", key: 1})
    assert line.startswith(f"Unknown option {key.removeprefix('+')!r}. Did you mean {meant}")
    assert line.endswith("All options: `microbench --cfg job model=resnet18`")
    assert "\n" not in line


def test_a_misspelt_group_is_answered_with_its_options() -> None:
    line = complaint({"model": "vgg16", "optimiser.lr": 1})
    assert line.startswith("Unknown option 'optimiser.lr'. Did you mean optimizer.lr, ")


def test_an_unknown_model_is_answered_with_the_nearest_and_where_all_are_listed() -> None:
    line = complaint({"model": "vgg61"})
    assert line.startswith("Unknown model 'vgg61'. Did you mean vgg16, ")
    assert line.endswith("`microbench list models layers`")


def test_a_model_must_be_given() -> None:
    assert complaint({}).startswith("Give a model, for example model=resnet18; ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"model": "layer", "model.cls": "torch.nn.GELU"},
            "model.input_shape must be given, for example model.input_shape=[1024].",
        ),
        (
            {"model": "layer", "model.input_shape": [4]},
            "model.cls must be given, for example model.cls=torch.nn.GELU.",
        ),
    ],
)
def test_what_must_be_given_is_said_with_an_example(options: dict[str, Any], line: str) -> None:
    assert complaint(options) == line


def refused(*arguments: str) -> str:
    """Return the one-line error for a command line."""
    with pytest.raises(UserError) as caught:
        from_command_line(arguments, run_id="the-run")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, with a folder of option files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    return tmp_path / "mine" / "model"


@pytest.mark.usefixtures("folder")
def test_several_values_without_a_sweep_are_an_error() -> None:
    assert (
        refused("model=vgg16,vgg11") == "model=vgg16,vgg11 names several values: add -m to sweep over them."
    )


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("argument", ["batch_size=[1", "model.args=[1,,2]"])
def test_what_is_no_override_is_said_as_it_was_written(argument: str) -> None:
    line = f"Cannot read the option {argument!r}: write key=value, a list as key=[a,b]."
    assert refused("model=vgg16", argument) == line


@pytest.mark.usefixtures("folder")
def test_an_unknown_flag_is_named() -> None:
    assert refused("model=vgg16", "--wxyz") == "Unknown flag --wxyz. See `microbench --help`."
    assert refused("model=vgg16", "--jsn").startswith("Unknown flag --jsn. Did you mean --json")


@pytest.mark.usefixtures("folder")
def test_the_folder_of_a_sweep_is_refused_where_there_is_none() -> None:
    line = "hydra.sweep.dir is the folder of a sweep, and this is none: add -m, or give hydra.run.dir=DIR."
    assert refused("model=vgg16", "hydra.sweep.dir=there") == line


def test_a_file_that_is_no_yaml_is_named_with_its_line(folder: Path) -> None:
    (folder / "bad.yaml").write_text("source: layer\nargs: [1, 2\nname: x\n")
    line = refused("--config-dir", "mine", "model=bad")
    assert line.startswith("Cannot read ")
    assert "bad.yaml, line 3" in line


def test_a_misspelt_key_in_a_file_is_answered_like_one_in_the_command(folder: Path) -> None:
    (folder / "bad.yaml").write_text("source: layer\nclass: torch.nn.GELU\ninput_shape: [4]\n")
    line = refused("--config-dir", "mine", "model=bad")
    assert line.startswith("Unknown option 'model.class'. Did you mean model.cls")


def test_a_wrong_type_in_a_file_is_answered_like_one_in_the_command(folder: Path) -> None:
    (folder / "bad.yaml").write_text(
        "source: layer\ncls: torch.nn.GELU\ninput_shape: [4]\ninput_count: two\n"
    )
    line = refused("--config-dir", "mine", "model=bad")
    assert line == "model.input_count=two must be an integer."


def test_a_user_may_ask_for_the_errors_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="tran") as caught:
        from_options({"model": "vgg16", "mode": "tran"}, sweep=False)
    assert not isinstance(caught.value, UserError)


def test_an_error_that_nobody_knows_is_its_first_line() -> None:
    assert str(explain(RuntimeError("\nsomething\nand more"))) == "something"


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [
        ("precision", "single", "precision=fp32"),
        ("precision", "bfloat", "precision=bf16"),
        ("precision", "half", "precision=fp16"),
        ("precision", "amp", "precision=amp_bf16"),
        ("engine", "onnx", "engine=onnxruntime"),
        ("engine", "ort", "engine=onnxruntime"),
        ("engine", "ov", "engine=openvino"),
        ("engine", "jit", "engine=torchscript"),
        ("engine", "inductor", "engine=compile"),
        ("engine", "torch_compile", "engine=compile"),
        ("engine", "torch.compile", "engine=compile"),
        ("engine", "bfloat16", "precision=bf16"),
        ("layout", "nhwc", "layout=channels_last"),
        ("layout", "torch.channels_last", "layout=channels_last"),
        ("layout", "NCHW", "layout=contiguous"),
        ("device", "gpu", "device=cuda"),
        ("mode", "inference", "mode=infer"),
        ("mode", "eval", "mode=infer"),
        ("mode", "training", "mode=train"),
    ],
)
def test_a_name_from_elsewhere_is_answered_with_the_setting_it_means(
    option: str, given: str, meant: str
) -> None:
    line = complaint({"model": "vgg16", option: given})
    assert line.startswith(f"Unknown {option} {given!r}. Did you mean {meant}?")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("num_threads", "threads"),
        ("backend", "engine"),
        ("batch", "batch_size"),
        ("bs", "batch_size"),
        ("dtype", "precision"),
        ("memory_format", "layout"),
        ("inter_op_threads", "interop_threads"),
        ("lr", "optimizer.lr"),
        ("iterations", "measure.rounds"),
        ("half", "precision=fp16"),
        ("gpu", "device=cuda"),
    ],
)
def test_an_option_s_name_from_elsewhere_is_answered_with_the_one_it_means(key: str, meant: str) -> None:
    line = complaint({"model": "vgg16", key: 1})
    assert line.startswith(f"Unknown option {key!r}. Did you mean {meant}?")


def test_every_synonym_means_a_setting_that_there_is() -> None:
    for setting in errors.VALUES:
        key, _, value = setting.partition("=")
        (case,) = from_options({"model": "vgg16", key: value}, sweep=False)
        assert case.config
    assert set(errors.KEYS) - {"hydra.run.dir", "--dry-run"} <= keys_of(Config)


def test_a_name_that_is_one_elsewhere_is_not_taken_for_another_kind() -> None:
    assert "Did you mean mode" not in str(errors.unknown("phase", "eval", ["total", "inference"]))
