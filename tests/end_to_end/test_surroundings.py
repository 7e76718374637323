"""Effects of a shell, a locale or a working folder on the command: one clear line, and nothing lost."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from .support import COMMAND, PATIENCE, QUICK, Finished, environment, records_in

MEASURE = shlex.join(("microbench", *QUICK, "mode=infer", "hydra.run.dir=run"))
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def in_shell(script: str, cwd: Path, env: dict[str, str] | None = None) -> Finished:
    """Run `script` in a shell, in which `microbench` is the command."""
    defined = f'microbench() {{ {shlex.join(COMMAND)} "$@"; }}; {script}'
    done = subprocess.run(
        ["sh", "-c", defined],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr, cwd)


@pytest.mark.parametrize(
    ("closed", "told"),
    [
        ("<&- >&-", ["microbench: standard output is closed: nothing is printed there"]),
        ("<&- >&- 2>&-", []),
    ],
)
def test_a_run_whose_streams_are_closed_keeps_its_records(
    closed: str, told: Sequence[str], tmp_path: Path
) -> None:
    done = in_shell(f"{MEASURE} model=dense {closed}", tmp_path)
    assert done.code == 0, done
    assert done.out == ""
    assert done.err.splitlines()[:1] == told
    assert {record["status"] for record in records_in(tmp_path / "run")} == {"ok"}


def test_output_is_whole_where_the_others_are_closed(tmp_path: Path) -> None:
    done = in_shell("microbench list layers <&- 2>&-", tmp_path)
    assert done.code == 0, done
    assert "dense" in done.out.splitlines()


def test_modules_of_the_working_folder_do_not_stand_for_the_standard_library_s(tmp_path: Path) -> None:
    for name in ("statistics", "socket", "yaml", "torch"):
        (tmp_path / f"{name}.py").write_text("raise OSError(28, 'not the module that was meant')")
    (tmp_path / "mine.py").write_text("from torch.nn import ReLU as Mine")
    of_mine = "model=layer model.cls=mine.Mine 'model.args=[]' 'model.input_shape=[4]'"
    done = in_shell(f"{MEASURE} {of_mine}", tmp_path)
    assert done.code == 0, done
    assert {record["status"] for record in records_in(tmp_path / "run")} == {"ok"}


@pytest.mark.parametrize("arguments", ["model=dense", "list layers", "compare a b"])
def test_a_working_folder_that_was_deleted_is_reported(arguments: str, tmp_path: Path) -> None:
    done = in_shell(f"mkdir gone; cd gone; rmdir ../gone; microbench {arguments}", tmp_path)
    assert done.complaint == "microbench: The working folder no longer exists: change to one that does."


@pytest.mark.parametrize("arguments", ["--help", "list experiments", "doctor --help"])
def test_a_locale_that_is_not_utf_8_gets_all_but_its_missing_letters(arguments: str, tmp_path: Path) -> None:
    narrow = in_shell(f"microbench {arguments}", tmp_path, ASCII)
    wide = in_shell(f"microbench {arguments}", tmp_path, {"PYTHONUTF8": "1"})
    assert narrow.code == 0, narrow
    assert narrow.out == wide.out.encode("ascii", "replace").decode()
