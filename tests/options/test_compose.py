from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from factory import record_of
from omegaconf import OmegaConf

from microbench.config import Config, validate
from microbench.distribution import CONF
from microbench.errors import UserError
from microbench.options import compose
from microbench.options.catalog import TorchvisionSource
from microbench.options.compose import Plan, composing, from_command_line, from_options
from microbench.options.compose import case as case_of
from microbench.options.torchvision import options_of, torchvision_models
from microbench.records.record import RunInfo
from microbench.records.store import Store

FILES = [
    path.relative_to(CONF).with_suffix("")
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name != "experiment"  # these are of all groups: see test_experiments.py
]
LAYER = {"model": "layer", "model.cls": "torch.nn.GELU", "model.input_shape": [4]}
NEEDED = {
    ("model", "layer"): {key: value for key, value in LAYER.items() if key != "model"},
    ("model", "own"): {"model.target": "my_package.nets:Net"},
}


def composed(**options: Any) -> Config:
    """Return the configuration of one case."""
    (case,) = from_options(options, sweep=False)
    return case.config


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`from_command_line` in a folder of its own: Hydra makes the run's folder where it is."""
    monkeypatch.chdir(tmp_path)

    def plan(*arguments: str) -> Plan | None:
        return from_command_line(arguments, run_id="the-run")

    return plan


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_of_an_option_composes_to_what_it_says(file: Path) -> None:
    group, name = file.parts
    options = {"model": "dense", group: name, **NEEDED.get((group, name), {})}
    config = composed(**options)
    validate(config)
    found = asdict(getattr(config, group))
    written = yaml.safe_load((CONF / f"{file}.yaml").read_text()) or {}
    (base,) = written.pop("defaults", [name])
    assert {key: found[key] for key in written} == written
    if group != "measure" and (group, name) not in NEEDED:
        assert found["name"] == base


def test_every_model_of_torchvision_is_an_option() -> None:
    source = TorchvisionSource(provider="test", path="torchvision://")
    for name in torchvision_models():
        given = source.load_config(f"model/{name}.yaml").config
        assert given == options_of(name)


@pytest.mark.parametrize("name", ["alexnet", "inception_v3", "vit_h_14"])
def test_a_model_of_torchvision_is_composed_with_its_input(name: str) -> None:
    model = composed(model=name).model
    assert (model.source, model.name) == ("torchvision", name)
    side = {"alexnet": 224, "inception_v3": 299, "vit_h_14": 518}[name]
    assert model.input_shape == [3, side, side]


def test_every_group_of_options_is_tested_here() -> None:
    assert {file.parent.name for file in FILES} == {path.name for path in CONF.iterdir() if path.is_dir()} - {
        "__pycache__",
        "experiment",
    }


def test_defaults_are_those_of_the_schema() -> None:
    config = composed(model="vgg16")
    schema = Config()
    assert config.measure == schema.measure
    groups = {"model", "device", "mode", "engine", "precision", "optimizer", "measure"}
    for key in asdict(schema).keys() - groups:
        assert getattr(config, key) == getattr(schema, key), key
    assert (config.device.name, config.mode.name, config.engine.name) == ("auto", "infer", "eager")


@pytest.mark.parametrize(
    ("preset", "budget", "rounds"), [("quick", 8.0, None), ("standard", 30.0, None), ("publish", None, 10)]
)
def test_a_preset_has_a_budget_or_a_number_of_rounds(
    preset: str, budget: float | None, rounds: int | None
) -> None:
    measure = composed(model="vgg16", measure=preset).measure
    assert (measure.budget, measure.rounds) == (budget, rounds)
    assert measure.share_server is (preset != "publish")


@pytest.mark.parametrize("affinity", ["none", "compact", [0], [0, 3]])
def test_an_affinity_is_a_name_or_a_list_of_cpus(affinity: Any) -> None:
    assert composed(model="vgg16", affinity=affinity).affinity == affinity


