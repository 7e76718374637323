"""The commands of the page of workloads are run; those for modules of the user's own, by `test_own`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from .support import measure

PAGE = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text("utf-8")
ELSEWHERE = re.compile(r"^## Your own module\n.*?(?=^## )", re.DOTALL | re.MULTILINE)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", ELSEWHERE.sub("", PAGE), re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.long
def test_a_command_of_the_page_runs(command: str, tmp_path: Path) -> None:
    given = shlex.split(command)[1:]
    few = () if any(each.startswith("batch_size=") for each in given) else ("batch_size=1",)
    done = measure(*given, *few, cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert {record["status"] for record in done.records} == {"ok"}


def test_every_family_of_torchvision_has_a_command() -> None:
    families = ("Classification", "Detection", "Segmentation", "Video", "Optical flow", "Quantized")
    sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    for family in families:
        (section,) = (each for each in sections if each.startswith(f"{family}\n"))
        assert "```sh" in section
