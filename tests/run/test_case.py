from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from microbench.config import (
    Config,
    DeviceConfig,
    EngineConfig,
    ModeConfig,
    ModelConfig,
    OptimizerConfig,
    PrecisionConfig,
)
from microbench.options.compose import from_command_line, from_options
from microbench.run.case import Case
from microbench.schema import ANY, Role, axes_of, group, option, value_of, with_values
from microbench.tables.labels import planned


def config() -> Config:
    return Config(
        model=ModelConfig(
            "layer", "conv", "torch.nn.Conv2d", [3, 8, 3], {"stride": 2, "padding": 1}, {}, [3, 8, 8]
        )
    )


def leaves(schema: Any, prefix: str = "") -> list[str]:
    """Yield the dotted keys of all values of a configuration."""
    found = []
    for item in fields(schema):
        value = getattr(schema, item.name)
        found += leaves(value, f"{prefix}{item.name}.") if is_dataclass(value) else [prefix + item.name]
    return found


def other(value: Any) -> Any:
    """Return a different value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [*value, 1]
    if isinstance(value, dict):
        return value | {"x": 1}
    return 3 if value is None else value + 1


def changed(key: str) -> Config:
    new: Config = with_values(config(), {key: other(value_of(config(), key))})
    return new


HOW = {
    "isolation",
    "timeout",
    "schedule",
    "schedule_seed",
    "objective",
    "resume",
    "model.file",
    "model.trust",
    "max_batch",
    "verify",
    "tolerance",
    "view",
    "columns",
    "depth",
    "functions",
    "trace",
    *(key for key in leaves(config()) if key.startswith("energy.")),
    *(key for key in leaves(config()) if key.startswith("experiment.")),
    *(key for key in leaves(config()) if key.startswith("measure.") and key != "measure.cold_cache"),
}


@pytest.mark.parametrize("key", sorted(set(leaves(config())) - HOW))
def test_the_id_differs_for_any_other_setting_of_the_work(key: str) -> None:
    assert Case(changed(key)).id != Case(config()).id


@pytest.mark.parametrize("key", sorted(HOW))
def test_the_id_is_the_same_however_the_work_is_measured(key: str) -> None:
    assert value_of(changed(key), key) != value_of(config(), key)
    assert Case(changed(key)).id == Case(config()).id


def test_some_settings_are_of_the_work_and_some_are_not() -> None:
    assert {"measure.rel_ci", "measure.rounds", "isolation", "timeout", "schedule", "resume"} < HOW
    work = {"batch_size", "seed", "threads", "model.kwargs", "optimizer.lr"}
    cpu = {"affinity", "allocator", "flush_denormal", "interop_threads", "measure.cold_cache"}
    assert work | cpu < set(leaves(config())) - HOW


# The ids of these cases before there were rounds, allocators and the like.
@pytest.mark.parametrize(
    ("options", "id_before"),
    [
        ({"model": "resnet18", "mode": "train"}, "e0908de20131"),
        ({"model": "dense", "batch_size": 32, "optimizer": "adamw"}, "f75442f2561c"),
        (
            {
                "model": "layer",
                "model.cls": "torch.nn.GELU",
                "model.input_shape": [1024],
                "measure": {"rel_ci": 0.5, "max_time": 1},
            },
            "8ddf543a09b9",
        ),
    ],
)
def test_ids_are_those_of_earlier_versions(options: dict[str, Any], id_before: str) -> None:
    (case,) = from_options(options, sweep=False)
    assert case.at("cpu", threads=4).id == id_before


# The ids before options were declared with their fields.
@pytest.mark.parametrize(
    ("values", "id_before"),
    [
        ({}, "08f72e11928b"),
        ({"batch_size": 1, "threads": 4, "layout": "channels_last"}, "2cbc4f9c0086"),
        ({"measure.cold_cache": True, "measure.rounds": 3}, "82f33b105942"),
        (
            {"env_set": {"A": "1"}, "allocator": "tuned", "affinity": [0, 1], "flush_denormal": True},
            "ac5820d5bcc6",
        ),
        (
            {
                "verify": False,
                "tolerance": 0.1,
                "isolation": "spawn",
                "timeout": None,
                "schedule": "sequential",
                "schedule_seed": 3,
                "resume": "x",
                "experiment.search": True,
                "view": "tree",
                "columns": ["name"],
                "depth": 3,
                "functions": False,
                "trace": True,
                "energy.dram": 1.0,
                "experiment.name": "fastest",
            },
            "08f72e11928b",
        ),
        (
            {"timing": False, "memory": False, "seed": 3, "cache_weights": False, "interop_threads": 2},
            "fdb150a91721",
        ),
        (
            {
                "engine": EngineConfig("compile", freezing=True, cache="cold"),
                "precision": PrecisionConfig("bf16", "bfloat16", None, 1e-2, 1e-2),
            },
            "f33a5cf533fe",
        ),
        (
            {
                "model": ModelConfig(
                    source="layer",
                    name="GELU",
                    cls="torch.nn.GELU",
                    args=[1, 2],
                    kwargs={"a": {"b": {}}},
                    call_kwargs={"c": [1]},
                    input_shape=[4],
                    part="x.1",
                    input_grad=True,
                ),
                "mode": ModeConfig("profile", training=True),
                "device.mkldnn": False,
            },
            "7e27b6d4db46",
        ),
    ],
)
def test_ids_of_all_kinds_of_settings_stay_the_same(values: dict[str, Any], id_before: str) -> None:
    plain = Config(
        model=ModelConfig(source="torchvision", name="resnet18", input_shape=[3, 224, 224]),
        device=DeviceConfig("cpu"),
        mode=ModeConfig("train"),
        engine=EngineConfig("eager"),
        precision=PrecisionConfig("fp32"),
        optimizer=OptimizerConfig("sgd", "SGD", 0.1, {"momentum": 0.9}),
    )
    assert Case(with_values(plain, values)).id == id_before


@dataclass
class WiderModel(ModelConfig):
    """A model's settings, with one that does not exist yet."""

    colour: str = option("red", "a colour", ANY, role=Role.WORK)