@pytest.mark.parametrize("affinity", ["all", [], ["0"], None])
def test_any_other_affinity_is_the_users_mistake(affinity: Any) -> None:
    with pytest.raises(UserError, match=r"^affinity=.* is not possible: give none, compact, gpu, or a list"):
        composed(model="vgg16", affinity=affinity)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("float32", "fp32"),
        ("bfloat16", "bf16"),
        ("torch.float16", "fp16"),
        ("fp32", "fp32"),
        ("tf32", "tf32"),
    ],
)
def test_torchs_names_of_types_are_precisions(given: str, name: str, command_line: Any) -> None:
    (case,) = from_options({"model": "vgg16", "precision": given}, sweep=False)
    plan = command_line("model=vgg16", f"precision={given}")
    assert case.config.precision.name == plan.cases[0].config.precision.name == name
    assert f"precision={name}" in case.overrides
    assert plan.command_line.endswith(f"precision={name}")


def test_torchs_names_of_types_can_be_swept_over(command_line: Any) -> None:
    plan = command_line("-m", "model=vgg16", "precision=float32,bfloat16")
    cases = from_options({"model": "vgg16", "precision": ["float32", "bfloat16"]}, sweep=True)
    for each in (plan.cases, cases):
        assert [case.config.precision.name for case in each] == ["fp32", "bf16"]


def test_an_option_inside_a_group_is_a_dotted_key_or_a_dictionary() -> None:
    dotted = composed(**{"model": "vgg16", "measure.rel_ci": 0.25, "measure.max_samples": 7})
    nested = composed(model="vgg16", measure={"rel_ci": 0.25, "max_samples": 7})
    assert dotted == nested
    assert (dotted.measure.rel_ci, dotted.measure.max_samples) == (0.25, 7)
    assert dotted.measure.min_samples == Config().measure.min_samples


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer.kwargs": {"momentum": 0.9}},
        {"optimizer.kwargs.momentum": 0.9},
        {"optimizer": {"kwargs": {"momentum": 0.9}}},
    ],
)
def test_one_key_of_a_dictionary_changes_that_one(options: Mapping[str, Any]) -> None:
    assert composed(model="vgg16", **options).optimizer.kwargs == {"momentum": 0.9, "weight_decay": 0.0}


def test_a_dictionary_may_hold_keys_that_are_not_there_yet() -> None:
    config = composed(**LAYER, **{"model.kwargs": {"approximate": "tanh"}, "model.call_kwargs.deep.er": [1]})
    assert config.model.kwargs == {"approximate": "tanh"}
    assert config.model.call_kwargs == {"deep": {"er": [1]}}


def test_a_list_is_one_value_of_a_run() -> None:
    assert composed(**LAYER | {"model.input_shape": [2, 3]}).model.input_shape == [2, 3]
    assert composed(**LAYER | {"model.input_shape": (2, 3)}).model.input_shape == [2, 3]


def test_a_layer_is_called_by_its_class_where_it_has_no_name() -> None:
    assert composed(**LAYER).model.name == "GELU"
    assert composed(**LAYER, **{"model.name": "mine"}).model.name == "mine"


def test_a_value_may_be_none_or_a_truth() -> None:
    config = composed(
        **LAYER, timeout=None, **{"model.input_grad": True, "model.kwargs": {"a": None, "b": False}}
    )
    assert config.timeout is None
    assert config.model.input_grad is True
    assert config.model.kwargs == {"a": None, "b": False}


ODD_STRINGS = [
    "a b",
    " a ",
    "",
    "a'b",
    'a"b',
    "a'",
    "a,b",
    "a=b",
    "a:b",
    "[x]",
    "{x: 1}",
    "(x)",
    "#x",
    "~x",
    "$x",
    "é",
    "a\tb",
    "a\nb",
    "glob(*)",
    "choice(a,b)",
    "a\\b",
    "a\\\\b",
    "a\\",
    "a\\'b",
    "true",
    "null",
    "1",
    "1e3",
    "nan",
]


