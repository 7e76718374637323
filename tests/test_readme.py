"""Every command of the README is run; those that measure are given few samples."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FEW = ["measure.max_samples=2", "measure.max_warmup=0"]
MAKE = [
    "make",
    "-o",
    ".venv/installed",
    f"BIN={Path(sys.executable).parent}",
]  # this environment is installed
PLACEHOLDER = re.compile(r"^[A-Z]+_OUTPUT$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


def as_run_here(command: str, folder: Path) -> list[str]:
    """The command in this environment, with few samples, writing to a folder of the test's."""
    few = [*FEW, f"hydra.run.dir={folder}"]
    words = shlex.split(command)
    match words:
        case ["make", "run", arguments]:
            return [*MAKE, "run", f"{arguments} {shlex.join(few)}"]
        case ["make", "test"]:
            return [*MAKE, "test", "ARGS=--collect-only tests/measure"]
        case ["pip", *rest]:
            return [sys.executable, "-m", "pip", *rest, "--dry-run", "--no-deps", "--no-build-isolation"]
        case ["python", "-m", "microbench", *rest] | ["microbench", *rest]:
            measures = "list" not in rest and not {"--help", "--cfg"} & set(rest)
            return [sys.executable, "-m", "microbench", *rest, *(few if measures else [])]
    raise AssertionError(f"the README has a command this test cannot run: {command}")


@cache
def run(command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    with TemporaryDirectory() as folder:
        words = as_run_here(command, Path(folder))
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", commands())
def test_command_of_the_readme_runs(command: str) -> None:
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_main_command_prints_what_the_readme_shows() -> None:
    def first_words(text: str) -> list[str]:
        words = [line.split()[0] for line in text.splitlines() if line.strip()]
        return [word for word in words if word not in ("warning:", "make[1]:", "make:")]

    shown = blocks("text")[0]
    printed = run(commands()[0]).stdout
    table = printed[printed.index("vgg16 train") :]
    assert first_words(table) == first_words(shown[shown.index("vgg16 train") :])


@pytest.mark.parametrize("program", blocks("python"))
def test_program_of_the_readme_runs(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "inference" in done.stdout


def test_no_page_has_a_gap_where_an_output_belongs() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert [page.name for page in pages if PLACEHOLDER.search(page.read_text())] == []