@dataclass
class Wider(Config):
    """The schema, with an option, and one of the model, that do not exist yet."""

    model: ModelConfig = group(WiderModel, "what is computed")
    shine: int = option(1, "a shine", ANY, role=Role.WORK)


@dataclass
class Gilt:
    """A group of options that does not exist yet."""

    carat: int = option(18, "how pure it is", ANY, role=Role.WORK)


@dataclass
class Gilded(Wider):
    """The schema, with that group too."""

    gilt: Gilt = group(Gilt, "how it is gilt")


def widened(schema: type[Config], colour: str = "red", **more: Any) -> Config:
    """Return the configuration with the same work, by a wider schema."""
    return schema(**vars(config()) | {"model": WiderModel(**vars(config().model), colour=colour)} | more)


def test_a_new_option_leaves_ids_unchanged_until_it_is_used() -> None:
    before = Case(config()).id
    assert Case(widened(Wider)).id == before
    assert len({before, Case(widened(Wider, shine=2)).id, Case(widened(Wider, colour="blue")).id}) == 3


def test_a_new_group_of_options_leaves_ids_unchanged_until_it_is_used() -> None:
    before = Case(config()).id
    assert Case(widened(Gilded)).id == before
    assert Case(widened(Gilded, gilt=Gilt(24))).id != before


@pytest.mark.parametrize("value", [None, {}, False, 0, "", []])
def test_the_id_differs_for_an_argument_that_is_given_whatever_its_value(value: Any) -> None:
    # BatchNorm1d(momentum=None) is not the same work as BatchNorm1d().
    with_it, without = config(), config()
    with_it.model.kwargs = {"momentum": value}
    without.model.kwargs = {}
    assert Case(with_it).id != Case(without).id


def test_the_id_is_the_same_without_a_timeout() -> None:
    assert Case(replace(config(), timeout=None)).id == Case(config()).id


def test_the_id_is_the_same_whatever_the_place_in_the_run() -> None:
    case = Case(config())
    assert replace(case, order=3, round=2, overrides=("model=conv",)).id == case.id


def test_the_id_is_the_same_whatever_the_order_of_a_dictionarys_keys() -> None:
    turned = config()
    turned.model.kwargs = dict(reversed(turned.model.kwargs.items()))
    assert list(turned.model.kwargs) != list(config().model.kwargs)
    assert Case(turned).id == Case(config()).id