@pytest.mark.parametrize("text", ODD_STRINGS)
def test_a_string_stays_the_string_it_is(text: str) -> None:
    model = composed(**LAYER, **{"model.kwargs": {"key": text}, "model.args": ["before", text]}).model
    assert model.kwargs == {"key": text}
    assert model.args == ["before", text]


def test_a_list_may_hold_values_of_any_kind() -> None:
    args = ["a b", 1, 1.5, 1e-6, -2, None, True, [1, [2]], {"a": 1}, []]
    assert composed(**LAYER, **{"model.args": args}).model.args == args


def test_a_sweep_has_a_case_for_each_combination_in_order() -> None:
    cases = from_options({"model": ["vgg16", "dense"], "batch_size": (1, 8), "seed": 3}, sweep=True)
    assert [(case.order, case.config.model.name, case.config.batch_size) for case in cases] == [
        (0, "vgg16", 1),
        (1, "vgg16", 8),
        (2, "dense", 1),
        (3, "dense", 8),
    ]
    assert cases[1].overrides == ("model=vgg16", "batch_size=8", "seed=3")
    assert {case.config.seed for case in cases} == {3}


def test_a_sweep_over_an_option_whose_value_is_a_list_takes_a_list_of_lists() -> None:
    cases = from_options(LAYER | {"model.input_shape": [[4], [2, 3]]}, sweep=True)
    assert [case.config.model.input_shape for case in cases] == [[4], [2, 3]]


def test_a_sweep_goes_into_dictionaries() -> None:
    options = {"model": "vgg16", "measure": {"rel_ci": [0.1, 0.2], "min_time": 0}}
    cases = from_options(options, sweep=True)
    assert [case.config.measure.rel_ci for case in cases] == [0.1, 0.2]
    assert {case.config.measure.min_time for case in cases} == {0}


def test_affinities_can_be_swept_over() -> None:
    cases = from_options({"model": "vgg16", "affinity": ["none", "compact", [0], [0, 1]]}, sweep=True)
    assert [case.config.affinity for case in cases] == ["none", "compact", [0], [0, 1]]
    assert len({case.id for case in cases}) == 4


def test_a_case_of_a_sweep_is_what_it_is_alone() -> None:
    """The cases of a sweep share what Hydra composes of the same files."""
    options: dict[str, Any] = {
        "model": ["vgg16", "layer"],
        "model.cls": "torch.nn.GELU",
        "model.input_shape": [[4]],
        "model.kwargs": [{"a": 1}],
        "device.mkldnn": False,
        "optimizer": "adam",
        "measure": "quick",
        "measure.rel_ci": [0.1, 0.2],
        "affinity": [[0, 1]],
        "timeout": None,
    }
    for case in from_options(options, sweep=True):
        overrides = [each.replace("model.kwargs=", "++model.kwargs=") for each in case.overrides]
        with composing():
            alone = hydra.compose("config", overrides=overrides, return_hydra_config=True)
        assert case.config == case_of(alone, case.overrides, case.order).config


@pytest.mark.parametrize("key", ["schedule_seed", "resume"])
def test_a_setting_of_the_run_cannot_be_swept_over(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}=1,2 cannot be swept over: a run has one {key}\.$"):
        from_options({"model": "vgg16", key: ["1", "2"] if key == "resume" else [1, 2]}, sweep=True)


@pytest.mark.parametrize("values", [[], ()])
def test_a_sweep_over_nothing_is_the_users_mistake(values: Any) -> None:
    with pytest.raises(UserError, match="batch_size"):
        from_options({"model": "vgg16", "batch_size": values}, sweep=True)


def test_a_sweep_takes_a_range() -> None:
    cases = from_options({"model": "vgg16", "batch_size": range(1, 4)}, sweep=True)
    assert [case.config.batch_size for case in cases] == [1, 2, 3]


