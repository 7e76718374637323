"""Models of the user's own, from where they are to what a case records."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from microbench.errors import UserError
from microbench.options.compose import from_command_line, from_options
from microbench.run.case import Case

CODE = "class Net: ...\n\n\ndef make(): ...\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file that defines models."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def cases(*arguments: str) -> list[Case]:
    plan = from_command_line(arguments, run_id="the-run")
    assert plan is not None
    return plan.cases


def only(*arguments: str) -> Case:
    (case,) = cases(*arguments)
    return case


def complaint(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        cases(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("named", [[], ["model=own"]], ids=["alone", "with its group"])
def test_a_file_is_a_model_without_more(named: list[str], folder: Path) -> None:
    model = only(
        *named, "model.file=mine.py:Net", "model.inputs={x: [3, 4], mask: {shape: [4], fill: 1}}"
    ).config.model
    assert (model.source, model.name, model.file) == ("own", "mine:Net", f"{folder}/mine.py:Net")
    assert model.inputs == {"x": [3, 4], "mask": {"shape": [4], "fill": 1}}
    assert model.input_shape == []


def test_a_target_is_one_too() -> None:
    model = only(
        "model.target=package.nets:make", "model.inputs=[[3],{shape: [4]}]", "model.kwargs.width=3"
    ).config.model
    assert (model.source, model.name, model.target) == ("own", "nets:make", "package.nets:make")
    assert (model.inputs, model.kwargs) == ([[3], {"shape": [4]}], {"width": 3})


def test_a_yaml_file_can_name_it(folder: Path) -> None:
    (folder / "conf" / "model").mkdir(parents=True)
    written = "file: mine.py:Net\nname: tiny\ninputs:\n  ids: {shape: [4], dtype: int64, high: 9}\n"
    (folder / "conf" / "model" / "tiny.yaml").write_text(written)
    case = only("--config-dir", "conf", "model=tiny", "model.inputs.ids.shape=[5]")
    assert (case.config.model.source, case.config.model.name) == ("own", "tiny")
    assert case.config.model.inputs == {"ids": {"shape": [5], "dtype": "int64", "high": 9}}
    assert f"model.file={folder}/mine.py:Net" in shlex.split(case.command)


def test_from_python_it_is_the_same(folder: Path) -> None:
    inputs: dict[str, Any] = {"ids": {"shape": [4], "dtype": "int64", "high": 9}}
    (dotted,) = from_options({"model.file": "mine.py:Net", "model.inputs": inputs}, sweep=False)
    (nested,) = from_options({"model": {"file": "mine.py:Net", "inputs": inputs}}, sweep=False)
    assert dotted.config == nested.config
    assert dotted.config.model.inputs == inputs


def test_the_command_works_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = only("model.file=mine.py:Net", "model.inputs=[3]", "batch_size=2")
    words = shlex.split(case.command)[3:]
    monkeypatch.chdir("/")
    again = only(*words)
    assert (again.id, again.config.model) == (case.id, case.config.model)
    assert not any(each.startswith("model.file") for each in shlex.split(only("model=dense").command))


def test_files_can_be_swept_over(folder: Path) -> None:
    (folder / "other.py").write_text(CODE)
    found = cases("-m", "model.file=mine.py:Net,other.py:make", "model.inputs=[3]", "batch_size=1,2")
    assert [(each.config.model.name, each.config.batch_size) for each in found] == [
        ("mine:Net", 1),
        ("mine:Net", 2),
        ("other:make", 1),
        ("other:make", 2),
    ]
    assert len({each.id for each in found}) == 4


def test_shapes_can_be_swept_over() -> None:
    inputs = "model.inputs={ids: {shape: [4], dtype: int64, high: 9}}"
    found = cases("-m", "model.file=mine.py:Net", inputs, "model.inputs.ids.shape=[4],[8]")
    assert [each.config.model.inputs["ids"]["shape"] for each in found] == [[4], [8]]


def test_the_id_is_of_the_code_and_not_of_its_place_or_name(folder: Path) -> None:
    def identity(file: str) -> str:
        return only(f"model.file={file}", "model.inputs=[3]").id

    (folder / "elsewhere").mkdir()
    copy = folder / "elsewhere" / "mine.py"
    copy.write_text(CODE)
    first = identity("mine.py:Net")
    assert identity("elsewhere/mine.py:Net") == identity(f"{copy}:Net") == first
    assert identity(str(copy.rename(folder / "elsewhere" / "yours.py")) + ":Net") == first
    copy.write_text(CODE)
    assert only("model.file=mine.py:Net", "model.inputs=[3]", "model.name=tiny").id == first
    assert identity("mine.py:make") != first
    copy.write_text(CODE + "\n")
    assert identity("elsewhere/mine.py:Net") != first


NAMELESS = "names no function or class: write mine.py:NAME. It defines Net, make."
OF_OWN = "is an option of model.source=own"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("model.file=mien.py:Net", "model.file=mien.py:Net: there is no such file (from {}). Did you mean"),
        ("model=own model.inputs=[3]", "Give model.file=FILE.py:NAME or model.target=package.module:NAME"),
        ("model.file=mine.py", f"model.file=mine.py {NAMELESS}"),
        ("model.file=mine.py:", f"model.file=mine.py: {NAMELESS}"),
        ("model.file=mine.txt", "model.file=mine.txt: unknown kind of file '.txt'. Allowed: .py"),
        ("model.target=nets", "model.target=nets is not possible: write package.module:function."),
        ("model.file=mine.py:Net model.target=a.b:c", "Give one of model.file and model.target."),
        ("model.file=mine.py:Net model.code=0", "model.code is found by itself: leave it out."),
        ("model=dense model.inputs=[3]", f"model.inputs=[3] {OF_OWN}"),
        ("model=dense model.objective=mse", f"model.objective=mse {OF_OWN}"),
        ("model.file=mine.py:Net model.inputs=[]", "model.inputs=[] is not possible: give a dictionary"),
        ("model.file=mine.py:Net,mine.py:make", "model.file=mine.py:Net,mine.py:make names several"),
        ("model=dense model.file=mine.py:Net", "model.file={}/mine.py:Net is an option of model.source="),
    ],
)
def test_a_mistake_is_one_line(given: str, line: str, folder: Path) -> None:
    assert complaint(*given.split()).startswith(line.format(folder))
