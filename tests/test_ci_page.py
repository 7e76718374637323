"""The page on checks in CI: its workflow is one, and its commands and methods exist."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from microbench.cli import compare
from pytest_microbench import Microbench

PAGE = (Path(__file__).parents[1] / "docs/ci.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def steps() -> list[dict[str, Any]]:
    (workflow,) = map(yaml.safe_load, blocks("yaml"))
    found: list[dict[str, Any]] = workflow["jobs"]["compare"]["steps"]
    return found


def test_the_workflow_s_scripts_are_shell_and_install_what_the_readme_says(
    steps: list[dict[str, Any]],
) -> None:
    scripts = [each["run"] for each in steps if "run" in each]
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    installed = [line for script in scripts for line in script.splitlines() if "install" in line]
    assert installed == ["pip install -e ./microbench"]


def test_every_comparison_on_the_page_is_one(steps: list[dict[str, Any]]) -> None:
    lines = [line for each in steps for line in each.get("run", "").splitlines()]
    lines += re.findall(r"^    \$ (.*)", PAGE, re.MULTILINE)
    commands = [re.split(r" > | \|\| ", line)[0] for line in lines if line.startswith("microbench compare ")]
    assert len(commands) == 4
    for command in commands:
        assert len(compare.parse(shlex.split(command)[2:]).paths) == 2


def test_every_method_and_argument_in_its_tests_exists() -> None:
    code = "\n".join(blocks("python"))
    compile(code, "ci.md", "exec")
    calls = re.findall(r"microbench\.(\w+)\((.*)\)$", code, re.MULTILINE)
    assert [name for name, _ in calls] == ["not_slower", "no_regression"]
    told = set(re.findall(r"^\| `(\w+)\((?!default)", PAGE, re.MULTILINE)) | {"sweep"}
    assert told == {name for name, _ in inspect.getmembers(Microbench, inspect.isfunction) if name[0] != "_"}
