"""Presets: their sweeps, how a command line narrows them, and errors in a user's own."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microbench.analysis import published_files
from microbench.cli.list import description
from microbench.config import validate
from microbench.distribution import CONF
from microbench.errors import UserError
from microbench.options.compose import composing, from_command_line, from_options, preset_of, register
from microbench.options.sweep import combined
from microbench.run.case import Case

PRESETS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
TABLES = {
    "convnet_mkldnn": "convnet_benchmark_pytorch",
    "layer_phases": "deep_learning_benchmarks",
    "model_phases": "deep_learning_benchmarks",
    "optimizing_compilers": "poros",
    "torchvision_timing": "torchvision_pretrained_timing",
}

Cases = Callable[..., list[Case]]


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cases:
    """The cases of a command line, with a user's own preset `mine` where its text is given."""
    monkeypatch.chdir(tmp_path)

    def planned(*arguments: str, mine: str | None = None) -> list[Case]:
        if mine is not None:
            (tmp_path / "own" / "experiment").mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{mine}")
            arguments = ("--config-dir", "own", "+experiment=mine", *arguments)
        plan = from_command_line(arguments, run_id="the-run")
        assert plan is not None
        return plan.cases

    return planned


def settings(found: list[Case]) -> list[tuple[str, int, str, bool]]:
    """Return the settings that differ between the cases of these tests."""
    return [
        (case.config.model.name, case.config.batch_size, case.config.layout, case.config.cache_weights)
        for case in found
    ]


def named(model: str) -> str:
    """Return the name of the model of an option, which may be for another shape of its input."""
    return model.removesuffix("_224") if model.startswith("inception") else model


def arguments(case: Case) -> list[str]:
    """Return the arguments of the command that a case's records have."""
    return shlex.split(case.command)[3:]


SWEEP = """
hydra: {mode: MULTIRUN, sweeper: {params: {model: "dense,batchnorm", batch_size: "1,2"}}}
seed: 3
"""
WAYS = """
hydra: {mode: MULTIRUN, sweeper: {params: {model: dense}}}
batch_size: 1
experiment:
  ways: [[layout=contiguous], [layout=mkldnn, cache_weights=false], [layout=mkldnn, cache_weights=true]]
"""
NATIVE, UNCACHED, CACHED = (
    ("dense", 1, "contiguous", True),
    ("dense", 1, "mkldnn", False),
    ("dense", 1, "mkldnn", True),
)


class TestShipped:
    @pytest.mark.parametrize("name", PRESETS)
    def test_a_preset_has_a_description_and_names_its_table(self, name: str, cases: Cases) -> None:
        assert len(description(name)) > 20
        (case,) = cases(f"+experiment={name}", "hydra.mode=RUN", "model=dense")
        assert (case.config.experiment.name, case.config.experiment.reference) == (name, TABLES.get(name))

    @pytest.mark.parametrize("name", TABLES)
    def test_a_preset_has_the_models_and_batches_of_its_table(self, name: str, cases: Cases) -> None:
        (case,) = cases(f"+experiment={name}", "hydra.mode=RUN", "model=dense")
        with composing():
            given = {"experiment": [f"+experiment={name}"]}
            tasks = combined(given, preset_of(given, None))
        options = [dict(each.split("=", 1) for each in task) for task in tasks]
        swept = {
            (named(each["model"]), int(each.get("batch_size", case.config.batch_size))) for each in options
        }
        table = published_files.load(TABLES[name])
        models = {model for model, _ in swept}
        known = {(table.model(each.workload), each.batch_size) for each in table.figures}
        assert {pair for pair in known if pair[0] in models} <= swept
        assert models <= {model for model, _ in known}

    def test_every_model_that_a_table_has_is_in_a_preset(self, cases: Cases) -> None:
        """But for those of a table that no preset shows."""
        register("")
        swept: dict[str, set[str]] = {}
        for name, table in TABLES.items():
            with composing():
                params = preset_of({"experiment": [f"+experiment={name}"]}, None).params
            models = map(named, params["model"].replace(" ", "").split(","))
            swept.setdefault(table, set()).update(models)
        for name, wanted in swept.items():
            table = published_files.load(name)
            assert {table.model(each.workload) for each in table.figures} - {None} == wanted

    def test_each_case_of_convnet_mkldnn_is_led_to_by_its_command(self, cases: Cases) -> None:
        found = cases("+experiment=convnet_mkldnn", "batch_size=1")
        assert len(found) == 3
        for case in found:
            (again,) = cases(*arguments(case))
            assert again.config == case.config

    def test_convnet_mkldnn_of_one_way_is_one_case(self, cases: Cases) -> None:
        options = ["model=resnet50", "layout=mkldnn", "cache_weights=false", "batch_size=1"]
        (case,) = cases("+experiment=convnet_mkldnn", *options)
        assert settings([case]) == [("resnet50", 1, "mkldnn", False)]

    def test_model_phases_has_each_model_at_the_batch_it_was_published_at(self, cases: Cases) -> None:
        found = cases("+experiment=model_phases", "model=resnet18,resnet152", "mode=infer")
        assert [pair[:2] for pair in settings(found)] == [("resnet18", 8), ("resnet152", 4)]

    def test_the_command_line_can_select_another_table(self, cases: Cases) -> None:
        (case,) = cases("model=dense", "experiment.reference=poros")
        assert case.config.experiment.reference == "poros"
        with pytest.raises(UserError, match=r"^Unknown experiment\.reference 'porus'\. Did you mean poros\?"):
            cases("model=dense", "experiment.reference=porus")