def test_the_id_is_the_same_whatever_the_order_of_the_options() -> None:
    options = {"model": "vgg16", "mode": "train", "batch_size": 2}
    (one,), (two,) = (from_options(each, sweep=False) for each in (options, dict(reversed(options.items()))))
    assert one.id == two.id


def test_the_id_is_twelve_hexadecimal_digits() -> None:
    assert len(Case(config()).id) == 12
    assert int(Case(config()).id, 16) >= 0


def test_the_id_is_the_same_in_every_process() -> None:
    script = (
        "from microbench.config import Config, ModelConfig; from microbench.run.case import Case; "
        "print(Case(Config(model=ModelConfig('layer', 'conv', 'torch.nn.Conv2d', [3, 8, 3], "
        "{'stride': 2, 'padding': 1}, {}, [3, 8, 8]))).id)"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert ids == {Case(config()).id}


def test_a_case_at_a_place_has_its_device_and_threads() -> None:
    case = Case(config(), ("model=conv",), order=4)
    placed = case.at("cpu", threads=6)
    assert (placed.config.device.name, placed.config.threads) == ("cpu", 6)
    assert (placed.overrides, placed.order) == (case.overrides, case.order)
    assert placed.config.model == case.config.model
    assert case.config.threads is None


def test_a_case_keeps_the_threads_it_was_given() -> None:
    assert Case(replace(config(), threads=2)).at("cpu", threads=6).config.threads == 2


@pytest.mark.parametrize(
    ("overrides", "threads", "ending"),
    [
        ((), 6, ["device=cpu", "threads=6"]),
        (("batch_size=2",), 6, ["batch_size=2", "device=cpu", "threads=6"]),
        (("device=auto", "batch_size=2", "threads=null"), 6, ["batch_size=2", "device=cpu", "threads=6"]),
        (("seed=1", "device=cpu", "threads=2"), 2, ["seed=1", "device=cpu", "threads=2"]),
    ],
)
def test_the_command_ends_with_the_device_and_the_threads_that_were_used(
    overrides: tuple[str, ...], threads: int, ending: list[str]
) -> None:
    command = Case(config(), ("model=conv", *overrides)).at("cpu", threads).command
    assert command.split() == ["python", "-m", "microbench", "model=conv", *ending]


def test_the_command_leaves_out_options_of_the_whole_run() -> None:
    of_the_run = ("schedule=sequential", "schedule_seed=3", "resume=outputs/x")
    case = Case(config(), ("model=conv", *of_the_run, "measure.rounds=3")).at("cpu", threads=2)
    assert case.command == "python -m microbench model=conv measure.rounds=3 device=cpu threads=2"


def test_a_title_shows_the_options_except_those_in_every_title() -> None:
    every = ("model=conv", "mode=train", "batch_size=2", "engine=eager", "device=cpu")
    of_the_run = ("schedule=sequential", "schedule_seed=3", "resume=outputs/x")
    case = Case(config(), ("--config-dir", "/mine", *every, "seed=5", *of_the_run, "measure.rounds=3"))
    assert case.settings == ["seed=5", "measure.rounds=3"]


@pytest.mark.parametrize(
    ("affinity", "threads"), [("none", 6), ("compact", 6), ([0], 1), ([3, 1], 2), ([2, 2], 1)]
)
def test_a_case_that_is_bound_to_cpus_has_as_many_threads_by_default(affinity: Any, threads: int) -> None:
    bound = replace(config(), affinity=affinity)
    assert Case(bound).at("cpu", threads=6).config.threads == threads
    assert Case(replace(bound, threads=4)).at("cpu", threads=6).config.threads == 4


@pytest.mark.parametrize(
    ("affinity", "text"), [("none", "none"), ("compact", "compact"), ([0], "0"), ([3, 1], "3,1")]
)
def test_the_affinity_in_the_axes_is_a_string(affinity: Any, text: str) -> None:
    assert axes_of(replace(config(), affinity=affinity))["affinity"] == text


def test_a_case_has_as_many_rounds_as_it_is_measured_in() -> None:
    assert Case(config()).rounds == 6
    assert Case(with_values(config(), {"measure.rounds": 7})).rounds == 7
    assert Case(with_values(config(), {"isolation": "inline"})).rounds == 1


def test_the_command_of_a_case_that_has_no_place_yet_leaves_both_to_the_machine() -> None:
    (case,) = from_options({"model": "dense"}, sweep=False)
    assert case.command == "python -m microbench model=dense device=auto threads=null"


def test_the_axes_are_flat() -> None:
    axes = axes_of(config())
    assert (axes["model"], axes["input_shape"], axes["batch_size"]) == ("conv", "3x8x8", 8)
    assert (axes["affinity"], axes["allocator"], axes["cold_cache"]) == ("none", "system", False)
    assert (axes["flush_denormal"], axes["interop_threads"]) == (False, None)
    assert all(value is None or isinstance(value, (str, int, float)) for value in axes.values())


@pytest.mark.parametrize(
    "options",
    [
        {"model": "vgg16", "mode": "train", "batch_size": 3, "timeout": None},
        {"model": "dense", "measure": {"rel_ci": 0.25, "max_samples": 7}, "optimizer": "adam"},
        {"model": "dense", "affinity": [0, 1], "allocator": "tuned", "measure.cold_cache": True},
        {"model": "dense", "measure": "publish", "flush_denormal": True, "interop_threads": 2},
        {
            "model": "layer",
            "model.cls": "torch.nn.Conv2d",
            "model.args": [3, 8, [1, 3]],
            "model.kwargs": {"padding": "same", "note": "it's a b,c=[d] $HOME `x` é"},
            "model.input_shape": [3, 8, 8],
            "model.name": "a (b)",
        },
    ],
)
def test_the_command_is_quoted_for_a_shell_and_measures_the_same_case(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (case,) = from_options(options, sweep=False)
    echo = case.command.replace("python -m microbench", "printf '%s\\0'", 1)
    seen = subprocess.run(["sh", "-c", echo], capture_output=True, text=True, check=True).stdout
    arguments = seen.split("\0")[:-1]
    assert shlex.split(case.command) == ["python", "-m", "microbench", *arguments]
    plan = from_command_line(arguments, run_id="again")
    assert plan is not None
    assert [again.config for again in plan.cases] == [case.config]
    assert [again.id for again in plan.cases] == [case.id]


@pytest.mark.parametrize(
    ("device", "given", "preset", "mode", "sync"),
    [
        ("cuda", None, None, "infer", "events"),
        ("cuda", None, "phase", "train", "phase"),
        ("cuda", "device", "phase", "train", "device"),
        ("cuda", None, "phase", "profile", "events"),
        ("cpu", None, "phase", "train", None),
        ("cpu", None, None, "infer", None),
    ],
)
def test_a_case_on_cuda_is_timed_as_given_or_as_the_preset_says(
    device: str, given: str | None, preset: str | None, mode: str, sync: str | None
) -> None:
    of = config()
    of.device, of.mode.name, of.experiment.sync = DeviceConfig("auto", sync=given), mode, preset
    case = Case(of, overrides=("model=conv", "device=auto")).at(device, 4)
    assert case.config.device.sync == sync
    assert (f"device.sync={sync}" in shlex.split(case.command)) is (sync is not None)


def test_a_gpu_with_a_number_is_another_case_and_its_command_names_it() -> None:
    sweep = {"model": "dense", "device": ["cuda", "cuda:0", "cuda:1"]}
    found = [each.at("cuda", 2) for each in from_options(sweep, sweep=True)]
    assert [(each.config.device.name, each.config.device.index) for each in found] == [
        ("cuda", None),
        ("cuda", 0),
        ("cuda", 1),
    ]
    assert len({each.id for each in found}) == 3
    for case, label in zip(found, ("cuda", "cuda:0", "cuda:1"), strict=True):
        (device,) = [word for word in case.command.split() if word.startswith("device=")]
        assert device == f"device={label}"
        (again,) = from_options({"model": "dense", "device": label, "threads": 2}, sweep=False)
        assert again.at("cuda", 2).id == case.id
        assert case.config.device.label in planned(case.config, [])


def test_a_gpu_can_be_given_by_the_option_of_its_number() -> None:
    (case,) = from_options({"model": "dense", "device": "cuda", "device.index": 1}, sweep=False)
    assert case.config.device.label == "cuda:1"
