"""Each of Hydra's own options is honoured, or rejected by name with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from microbench.config import OPTIONS
from microbench.errors import UserError
from microbench.options import hydra_options
from microbench.options.compose import Plan, composing, from_command_line, from_options, register
from microbench.run.case import Case

HONOURED = {
    "hydra.mode=MULTIRUN",
    "hydra.run.dir=x",
    "hydra.sweep.dir=x",
    "hydra.searchpath=[]",
    "hydra.sweeper.params={batch_size: '1,2'}",
    "+hydra.job.env_set.X=1",
    "hydra.job.env_set={X: 1}",
    "hydra.job.env_copy=[PATH]",
}
REFUSED = {
    # What is given, and what is named.
    "hydra.sweep.subdir=x": "hydra.sweep.subdir",
    "hydra.output_subdir=.hydra": "hydra.output_subdir",
    "hydra/output=default": "hydra/output",
    "hydra.verbose=true": "hydra.verbose",
    "hydra.job.chdir=true": "hydra.job.chdir",
    "hydra.job.num=3": "hydra.job.num",
    "hydra.job.override_dirname=x": "hydra.job.override_dirname",
    "hydra/launcher=joblib": "hydra/launcher",
    "hydra.launcher.n_jobs=2": "hydra.launcher.n_jobs",
    "hydra/sweeper=optuna": "hydra/sweeper",
    "hydra.sweeper.max_batch_size=2": "hydra.sweeper.max_batch_size",
    "hydra/job_logging=colorlog": "hydra/job_logging",
    "hydra.job_logging.root.level=INFO": "hydra.job_logging.root.level",
    "hydra/hydra_logging=default": "hydra/hydra_logging",
    "hydra.hydra_logging.root.level=INFO": "hydra.hydra_logging.root.level",
    "+hydra.callbacks.mine._target_=x": "hydra.callbacks.mine._target_",
    "hydra.help.header=x": "hydra.help.header",
    "hydra.hydra_help.template=x": "hydra.hydra_help.template",
    "+hydra.env.x=1": "hydra.env.x",
    "hydra.runtime.cwd=x": "hydra.runtime.cwd",
    "hydra.overrides.task=[x]": "hydra.overrides.task",
    "++hydra.verbose=true": "hydra.verbose",
    "hydra={verbose: true}": "hydra.verbose",
    "+hydra.mine=1": "hydra.mine",
    "hydra.job.name=x": "hydra.job.name",
    "hydra.job.config.override_dirname.kv_sep=_": "hydra.job.config.override_dirname.kv_sep",
}


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def plan(*arguments: str) -> Plan | None:
        return from_command_line(("model=dense", *arguments), run_id="the-run")

    return plan


@pytest.mark.parametrize("given", sorted(HONOURED))
def test_an_option_that_is_honoured_is_taken(given: str, command_line: Any) -> None:
    flags = ["-m"] if given.startswith("hydra.sweep.dir") else []
    assert command_line(*flags, given).cases


@pytest.mark.parametrize("given", REFUSED)
def test_an_option_that_would_do_nothing_is_refused_by_name(given: str, command_line: Any) -> None:
    with pytest.raises(UserError) as caught:
        command_line(given)
    assert f"{REFUSED[given]}: " in str(caught.value) or f"{REFUSED[given]} does nothing" in str(caught.value)
    assert "\n" not in str(caught.value)


def keys(value: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of a configuration's values."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from keys(item, f"{prefix}.{name}")
    else:
        yield prefix


def test_every_option_that_hydra_has_is_decided_on() -> None:
    register("")
    with composing():
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", [], RunMode.MULTIRUN)
    known = (*hydra_options.HONOURED, *hydra_options.OF_THE_FOLDER, *hydra_options.REFUSED)
    found = set(keys(OmegaConf.to_container(config.hydra), "hydra"))
    assert len(found) > 20
    assert {key for key in found if not key.startswith(known)} == set()
    choices = {name.replace("/", ".") for name in config.hydra.runtime.choices if name.startswith("hydra/")}
    assert {name for name in choices if not name.startswith(known)} == set()


def test_a_folder_s_name_may_refer_to_the_options(command_line: Any) -> None:
    named = "hydra.run.dir=out/${hydra.job.name}"
    assert command_line("hydra.job.name=mine", named).folder == Path("out/mine")
    separated = "hydra.job.config.override_dirname.kv_sep=_"
    plan = command_line("seed=3", separated, "hydra.run.dir='${hydra.job.override_dirname}'")
    assert plan.folder == Path("model_dense,seed_3")


@pytest.mark.parametrize("package", ["_global_", "hydra"])
def test_a_user_s_file_is_held_to_the_same(package: str, command_line: Any, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    inner = "  verbose: true\n" if package == "_global_" else "verbose: true\n"
    text = f"# @package {package}\n" + ("hydra:\n" if package == "_global_" else "") + inner
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    for place in (["--config-dir", "."], [f"hydra.searchpath=[file://{tmp_path}]"]):
        with pytest.raises(
            UserError, match=r"^microbench has no hydra\.verbose: microbench writes no log\.$"
        ):
            command_line("+experiment=mine", *place)


def test_a_preset_may_set_what_is_honoured(command_line: Any, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  job:\n    env_set: {X: '1'}\n  sweeper:\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text + "    params:\n      batch_size: 1,2\n")
    cases = command_line("+experiment=mine", "--config-dir", ".").cases
    assert [(case.config.batch_size, case.config.env_set) for case in cases] == [
        (1, {"X": "1"}),
        (2, {"X": "1"}),
    ]


def test_two_places_to_search_are_not_both_searched(command_line: Any) -> None:
    with pytest.raises(UserError, match=r"hydra\.searchpath=\[\] and --config-dir are one thing"):
        command_line("hydra.searchpath=[]", "--config-dir", ".")


class TestVariables:
    """Environment variables of the process that measures."""

    def test_hydra_s_are_the_case_s(self, command_line: Any) -> None:
        (case,) = command_line("+hydra.job.env_set.X=1", "env_set.Y='a b'").cases
        assert case.config.env_set == {"X": "1", "Y": "a b"}
        assert {"+hydra.job.env_set.X=1", "env_set.Y='a b'"} <= set(case.settings)

    def test_hydra_s_copies_are_too(self, command_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COPIED", "value")
        (case,) = command_line("hydra.job.env_copy=[COPIED]").cases
        assert case.config.env_set == {"COPIED": "value"}

    def test_they_are_a_part_of_what_is_measured(self, command_line: Any) -> None:
        plain, one, other = (
            command_line(*given).cases[0] for given in ((), ("env_set.X=1",), ("+hydra.job.env_set.X=1",))
        )
        assert one.id == other.id != plain.id

    def test_honoured_options_can_be_swept_over(self, command_line: Any) -> None:
        cases: list[Case] = command_line("-m", "env_set.X=1,2").cases
        assert [case.config.env_set for case in cases] == [{"X": "1"}, {"X": "2"}]
        python = from_options({"model": "dense", "env_set.X": [1, 2]}, sweep=True)
        assert [case.config for case in python] == [case.config for case in cases]

    @pytest.mark.parametrize(("name", "value"), [("", "1"), ("a=b", "1"), ("a\0b", "1"), ("a", "\0")])
    def test_what_no_process_can_be_given_is_refused(self, name: str, value: str) -> None:
        with pytest.raises(
            UserError, match=r"(?s)^env_set=.* is not possible: give names of environment var"
        ):
            OPTIONS["env_set"].check({name: value})

    def test_a_process_that_runs_already_cannot_have_them(self, command_line: Any) -> None:
        with pytest.raises(UserError, match=r"^isolation=inline runs in this process; set X in the shell"):
            command_line("env_set.X=1", "isolation=inline", "measure.rounds=1")