class TestParams:
    def test_the_axes_of_a_preset_are_swept_over_without_a_flag(self, cases: Cases) -> None:
        found = cases(mine=SWEEP)
        assert [pair[:2] for pair in settings(found)] == [
            ("dense", 1),
            ("dense", 2),
            ("batchnorm", 1),
            ("batchnorm", 2),
        ]
        assert {case.config.seed for case in found} == {3}
        assert [case.order for case in found] == [0, 1, 2, 3]

    @pytest.mark.parametrize("given", ["batch_size=4", "batch_size=4,8"])
    def test_an_axis_of_the_command_line_replaces_the_presets(self, given: str, cases: Cases) -> None:
        found = cases(given, mine=SWEEP)
        assert {case.config.model.name for case in found} == {"dense", "batchnorm"}
        wanted = [int(size) for size in given.partition("=")[2].split(",")]
        assert [case.config.batch_size for case in found] == wanted * 2

    def test_params_without_the_mode_need_the_flag(self, cases: Cases) -> None:
        preset = SWEEP.replace("mode: MULTIRUN, ", "")
        assert len(cases("model=dense", mine=preset)) == 1
        assert len(cases("-m", mine=preset)) == 4

    def test_the_command_line_may_turn_the_sweep_off_and_on(self, cases: Cases) -> None:
        assert len(cases("hydra.mode=RUN", "model=dense", mine=SWEEP)) == 1
        assert len(cases("hydra.mode=MULTIRUN", "model=dense,batchnorm")) == 2

    def test_each_case_is_led_to_by_its_command(self, cases: Cases) -> None:
        ways = WAYS.partition("batch_size: 1")[2]
        for case in cases("-m", "model=dense", "batch_size=2", "threads=1", mine=SWEEP + ways):
            (again,) = cases(*arguments(case))
            assert again.config == case.config

    def test_the_run_completes_what_its_folder_holds(self, cases: Cases, tmp_path: Path) -> None:
        cases(mine=SWEEP)  # writes the file
        plan = from_command_line(["--config-dir", "own", "+experiment=mine"], run_id="the-run")
        assert plan is not None
        assert plan.completing
        assert plan.folder == Path("outputs/the-run")
        assert plan.command_line == "python -m microbench --config-dir own +experiment=mine"


