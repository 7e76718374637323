"""The commands of the page on workloads for models of other libraries, each with a small batch."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from .support import measure

PAGE = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text("utf-8")
LIBRARIES = {"timm": "timm", "transformers": "transformers", "YOLOv5s": "ultralytics"}


def commands(section: str) -> list[str]:
    """Return the commands of a section."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (found,) = (each for each in text if each.startswith(f"{section}\n"))
    return re.findall(r"^    microbench (model=.*)$", found, re.MULTILINE)


COMMANDS = [(library, command) for section, library in LIBRARIES.items() for command in commands(section)]


def test_each_library_has_a_command() -> None:
    assert {library for library, _ in COMMANDS} == set(LIBRARIES.values())


@pytest.mark.parametrize(("library", "command"), COMMANDS)
@pytest.mark.long
def test_a_command_of_the_page_runs(library: str, command: str, tmp_path: Path) -> None:
    if find_spec(library) is None:
        pytest.skip(f"needs {library}")
    done = measure(*shlex.split(command), "batch_size=2", "hydra.run.dir=run", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    (record,) = {each["status"]: each for each in done.records}.values()
    assert record["status"] == "ok"
    assert record["item"] == ("tokens" if library == "transformers" else "images")