class TestCommandLine:
    def test_a_command_line_is_the_case_of_the_same_options(self, command_line: Any) -> None:
        plan = command_line("model=vgg16", "batch_size=3", "measure.rel_ci=0.25")
        (case,) = plan.cases
        (same,) = from_options({"model": "vgg16", "batch_size": 3, "measure": {"rel_ci": 0.25}}, sweep=False)
        assert (case.config, case.id, case.overrides) == (same.config, same.id, same.overrides)

    def test_records_go_into_a_folder_of_the_runs_id(self, command_line: Any, tmp_path: Path) -> None:
        assert command_line("model=vgg16").folder == Path("outputs/the-run")
        assert command_line("model=vgg16", "hydra.run.dir=here").folder == Path("here")

    def test_a_multirun_is_a_case_a_combination_in_one_folder(
        self, command_line: Any, tmp_path: Path
    ) -> None:
        plan = command_line("-m", "model=vgg16,dense", "batch_size=1,8")
        assert [(case.order, case.config.model.name, case.config.batch_size) for case in plan.cases] == [
            (0, "vgg16", 1),
            (1, "vgg16", 8),
            (2, "dense", 1),
            (3, "dense", 8),
        ]
        assert plan.folder.resolve() == tmp_path / "outputs" / "the-run"

    def test_names_may_be_given_by_a_pattern(self, command_line: Any) -> None:
        plan = command_line("-m", "model=glob(vgg1?)")
        assert [case.config.model.name for case in plan.cases] == ["vgg11", "vgg13", "vgg16", "vgg19"]

    def test_a_pattern_that_matches_nothing_is_the_users_mistake(self, command_line: Any) -> None:
        with pytest.raises(
            UserError, match=r"^model=glob\(zzz\*\) matches nothing: see `microbench list`\.$"
        ):
            command_line("-m", "model=glob(zzz*)")

    def test_where_hydra_only_prints_there_is_no_plan(
        self, command_line: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command_line("model=vgg16", "--cfg", "job") is None
        assert yaml.safe_load(capsys.readouterr().out)["model"]["name"] == "vgg16"

    def test_a_folder_of_ones_own_files_adds_options_and_is_part_of_the_command(
        self, command_line: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "mine" / "model").mkdir(parents=True)
        written = "source: layer\nname: tiny\ncls: torch.nn.Linear\nargs: [4, 2]\ninput_shape: [4]\n"
        (tmp_path / "mine" / "model" / "tiny.yaml").write_text(written)
        for flags in (["--config-dir", "mine"], ["-cd", "mine"], ["--config-dir=mine"]):
            (case,) = command_line(*flags, "model=tiny").cases
            assert case.config.model.args == [4, 2]
            assert shlex.split(case.command)[3:] == [
                "--config-dir",
                str(tmp_path / "mine"),  # absolute: it may be run from elsewhere
                "model=tiny",
                "device=auto",
                "threads=null",
            ]

    def test_the_process_is_left_as_it_was(self, command_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        before = list(sys.argv)
        command_line("model=vgg16")
        with pytest.raises(UserError):
            command_line("model=vgg16", "--no-such-flag")
        assert sys.argv == before
        assert "HYDRA_FULL_ERROR" not in os.environ
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        command_line("model=vgg16")
        assert os.environ["HYDRA_FULL_ERROR"] == "0"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["-m", "model=vgg16,dense", "seed=1"],
            ["model=vgg16,dense", "-m", "seed=1"],
            ["model=vgg16,dense", "seed=1", "--multirun"],
        ],
    )
    def test_a_flag_may_stand_anywhere(self, arguments: list[str], command_line: Any) -> None:
        cases = command_line(*arguments).cases
        assert [case.overrides for case in cases] == [("model=vgg16", "seed=1"), ("model=dense", "seed=1")]

    def test_a_mistake_leaves_no_folder(self, command_line: Any, tmp_path: Path) -> None:
        with pytest.raises(UserError):
            command_line("model=vgg16", "batch_size=0")
        assert not (tmp_path / "outputs" / "the-run").exists()

    @pytest.mark.parametrize(
        "arguments", [["-cd", ""], ["--config-dir"], ["--config-dir="], ["-cd", "nowhere"]]
    )
    def test_a_folder_of_files_that_is_not_there_is_the_users_mistake(
        self, arguments: list[str], command_line: Any
    ) -> None:
        with pytest.raises(UserError, match=r"^--config-dir"):
            command_line("model=vgg16", *arguments)

    def test_a_search_path_is_part_of_the_command(self, command_line: Any, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        written = "source: layer\nname: tiny\ncls: torch.nn.GELU\ninput_shape: [4]\n"
        (tmp_path / "model" / "tiny.yaml").write_text(written)
        path = f"hydra.searchpath=[file://{tmp_path}]"
        (case,) = command_line("model=tiny", path).cases
        assert shlex.split(case.command)[3:] == ["model=tiny", path, "device=auto", "threads=null"]

    def test_a_plan_has_its_command(self, command_line: Any) -> None:
        plan = command_line("model=vgg16", "model.kwargs={a: 1}", "seed=3")
        assert shlex.split(plan.command_line) == [
            *("python", "-m", "microbench", "model=vgg16", "model.kwargs={a: 1}", "seed=3")
        ]
        assert not plan.completing

    def test_a_sweep_completes_what_its_folder_holds(self, command_line: Any) -> None:
        assert command_line("-m", "model=vgg16,dense").completing


PROFILED = ("model=vgg16", "mode=profile")


@pytest.mark.parametrize("given", ["columns=[name],[~type]", "columns=[name] , [ ~type ]"])
def test_columns_are_swept_over_as_lists(given: str, command_line: Any) -> None:
    plan = command_line("-m", *PROFILED, given)
    assert sorted(case.config.columns for case in plan.cases) == [["name"], ["~type"]]


@pytest.mark.parametrize("given", ["columns=[name,~type]", "columns=name,~type", "columns='name','~type'"])
def test_columns_are_one_list_however_they_are_written(given: str, command_line: Any) -> None:
    (case,) = command_line(*PROFILED, given).cases
    assert case.config.columns == ["name", "~type"]


def test_several_lists_of_columns_are_for_a_sweep(command_line: Any) -> None:
    with pytest.raises(UserError, match=r"^columns=\S+ names several values: add -m to sweep over them\.$"):
        command_line(*PROFILED, "columns=[name],[type]")


class TestResume:
    @pytest.fixture
    def begun(self, command_line: Any, tmp_path: Path) -> str:
        """The folder of a sweep that has begun."""
        command = command_line(
            "-m", "model=vgg16,dense", "batch_size=1", "hydra.sweep.dir=there"
        ).command_line
        with Store(tmp_path / "begun") as store:
            store.append(record_of(run=RunInfo(id="r", command_line=command)))
        return "begun"

    def test_the_last_of_several_folders_counts(self, command_line: Any, begun: str) -> None:
        assert command_line("resume=nowhere", f"resume={begun}").folder == Path("begun")

    def test_resume_alone_repeats_the_command_that_began_the_run(self, command_line: Any, begun: str) -> None:
        plan = command_line(f"resume={begun}")
        assert [(case.config.model.name, case.config.batch_size) for case in plan.cases] == [
            ("vgg16", 1),
            ("dense", 1),
        ]
        assert (plan.folder, plan.completing) == (Path("begun"), True)
        assert (
            plan.command_line
            == "python -m microbench -m model=vgg16,dense batch_size=1 hydra.sweep.dir=there"
        )

    def test_resume_with_options_completes_the_cases_they_describe(
        self, command_line: Any, begun: str
    ) -> None:
        plan = command_line("model=vgg16", "batch_size=8", f"resume={begun}")
        assert [case.config.batch_size for case in plan.cases] == [8]
        assert (plan.folder, plan.completing) == (Path("begun"), True)
        assert plan.command_line == "python -m microbench model=vgg16 batch_size=8"

    def test_resume_is_no_part_of_the_cases(self, command_line: Any, begun: str) -> None:
        (case,) = command_line("model=vgg16", f"resume={begun}").cases
        (plain,) = command_line("model=vgg16").cases
        assert case.id == plain.id
        assert case.command == plain.command

    def test_a_folder_that_is_not_there_is_the_users_mistake(self, command_line: Any, begun: str) -> None:
        for arguments in (
            ["resume=begum"],
            ["model=vgg16", "resume=begum"],
            ["-m", "model=vgg16", "resume=begum"],
        ):
            with pytest.raises(UserError) as caught:
                command_line(*arguments)
            assert str(caught.value) == "resume=begum: there is no such folder. Did you mean begun?"


@pytest.fixture
def cases(command_line: Any) -> Any:
    """The configurations of a command line's cases."""

    def found(*arguments: str) -> list[Config]:
        return [case.config for case in command_line(*arguments).cases]

    return found


class TestRepeated:
    """What several overrides of one key come to: the last wins, and dictionaries merge."""

    BOTH = ("model=dense", "model.kwargs={bias: false}", "model.kwargs={dtype: null}")

    def test_dictionaries_merge_in_a_sweep_as_they_do_alone(self, cases: Any) -> None:
        (alone,) = cases(*self.BOTH)
        (swept,) = cases("-m", *self.BOTH)
        assert alone == swept
        assert alone.model.kwargs == {"bias": False, "dtype": None}

    def test_dictionaries_merge_from_python_too(self) -> None:
        options = {"model": "dense", "model.kwargs.bias": False, "model.kwargs": {"dtype": None}}
        for sweep in (False, True):
            (case,) = from_options(options, sweep)
            assert case.config.model.kwargs == {"bias": False, "dtype": None}
            nested = {
                "model": "dense",
                "model.kwargs": {"bias": False},
                "optimizer": {"kwargs": {"a": 1}},
            }
            (case,) = from_options(nested | {"optimizer.kwargs": {"b": 2}}, sweep)
            assert case.config.optimizer.kwargs == {"momentum": 0.0, "weight_decay": 0.0, "a": 1, "b": 2}

    def test_a_sweep_over_a_dictionary_is_kept_before_and_behind_what_merges_with_it(
        self, cases: Any
    ) -> None:
        sweep, plain = "model.kwargs={bias: true},{bias: false}", "model.kwargs={dtype: null}"
        for order in ((sweep, plain), (plain, sweep)):
            found = cases("-m", "model=dense", *order)
            assert [each.model.kwargs for each in found] == [
                {"bias": True, "dtype": None},
                {"bias": False, "dtype": None},
            ]

    def test_a_dictionary_for_a_group_merges_with_its_choice(self, cases: Any) -> None:
        arguments = ("model=dense", "model={num_classes: 7}", "batch_size=3")
        (alone,) = cases(*arguments)
        (swept,) = cases("-m", *arguments)
        assert alone == swept
        assert (alone.model.name, alone.model.num_classes) == ("dense", 7)

    def test_the_last_value_wins(self, cases: Any) -> None:
        for flags in ((), ("-m",)):
            (found,) = cases(*flags, "model=vgg16", "batch_size=4", "model=dense", "batch_size=2")
            assert (found.model.name, found.batch_size) == ("dense", 2)
        assert [each.batch_size for each in cases("-m", "model=dense", "batch_size=4", "batch_size=1,2")] == [
            1,
            2,
        ]
        assert [each.batch_size for each in cases("-m", "model=dense", "batch_size=1,2", "batch_size=4")] == [
            4
        ]

    def test_the_last_value_of_a_dictionary_s_key_wins_over_a_sweep(self, cases: Any) -> None:
        assert [each.env_set for each in cases("-m", "model=dense", "env_set.A=1,2", "env_set.A=3")] == [
            {"A": "3"}
        ]
        given = ("-m", "model=dense", "model.kwargs={a: {x: 0}}", "model.kwargs.a=1,2", "model.kwargs.b=3")
        assert [each.model.kwargs for each in cases(*given, "model.kwargs.a={y: 4}", "model.kwargs.a=5")] == [
            {"a": 5, "b": 3}
        ]
        assert [each.model.kwargs for each in cases(*given)] == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]

    def test_a_deletion_stands_in_its_place(self, cases: Any) -> None:
        given = ("model=dense", "model.kwargs.a=1", "~model.kwargs.a", "model.kwargs.a=2", "model.kwargs.b=3")
        for flags in ((), ("-m",)):
            (found,) = cases(*flags, *given, "~model.kwargs.b")
            assert found.model.kwargs == {"a": 2}

    @pytest.mark.parametrize(
        ("key", "first", "second"),
        [("batch_size", "1,2", "3,4"), ("model.kwargs", "{a: 1},{a: 2}", "{b: 1},{b: 2}")],
    )
    def test_a_key_that_is_swept_over_twice_is_refused_by_name(
        self, key: str, first: str, second: str, cases: Any
    ) -> None:
        with pytest.raises(UserError) as caught:
            cases("-m", "model=dense", f"{key}={first}", f"{key}={second}")
        assert str(caught.value) == f"{key} is swept over twice: {key}={first} and {key}={second}."