class TestWays:
    def test_a_way_is_a_case_for_each_combination_of_axes(self, cases: Cases) -> None:
        assert settings(cases(mine=WAYS)) == [NATIVE, UNCACHED, CACHED]
        assert settings(cases("batch_size=1,2", mine=WAYS)) == [
            NATIVE,
            UNCACHED,
            CACHED,
            *(("dense", 2, layout, cached) for _, _, layout, cached in (NATIVE, UNCACHED, CACHED)),
        ]

    @pytest.mark.parametrize(
        ("given", "left"),
        [
            (["layout=mkldnn"], [UNCACHED, CACHED]),
            (["layout=contiguous,mkldnn"], [NATIVE, UNCACHED, CACHED]),
            (["cache_weights=false"], [UNCACHED]),
            (["layout=contiguous"], [NATIVE]),
            (["layout=mkldnn", "cache_weights=False"], [UNCACHED]),
        ],
    )
    def test_configurations_that_agree_with_the_given_options_stay(
        self, given: list[str], left: list[tuple[str, int, str, bool]], cases: Cases
    ) -> None:
        assert settings(cases(*given, mine=WAYS)) == left

    @pytest.mark.parametrize("given", ["layout=channels_last", "layout=channels_last,mkldnn"])
    def test_an_option_of_no_configuration_replaces_them_all(self, given: str, cases: Cases) -> None:
        layouts = given.partition("=")[2].split(",")
        assert settings(cases(given, mine=WAYS)) == [("dense", 1, layout, True) for layout in layouts]

    def test_a_way_may_list_values_and_replaces_an_axis(self, cases: Cases) -> None:
        ways = SWEEP + 'experiment: {ways: [["model=dense,relu", batch_size=3], [model=copy, batch_size=4]]}'
        found = settings(cases(mine=ways))
        assert [pair[:2] for pair in found] == [("dense", 3), ("relu", 3), ("copy", 4)]
        found = settings(cases("batch_size=5", mine=ways))  # in no configuration: the axis is left
        assert [pair[:2] for pair in found] == [("dense", 5), ("batchnorm", 5)]

    def test_torchs_names_of_types_are_precisions_in_them_too(self, cases: Cases) -> None:
        way = "[[precision=float32], ['precision=torch.bfloat16,float16', max_error=0.5]]"
        found = cases("model=dense", mine=f"hydra: {{mode: MULTIRUN}}\nexperiment: {{ways: {way}}}")
        assert [(case.config.precision.name, case.config.tolerance) for case in found] == [
            ("fp32", None),
            ("bf16", 0.5),
            ("fp16", 0.5),
        ]
        swept = "hydra: {mode: MULTIRUN, sweeper: {params: {model: dense, precision: 'float32,bfloat16'}}}"
        assert [case.config.precision.name for case in cases(mine=swept)] == ["fp32", "bf16"]

    def test_configurations_are_no_part_of_the_work(self, cases: Cases) -> None:
        (native, *_) = cases(mine=WAYS)
        (plain,) = cases("model=dense", "batch_size=1")
        assert native.id == plain.id

    def test_a_heading_does_not_repeat_the_preset(self, cases: Cases) -> None:
        assert [case.settings for case in cases(mine=WAYS)][1] == ["layout=mkldnn", "cache_weights=false"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("given", "line"),
        [
            (
                "experiment=convnet_mkldnn",
                "A preset is added to the options: write +experiment=convnet_mkldnn.",
            ),
            ("experiment=convnet", "A preset is added to the options: write +experiment=convnet_mkldnn."),
            (
                "++experiment=model_phases",
                "A preset is added to the options: write +experiment=model_phases.",
            ),
            (
                "+experiment=fastets",
                f"Unknown experiment 'fastets'. Did you mean fastest? Allowed: {', '.join(PRESETS)}.",
            ),
            (
                "+experiment=model_phases,layer_phases",
                "A run has one preset: give one of +experiment=model_phases, +experiment=layer_phases.",
            ),
        ],
    )
    def test_a_wrong_name_of_a_preset_is_reported_in_one_line(
        self, given: str, line: str, cases: Cases
    ) -> None:
        with pytest.raises(UserError) as caught:
            cases("-m", given, "model=dense")
        assert str(caught.value) == line

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            *(
                (
                    f"experiment: {{ways: {ways}}}",
                    "experiment.ways must be a list of lists of options, such as "
                    "[[layout=contiguous],[layout=mkldnn]].",
                )
                for ways in ("layout=mkldnn", "[layout=mkldnn]", "[[1]]", "[[{layout: mkldnn}]]")
            ),
            (
                "experiment: {ways: [[]]}",
                "experiment.ways: a configuration is empty: name what it sets, such as layout=contiguous.",
            ),
            (
                "experiment: {ways: [[+experiment=fastest]]}",
                "experiment.ways: a configuration names another preset, +experiment=fastest: name what it "
                "sets, such as layout=contiguous.",
            ),
            ("experiment: {ways: [[layout]]}", "experiment.ways: cannot read 'layout': write key=value."),
            (
                'hydra: {sweeper: {params: {batch_size: "1,("}}}',
                "hydra.sweeper.params: cannot read 'batch_size=1,(': write key=value.",
            ),
            (
                'hydra: {sweeper: {params: {hydra.run.dir: "a,b"}}}',
                "hydra.run.dir=a,b cannot be swept over: it is Hydra's own.",
            ),
            (
                "experiment: {ways: [[schedule=sequential], [schedule=interleaved]]}",
                "schedule=sequential,interleaved cannot be swept over: a run has one schedule.",
            ),
            (
                "experiment: {ways: [[experiment.search=true], [experiment.search=false]]}",
                "experiment.search=True,False cannot be swept over: a run has one experiment.search.",
            ),
        ],
    )
    def test_a_wrong_preset_file_is_reported_in_one_line(self, text: str, line: str, cases: Cases) -> None:
        with pytest.raises(UserError) as caught:
            cases("-m", "model=dense", mine=text)
        assert str(caught.value) == line

    @pytest.mark.parametrize(
        ("text", "start"),
        [
            ("experiment: {ways: [[layoot=mkldnn]]}", "Unknown option 'layoot'. Did you mean layout?"),
            (
                'hydra: {sweeper: {params: {batch_sise: "1"}}}',
                "Unknown option 'batch_sise'. Did you mean batch_",
            ),
            (
                "experiment: {refrence: poros}",
                "Unknown option 'experiment.refrence'. Did you mean experiment.r",
            ),
            ("experiment: {reference: porus}", "Unknown experiment.reference 'porus'. Did you mean poros?"),
            ("hydra: {mode: MANY}", "hydra.mode: Invalid value 'MANY', expected one of [RUN, MULTIRUN]."),
        ],
    )
    def test_a_wrong_name_in_a_preset_file_is_reported(self, text: str, start: str, cases: Cases) -> None:
        with pytest.raises(UserError) as caught:
            cases("-m", "model=dense", mine=text)
        assert str(caught.value).startswith(start)

    def test_a_file_without_its_package_is_reported(self, cases: Cases, tmp_path: Path) -> None:
        (tmp_path / "own" / "experiment").mkdir(parents=True)
        (tmp_path / "own" / "experiment" / "bare.yaml").write_text(SWEEP)
        with pytest.raises(UserError, match="A preset's file begins with `# @package _global_`"):
            cases("--config-dir", "own", "+experiment=bare")


