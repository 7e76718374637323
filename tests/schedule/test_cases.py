from __future__ import annotations

import os
import shlex
import subprocess
import sys
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from microbench.compose import from_command_line, from_options
from microbench.config import Config, ModelConfig, value_of
from microbench.schedule.cases import Case


def config() -> Config:
    return Config(
        model=ModelConfig(
            "layer", "conv", "torch.nn.Conv2d", [3, 8, 3], {"stride": 2, "padding": 1}, {}, [3, 8, 8]
        )
    )


def leaves(schema: Any, prefix: str = "") -> list[str]:
    """The dotted keys of all values of a configuration."""
    found = []
    for item in fields(schema):
        value = getattr(schema, item.name)
        found += leaves(value, f"{prefix}{item.name}.") if is_dataclass(value) else [prefix + item.name]
    return found


def other(value: Any) -> Any:
    """A value of the same kind, but not the same."""
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
    new = deepcopy(config())
    *path, last = key.split(".")
    setattr(value_of(new, ".".join(path)) if path else new, last, other(value_of(new, key)))
    return new


@pytest.mark.parametrize("key", [key for key in leaves(config()) if key != "timeout"])
def test_the_id_is_another_for_any_other_setting(key: str) -> None:
    assert Case(changed(key)).id != Case(config()).id


@pytest.mark.parametrize("timeout", [None, 1.0])
def test_the_id_is_the_same_whatever_the_timeout(timeout: float | None) -> None:
    assert Case(replace(config(), timeout=timeout)).id == Case(config()).id


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
        "from microbench.config import Config, ModelConfig; from microbench.schedule.cases import Case; "
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


def test_the_axes_are_flat() -> None:
    axes = Case(config()).axes()
    assert (axes["model"], axes["input_shape"], axes["batch_size"]) == ("conv", "3x8x8", 8)
    assert all(value is None or isinstance(value, (str, int, float)) for value in axes.values())


@pytest.mark.parametrize(
    "options",
    [
        {"model": "vgg16", "mode": "train", "batch_size": 3, "timeout": None},
        {"model": "dense", "measure": {"rel_ci": 0.25, "max_samples": 7}, "optimizer": "adam"},
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
