"""Printed commands can be pasted into a shell, and have the intended meaning."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from factory import record_of

from microbench.cli.session import carry_out
from microbench.errors import UserError
from microbench.options.compose import Plan, from_command_line, from_options
from microbench.quoting import command, option
from microbench.records.record import RunInfo
from microbench.records.store import Store
from microbench.run import runner
from microbench.run.resume import arguments_of

NAMES = [
    "plain",
    "a=b",
    "batch=1,8",
    "two words",
    " outer spaces ",
    "it's",
    'say "so"',
    "a\\b",
    "ends in \\",
    "$HOME",
    "${seed}",
    "$(echo no)",
    "`echo no`",
    "über größe",
    "first\nsecond",
    "-m",
    "--cfg",
    "~",
    "[1,2]",
    "(x)",
    "glob(*)",
    "1e3",
    ".11",
    "null",
    "nan",
    "#x",
    "a;b&c|d>e",
    "*",
    "a:b",
    "+x",
    "deep/er ,=/still",
]
SOME = ["a=b", "batch=1,8", "two words", "it's", "$HOME", "über größe", "-m", "[1,2]", "1e3", "null", "*"]
"""Of those, one of a kind, where the rest of the way is the same."""


def typed(pasted: Sequence[str], cwd: Path) -> list[list[str]]:
    """Return the arguments that a shell makes of each of some command lines that begin with `microbench`."""
    show = "show() { for each in \"$@\"; do printf '%s\\0' \"$each\"; done; printf '\\1'; }\n"
    lines = [f"show {each.removeprefix('microbench ')}" for each in pasted]
    done = subprocess.run(["sh", "-c", show + "\n".join(lines)], cwd=cwd, capture_output=True, check=True)
    return [each.split("\0")[:-1] for each in done.stdout.decode().split("\1")[:-1]]


def resumed(*words: str) -> Plan:
    plan = from_command_line(words, "another-run")
    assert plan is not None
    return plan


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_completes_a_run_can_be_pasted_whatever_its_folder_is_called(here: Path) -> None:
    pasted = []
    for name in NAMES:
        began = resumed("model=dense", "model.kwargs={bias: false}", option("hydra.run.dir", name))
        assert began.folder == Path(name)
        with Store(began.folder) as store:
            store.append(record_of(run=RunInfo(id="r", command_line=began.command_line)))
        pasted.append(command("microbench", option("resume", name)))
    for name, words in zip(NAMES, typed(pasted, here), strict=True):
        again = resumed(*words)
        assert (again.folder, again.completing) == (Path(name), True)
        assert again.cases[0].config.model.kwargs == {"bias": False}
        assert arguments_of(again.folder) == [
            "model=dense",
            "model.kwargs={bias: false}",
            option("hydra.run.dir", name),
        ]


@pytest.mark.parametrize("key", ["resume", "hydra.run.dir"])
def test_a_folder_may_be_typed_as_it_is(key: str, here: Path) -> None:
    """As a shell's completion types it, with nothing of Hydra's grammar."""
    for name in (each for each in SOME if each != "null"):  # which Hydra reads as nothing
        Path(name).mkdir(parents=True, exist_ok=True)
        assert resumed("model=dense", f"{key}={name}").folder == Path(name)


def test_a_folder_s_name_may_still_be_filled_in(here: Path) -> None:
    assert resumed("model=dense", "hydra.run.dir=out/${seed}").folder == Path("out/0")


def test_from_python_a_folder_is_what_it_is_called(here: Path) -> None:
    for name in SOME:
        (case,) = from_options({"model": "dense", "resume": name}, sweep=False)
        assert case.config.resume == name


ODD = ["a b", "it's", "$HOME", "${x", "a,b=c", "ü", "-x", "~x", "a\nb", 'say "so"', "\\", "1e3", "#x", ""]


def test_a_case_s_command_can_be_pasted(here: Path) -> None:
    options = [
        {"model": "dense", "model.kwargs": {"key": text, "more": [text]}} for text in ODD[:3] + ODD[4:]
    ]
    cases = [case for each in options for case in from_options(each, sweep=False)]
    swept = from_options({"model": "dense", "model.name": [text for text in ODD[4:] if text]}, sweep=True)
    cases += swept
    lines = [each.command.replace("python -m microbench", "microbench", 1) for each in cases]
    for case, words in zip(cases, typed(lines, here), strict=True):
        (again,) = resumed(*words).cases
        assert again.config.model == case.config.model


@pytest.mark.parametrize("verb", ["", "doctor"])
def test_the_hints_of_a_run_that_failed_or_was_stopped_can_be_pasted(
    verb: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: runner.Run) -> Any:
        self.store.append(record_of())
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.Run, "measure", stopped)
    name = "it's $HOME,=ü"
    plan = resumed("model=dense", option("hydra.run.dir", name))
    with pytest.raises(KeyboardInterrupt) as caught:
        carry_out(dataclasses.replace(plan, command=verb), "run", lambda result, out: None)
    (note,) = caught.value.__notes__
    (words,) = typed([note.partition("Complete it: ")[2]], here)
    assert words == [*([verb] if verb else []), option("resume", name)]


def test_a_run_of_another_verb_says_how_to_complete_it(here: Path) -> None:
    name = "it's, $HOME"
    with Store(Path(name)) as store:
        began = RunInfo(id="r", command="doctor", command_line="python -m microbench doctor seed=1")
        store.append(record_of(run=began))
    with pytest.raises(UserError) as caught:
        resumed(option("resume", name))
    (words,) = typed([str(caught.value).partition("`")[2].rpartition("`")[0]], here)
    assert words == ["doctor", option("resume", name)]
