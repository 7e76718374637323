"""The commands of docs/workloads.md on exported files, and what a run of one records."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import exported
import pytest

from .support import Finished, measure

DOCS = Path(__file__).parents[2] / "docs" / "workloads.md"
SECTION = DOCS.read_text("utf-8").partition("\n## An exported file\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^    microbench (.*)$", SECTION, re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(library)
    found = tmp_path_factory.mktemp("files")
    exported.onnx_file(found / "net.onnx")
    exported.embedding_file(found / "bert.onnx")
    exported.ir_file(found / "net.xml")
    exported.program_file(found / "net.pt2")
    exported.script_file(found / "net.pt")
    return found


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.long
def test_a_command_of_the_page_runs(folder: Path, command: str, tmp_path: Path) -> None:
    run = measure(*shlex.split(command), f"hydra.run.dir={tmp_path}/run", "device=cpu", cwd=folder)
    assert run.code == 0, run


def test_the_page_has_a_command_for_each_kind_of_file() -> None:
    assert {Path(each).suffix for each in re.findall(r"model\.file=(\S+)", " ".join(COMMANDS))} == {
        *(".onnx", ".xml", ".pt2", ".pt")
    }


def test_the_printed_command_repeats_a_case_from_any_folder(folder: Path, tmp_path: Path) -> None:
    def ran(*arguments: str, cwd: Path) -> Finished:
        return measure(*arguments, cwd=cwd)

    first = ran("model.file=net.onnx", "engine=onnxruntime", "batch_size=4", "device=cpu", cwd=folder)
    record = first.records[0]
    assert "answer: same as unoptimized onnxruntime's" in first.out or "answer: equal to" in first.out
    assert (record["cfg_batch_size"], record["inputs"]) == (4, "4x6")
    again = ran(*shlex.split(record["command"])[3:], cwd=tmp_path).records[0]
    assert again["case_id"] == record["case_id"]
