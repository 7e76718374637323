"""`--dry-run`: the cases of a run and how long they would take, without running anything."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from microbench.cli.main import main
from microbench.config import Config
from microbench.records.store import Store, read
from microbench.run import workers

from .support import measure


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, where no worker can be started."""

    def refuse(*args: object) -> None:
        raise AssertionError("a worker was started")

    for kind, method in [
        ("Forked", "ask"),
        ("Spawned", "ask"),
        ("Inline", "ask"),
        ("EarlyServer", "__init__"),
    ]:
        monkeypatch.setattr(getattr(workers, kind), method, refuse)
    monkeypatch.chdir(tmp_path)


def dry(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what the command line prints in this process."""
    assert main([*arguments, "--dry-run"]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


def test_it_prints_the_cases_of_a_sweep_and_leaves_no_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    head, _, *rows, total, _ = dry(capsys, "-m", "model=dense,vgg16", "batch_size=1,8").splitlines()
    assert head == "4 cases, 24 rounds; nothing is measured now"
    assert [row.split(", eager")[0] for row in rows] == [
        "dense infer, batch 1",
        "dense infer, batch 8",
        "vgg16 infer, batch 1",
        "vgg16 infer, batch 8",
    ]
    seconds = 4 * (Config().measure.budget or 0)
    assert total == f"in all: at most about {seconds / 60:.0f} min"
    assert list(tmp_path.iterdir()) == []


def test_it_takes_any_place_among_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "model=dense", "batch_size=3"]) == 0
    assert "dense infer, batch 3" in capsys.readouterr().out


def test_a_preset_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out = dry(capsys, "+experiment=convnet_mkldnn", "batch_size=1")
    assert "3 cases, 18 rounds" in out
    assert "layout=mkldnn, cache_weights=false" in out


def test_a_search_is_listed_with_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    out = dry(capsys, "+experiment=fastest", "model=dense", "mode=infer", "experiment.budget=120")
    assert out.startswith("a search: plain eager, and ")
    assert "dense infer, batch 8, onnxruntime" in out
    assert "in all: about 2 min at most (experiment.budget)" in out


def test_layers_are_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a model has to be taken apart" in dry(capsys, "model=resnet18", "mode=layers")


def test_a_profile_s_own_dry_run_has_one_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 case, 1 round;" in dry(capsys, "model=resnet18", "mode=profile", "timing=false")


def test_other_programs_get_one_row_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("-m", "model=dense", "batch_size=1,2", "measure.budget=7")
    objects = list(map(json.loads, dry(capsys, *arguments, "--json").splitlines()))
    assert [(each["cfg_batch_size"], each["seconds"]) for each in objects] == [(1, 7.0), (2, 7.0)]
    rows = list(csv.DictReader(dry(capsys, *arguments, "--csv").splitlines()))
    assert [row["case_id"] for row in rows] == [each["case_id"] for each in objects]


def test_a_mistake_is_still_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model=vgg61", "--dry-run"]) == 2
    assert "Did you mean vgg16" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_it_estimates_from_what_was_measured_and_counts_what_is_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweep = ("-m", "model=dense", "batch_size=1,2", "device=cpu", "verify=false")
    measured = measure(*sweep, "measure.rounds=2", cwd=tmp_path)
    records = [replace(each, seconds=50.0, plan=None) for each in read(tmp_path / "run")]
    (tmp_path / "run" / "records.jsonl").unlink()
    with Store(tmp_path / "run") as store:
        for record in records[:3]:
            store.append(record)
    assert measured.code == 0, measured.err
    assert "4 rounds, 3 rounds measured before" in (out := dry(capsys, "resume=run"))
    assert "in all: about 50 s" in out
    fewer = ("threads=1", "measure.max_time=0.05", "measure.min_time=0", "measure.max_warmup=0.05")
    afresh = dry(capsys, *sweep, *fewer, "measure.min_samples=6", "measure.rounds=4", "hydra.sweep.dir=new")
    assert "in all: about 6.7 min" in afresh