ALIKE = [
    # Overrides of which a task of a sweep has these, behind those of another task.
    ("batch_size=3", "measure.rel_ci=0.25", "timeout=null", "verify=false"),
    ("batch_size=3", "batch_size=4"),
    ("batch_size=${seed}", "seed=7", "measure.min_samples=${batch_size}"),
    ("hydra.run.dir=${hydra.job.override_dirname}", "seed=1"),
    ("model.name=x", "model={name: y, num_classes: 7}"),
    ("model={name: y}", "model.name=x"),
    ("model={kwargs: {a: 1}}", "model.kwargs={b: {c: 2}}", "model.kwargs.b.c=3", "~model.kwargs.a"),
    ("++batch_size=5", "batch_size=6"),
    ("batch_size=6", "++batch_size=5"),
    ("measure=quick", "measure.rounds=2", "measure={rounds: 3}"),
    ("measure.rounds=2", "measure=quick"),
    ("optimizer=adam", "optimizer.kwargs={weight_decay: null}", "optimizer.lr=1e-3"),
    ("optimizer.kwargs.deep.er=[1,{a: 'x y'}]", "+optimizer.kwargs.more=1", "++optimizer.kwargs.more=2"),
    ("affinity=[0,1]", "model.args=['a,b',1,1.5,null,true]", "model.input_shape=[2,3]"),
    ("affinity=compact", "allocator='system'", "model.part=null"),
    ("experiment.ways=[['layout=mkldnn']]", "experiment.budget=3"),
    ("~optimizer.kwargs.momentum", "seed=2"),
    ("hydra.run.dir=x${seed}", "seed=2"),
]


