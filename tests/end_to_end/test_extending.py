"""The package of docs/extending.md is installed, and what it adds is used; clashes are refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packages import FILES

from .support import Finished, measure, microbench


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's package installed."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    assert len(FILES) == 9
    for name, text in {**FILES, "microbench_extras/__init__.py": "import torch\n"}.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--no-compile")
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", site, source]
    subprocess.run(pip, check=True, capture_output=True)
    return site


@pytest.fixture(scope="module")
def swept(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A sweep over its engine and eager, of all its other parts."""
    options = ("-m", "model=mlp", "mode=decode", "engine=eager,fx", "device=cpu_time", "measure.rounds=2")
    run = measure(
        *options, "hydra.sweep.dir=run", cwd=tmp_path_factory.mktemp("swept"), env={"PYTHONPATH": str(site)}
    )
    assert run.code == 0, run.err
    return run


def test_a_case_of_all_its_parts_is_measured(swept: Finished) -> None:
    assert {record["cfg_engine"] for record in swept.records} == {"eager", "fx"}
    whole = [record for record in swept.records if record["phase"] == "generate"]
    assert {record["clock"] for record in whole} == {"process_time_ns"}
    of_fx = [record["answer"] for record in whole if record["cfg_engine"] == "fx"]
    assert of_fx == ["same", None]


def test_the_phases_of_its_mode_are_in_every_table(swept: Finished, site: Path) -> None:
    (head,) = [line for line in swept.out.splitlines() if line.startswith("model ")]
    assert re.search(r"engine +prefill +decode +generate +generate items/s", head), head
    assert "fastest first" in swept.out  # of the two engines, by the whole
    compared = microbench("compare", "run", "--by", "engine", cwd=swept.folder, env={"PYTHONPATH": str(site)})
    assert compared.code == 0, compared.err
    assert re.search(r"^mlp decode +generate +", compared.out, re.MULTILINE), compared.out


@pytest.mark.parametrize(
    ("kind", "name"), [("engines", "fx"), ("devices", "cpu_time"), ("modes", "decode"), ("models", "mlp")]
)
def test_its_parts_are_listed(kind: str, name: str, site: Path, tmp_path: Path) -> None:
    run = microbench("list", kind, cwd=tmp_path, env={"PYTHONPATH": str(site)})
    assert name in run.out.split()


def test_its_parts_are_among_the_names_that_may_be_meant(site: Path, tmp_path: Path) -> None:
    run = microbench("model=mlp", "engine=fxx", cwd=tmp_path, env={"PYTHONPATH": str(site)})
    assert "Unknown engine 'fxx'. Did you mean fx?" in run.complaint
