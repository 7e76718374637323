"""A user's own preset from outside: what it measures, what is shown beside it, and how it is completed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from .support import Finished, measure, measured, microbench

MINE = """# @package _global_
# What a dense layer's step is made of
hydra: {mode: MULTIRUN, sweeper: {params: {model: dense}}}
batch_size: 1
experiment:
  reference: deep_learning_benchmarks
  ways: [[mode=train], [mode=infer]]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("preset")
    (folder / "own" / "experiment").mkdir(parents=True)
    (folder / "own" / "experiment" / "mine.yaml").write_text(MINE)
    return measure("--config-dir", "own", "+experiment=mine", cwd=folder)


def test_its_cases_are_measured(ran: Finished) -> None:
    assert ran.code == 0, ran
    modes = {(record["cfg_model"], record["cfg_mode"], record["cfg_batch_size"]) for record in ran.records}
    assert modes == {("dense", "train", 1), ("dense", "infer", 1)}
    assert {record["config"]["experiment"]["name"] for record in ran.records} == {"mine"}
    assert {record["config"]["experiment"]["reference"] for record in ran.records} == {
        "deep_learning_benchmarks"
    }


def test_it_can_be_shown_again(ran: Finished) -> None:
    assert microbench("show", "run", cwd=ran.folder).out == ran.out


def test_the_published_figures_are_shown_next_to_them(ran: Finished) -> None:
    lines = ran.out.splitlines()
    assert "published results: deep-learning-benchmarks" in lines
    assert "A: Titan 1080Ti 12 GB, Pytorch 0.4.1" in lines
    (forward,) = [line for line in lines if line.startswith("dense  1") and " forward " in line]
    assert forward.split()[-7:] == ["1.00", "88.7", "µs", "1.00", "43.2", "µs", "1.00"]


def test_the_command_of_a_record_is_of_its_case_alone(ran: Finished) -> None:
    train = next(record for record in ran.records if record["cfg_mode"] == "train")
    own = ["--config-dir", str(ran.folder / "own"), "+experiment=mine", "model=dense"]
    assert shlex.split(train["command"])[3:7] == own
    assert "mode=train" in shlex.split(train["command"])


def test_a_completed_run_shows_the_table_from_its_records(ran: Finished) -> None:
    resumed = microbench("resume=run", cwd=ran.folder)
    assert (resumed.code, measured(resumed.err)) == (0, 0), resumed
    table = "beside the figures"
    assert (
        resumed.out.partition(table)[2].partition("records:")[0]
        == ran.out.partition(table)[2].partition("records:")[0]
    )


def test_presets_are_listed_with_what_they_are(tmp_path: Path) -> None:
    listed = microbench("list", "experiments", cwd=tmp_path)
    lines = listed.out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert any(
        line.startswith("layer_phases ") and line.endswith("inference of single layers") for line in lines
    )
    assert "+experiment=NAME" in microbench("--help", cwd=tmp_path).out
