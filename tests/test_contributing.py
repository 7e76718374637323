"""Touching what CONTRIBUTING.md lists is enough: parts are added to a copy of the tree and run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flat import rows
from packages import FILES

from microbench.records.store import read

ROOT = Path(__file__).parents[1]
TABLE = dict(re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
CONFIG = "microbench/config.py"

ENGINE = '''"""The module, called as often as engine.times says."""

from microbench.engines import EngineInfo, Job, Program, in_format

TRAINS = False


def prepare(job: Job) -> Program:
    """Call the module."""
    workload, _ = in_format(job)
    times = job.config.engine.times

    def call():
        for _ in range(times):
            output = workload.module(*workload.inputs)
        return output

    return Program(workload, call, info=EngineInfo(engine=f"repeated {times}"))
'''
ADDED = {
    "a layer that `torch.nn` has": {
        "conf/model/narrow.yaml": "source: layer\nname: narrow\ncls: torch.nn.Linear\nargs: [8, 8]\n"
        "input_shape: [8]\n"
    },
    "an engine": {
        "microbench/engines/repeated.py": ENGINE,
        "conf/engine/repeated.yaml": "name: repeated\n",
    },
    "a device": {
        "microbench/devices/cpu_time.py": FILES["microbench_extras/cpu_time.py"],
        "conf/device/cpu_time.yaml": FILES["microbench_extras/conf/device/cpu_time.yaml"],
    },
    "a mode": {
        "microbench/modes/decode.py": FILES["microbench_extras/decode.py"],
        "conf/mode/decode.yaml": FILES["microbench_extras/conf/mode/decode.yaml"],
    },
}
"""By a row of the table, the files that are added."""

OPTION = """\
    times: int = configuration(1, "calls of the module", at_least=1, of={"engine.name": ("repeated",)})
"""
"""A field of `EngineConfig`: the option of the engine."""


def test_the_table_names_every_file_that_is_added() -> None:
    for part, files in ADDED.items():
        for path in files:
            name = Path(path).stem
            told = path.removeprefix("microbench/").replace(name, "<name>")
            is_told = told in TABLE[part] or f"{Path(path).parent}/" in TABLE[part]
            assert is_told, f"the row of {part} does not name {told}"
    assert Path(CONFIG).name in TABLE["an option"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its YAML files with the parts."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("microbench", "conf"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for files in ADDED.values():
        for path, text in files.items():
            assert not (tree / path).exists()
            (tree / path).write_text(text)
    group, name, rest = (tree / CONFIG).read_text().partition("class EngineConfig:")
    (tree / CONFIG).write_text(group + name + rest.replace("\n    freeze:", f"\n{OPTION}    freeze:", 1))
    return tree


def microbench(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "microbench", *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=240)


def test_parts_that_were_added_run_together(tree: Path) -> None:
    few = ("measure.rounds=1", "measure.max_time=0.05", "measure.max_warmup=0", "threads=1")
    parts = ("model=narrow", "mode=decode", "engine=repeated", "engine.times=1,2", "device=cpu_time")
    run = microbench(tree, "-m", *parts, *few, "hydra.sweep.dir=run")
    assert run.returncode == 0, run.stdout + run.stderr
    found = rows(*read(tree / "run" / "records.jsonl"))
    assert {row["env_engine"] for row in found} == {"repeated 1", "repeated 2"}
    assert {row["cfg_device"] for row in found} == {"cpu_time"}
    assert {"decode"} <= {row["phase"] for row in found}
    assert "decode" in run.stdout


def test_an_option_that_was_added_is_checked(tree: Path) -> None:
    refused = microbench(tree, "model=narrow", "mode=infer", "engine=repeated", "engine.times=0")
    assert refused.returncode == 2
    assert "engine.times=0 is not possible: give an integer of at least 1." in refused.stderr
