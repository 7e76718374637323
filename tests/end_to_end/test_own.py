"""Modules of the user's own, as the page of workloads describes them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from .support import measure, microbench

PAGE = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text("utf-8")
SECTION = PAGE.partition("## Your own module\n")[2].partition("\n## ")[0]
IDS = "model.inputs={ids: {shape: [4], dtype: int64, high: 9}}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's files."""
    (code,), (options,) = blocks("python"), blocks("yaml")
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "tagger.yaml").write_text(options)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.long
def test_a_command_of_the_page_runs(command: str, folder: Path) -> None:
    place = "hydra.sweep.dir=run" if " -m " in command else "hydra.run.dir=run"
    done = measure(*shlex.split(command)[1:], place, "batch_size=2", cwd=folder)
    assert done.code == 0, done.out + done.err
    assert {record["status"] for record in done.records} == {"ok"}
    assert {record["answer"] for record in done.records} <= {"reference", "same"}


def test_the_printed_command_measures_the_same_from_elsewhere(folder: Path) -> None:
    given = ("model.file=mine.py:Tagger", IDS, "mode=train", "model.objective=sharpness")
    (first, *_) = measure(*given, cwd=folder).records
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    words = shlex.split(first["command"])[3:]
    (again, *_) = microbench(*words, "hydra.run.dir=run", cwd=elsewhere).records
    assert (again["case_id"], again["status"]) == (first["case_id"], "ok")


def test_after_an_edit_resume_measures_again_and_compare_says_how(folder: Path) -> None:
    given = ("model.file=mine.py:Tagger", IDS)
    before = measure(*given, cwd=folder).records
    code = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(code.replace(".relu()", ".tanh()"))
    after = measure(*given, "resume=run", cwd=folder).records
    ids = {record["case_id"] for record in before}, {record["case_id"] for record in after}
    assert ids[0] < ids[1]
    measure(*given, "hydra.run.dir=after", cwd=folder)
    (folder / "mine.py").write_text(code)
    measure(*given, "hydra.run.dir=before", cwd=folder)
    refused = microbench("compare", "before", "after", cwd=folder)
    assert "model.code" in refused.err
    compared = microbench("compare", "before", "after", "--by", "model.code", cwd=folder)
    assert compared.code == 0, compared.err


def test_an_input_that_does_not_fit_is_one_line(folder: Path) -> None:
    done = measure("model.file=mine.py:Tagger", "model.inputs={words: [3]}", cwd=folder)
    assert done.code == 1
    assert (
        "error: The first call of mine:Tagger failed: TypeError: Tagger.forward() got an unexpected keyword "
        "argument 'words' (input 8x3: check model.inputs)" in done.out
    )