class TestFromPython:
    def test_a_sweep_takes_a_preset_by_its_name(self) -> None:
        found = from_options({"experiment": "convnet_mkldnn", "model": "dense", "batch_size": 1}, sweep=True)
        assert settings(found) == [NATIVE, UNCACHED, CACHED]
        assert found[0].config.experiment.name == "convnet_mkldnn"

    def test_a_run_takes_one_that_is_one_case(self) -> None:
        options: dict[str, Any] = {"experiment": "convnet_mkldnn", "model": "dense", "batch_size": 1}
        assert settings(from_options({**options, "layout": "contiguous"}, sweep=False)) == [NATIVE]
        line = r"^\+experiment=convnet_mkldnn has 3 cases: call microbench\.sweep\.$"
        with pytest.raises(UserError, match=line):
            from_options(options, sweep=False)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_preset_is_timed_as_its_table_was_on_cuda_and_runs_on_the_cpu(
    name: str, device: str, cases: Cases
) -> None:
    (case,) = cases(f"+experiment={name}", "hydra.mode=RUN", "model=dense")
    placed = case.at(device, 2).config
    validate(placed)
    wanted = {"deep_learning_benchmarks": "phase", "convnet_benchmark_pytorch": "events"}
    assert placed.device.sync == (wanted.get(TABLES[name], "step") if device == "cuda" else None)