@pytest.mark.parametrize("more", ALIKE, ids=" ".join)
def test_a_task_of_a_sweep_is_composed_as_hydra_composes_it_alone(
    more: tuple[str, ...], command_line: Any
) -> None:
    command_line("model=dense")  # which registers the options
    task = ("model=dense", *more)
    with composing():
        _, found = compose._composed([("model=dense",), task])
        alone = hydra.compose("config", compose._for_hydra(task, None), return_hydra_config=True)
    for resolve in (False, True):
        assert OmegaConf.to_container(found, resolve=resolve) == OmegaConf.to_container(
            alone, resolve=resolve
        )


PRINTED = [
    ("model.kwargs={bias: false}",),
    ("model.kwargs={bias: false}", "model.kwargs={dtype: null}"),
    ("optimizer.kwargs.momentum=0.5", "model={num_classes: 7}"),
    ("columns=name,~type", "mode=profile"),
    ("~optimizer.kwargs.momentum", "+optimizer.kwargs.nesterov=true"),
]


@pytest.mark.parametrize("more", PRINTED, ids=" ".join)
def test_what_hydra_prints_is_what_a_run_takes(
    more: tuple[str, ...], command_line: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (case,) = command_line("model=dense", *more).cases
    assert command_line("model=dense", *more, "--cfg", "job") is None
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == {**asdict(case.config), "experiment": printed["experiment"]}


def test_hydra_prints_a_users_own_files_too(
    command_line: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "tiny.yaml").write_text("source: layer\nname: tiny\ninput_shape: [4]\n")
    assert command_line("-cd", "mine", "model=tiny", "--cfg", "job") is None
    assert yaml.safe_load(capsys.readouterr().out)["model"]["name"] == "tiny"


def test_what_a_run_refuses_is_not_printed(command_line: Any) -> None:
    with pytest.raises(UserError, match=r"^Unknown option 'batchsize'\. Did you mean batch_size\?"):
        command_line("model=dense", "batchsize=3", "--cfg", "job")


SEARCH = ("+experiment=fastest", "model=dense", "mode=infer", "engine=eager", "precision=fp32")


def test_a_search_for_throughput_has_plain_eager_first_at_the_middle_batch_size(command_line: Any) -> None:
    cases = command_line(*SEARCH, "layout=mkldnn", "batch_size=1,16,4,2,8", "objective=throughput").cases
    found = [(case.config.layout, case.config.batch_size) for case in cases]

    assert found[:2] == [("contiguous", 4), ("mkldnn", 4)]
    assert [size for _, size in found[::2]] == [4, 8, 2, 16, 1]


@pytest.mark.parametrize("more", [(), ("objective=p99",)])
def test_several_batch_sizes_are_searched_for_throughput_alone(command_line: Any, more: Any) -> None:
    told = r"^A search is for one work: give one batch_size, not 2, or objective=throughput to find "
    with pytest.raises(UserError, match=told):
        command_line(*SEARCH, "batch_size=1,2", *more)


def test_an_option_may_be_given_by_its_other_name(command_line: Any) -> None:
    plan = command_line("model=dense", "mode=infer", "max_error=0.01")

    assert plan.cases[0].config.tolerance == 0.01
    assert "tolerance=0.01" in plan.cases[0].command
    (case,) = compose.from_options({"model": "dense", "mode": "infer", "max_error": 0.02}, sweep=False)
    assert case.config.tolerance == 0.02


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("batch_size=max",), (1, True)),
        (("batch_size=4", "batch_size=max"), (1, True)),
        (("batch_size=max", "batch_size=4"), (4, False)),
        (("batch_size=4", "max_batch=true"), (4, True)),
    ],
)
def test_max_stands_for_the_most_items_that_fit(
    given: tuple[str, ...], found: tuple[int, bool], command_line: Any
) -> None:
    plan = command_line("model=dense", *given)
    assert plan is not None
    ((size, is_most),) = [(each.config.batch_size, each.config.max_batch) for each in plan.cases]
    assert (size, is_most) == found
    assert plan.command_line.endswith(" ".join(given))


def test_max_is_one_of_several_batches(command_line: Any) -> None:
    plan = command_line("-m", "model=dense", "batch_size=2,max", "seed=1,2")
    assert plan is not None
    assert [(each.config.batch_size, each.config.max_batch) for each in plan.cases] == [
        *((2, False), (2, False), (1, True), (1, True))
    ]
    cases = from_options({"model": "dense", "batch_size": [2, "max"]}, sweep=True)
    assert [(each.config.batch_size, each.config.max_batch) for each in cases] == [(2, False), (1, True)]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("isolation=inline", "isolation=inline runs in this process"),
        ("+experiment=fastest", "a search is for one work"),
        ("mode=layers", "mode=layers measures a model and its layers"),
        ("mode=profile timing=false", "a dry run"),
    ],
)
def test_max_is_refused_where_no_sizes_can_be_tried(given: str, why: str, command_line: Any) -> None:
    with pytest.raises(
        UserError, match=rf"^batch_size=max is not possible: {re.escape(why)}.*; give a number\.$"
    ):
        command_line("model=alexnet", "batch_size=max", *given.split())
