"""The search for the best configuration, as a command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from microbench import load
from microbench.formats import arithmetic

from .support import Finished, microbench, records_in

PAGE = Path(__file__).parents[2] / "docs" / "fastest.md"
SEARCH = ("+experiment=fastest", "mode=infer", "batch_size=1", "threads=1", "allocator=system")
SHORT = ("measure.max_time=0.05", "measure.min_time=0", "measure.max_warmup=0.05", "measure.rounds=2")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A search among eager's layouts and formats, which ends when there is nothing left to try."""
    few = ("model=conv3x3_2", "engine=eager", "precision=fp32,bf16", "experiment.budget=600")
    return microbench(*SEARCH, *SHORT, *few, "hydra.run.dir=run", cwd=tmp_path_factory.mktemp("search"))


FP32 = {("fp32", layout) for layout in ("contiguous", "channels_last", "mkldnn")}
BF16 = {("bf16", layout) for layout in ("contiguous", "channels_last")}


def test_a_search_tries_the_configurations_that_have_what_is_given_emulated_formats_last(
    searched: Finished,
) -> None:
    assert searched.code == 0, searched
    first_rounds = (
        (each["cfg_precision"], each["cfg_layout"])
        for each in searched.records
        if each["round"] == 0 and each["cfg_allocator"] == "system" and each["status"] != "skipped"
    )
    tried = list(dict.fromkeys(first_rounds))  # each has a record per phase
    assert set(tried) == FP32 | BF16
    assert tried[0] == ("fp32", "contiguous")
    assert (set(tried[3:]) == BF16) is ("bfloat16" in arithmetic.emulated("cpu"))


def test_it_ends_with_the_fastest_way(searched: Finished) -> None:
    is_partial = {"skipped", "given_up"} & {each["status"] for each in searched.records}
    assert ("fastest of what was tried: " if is_partial else "fastest: ") in searched.out


def test_it_can_be_shown_again(searched: Finished) -> None:
    assert microbench("show", "run", cwd=searched.folder).out == searched.out


def test_the_documented_program_prints_the_winner_and_its_command(
    searched: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    found = load(searched.folder / "run")
    monkeypatch.setattr("microbench.sweep", lambda **options: found)
    exec(program, {})
    assert capsys.readouterr().out.rstrip().endswith(found.search().winner.case.spec.command)


def test_the_command_of_a_way_measures_it_again_without_a_search(searched: Finished, tmp_path: Path) -> None:
    way = next(each for each in searched.records if each["cfg_layout"] == "mkldnn")
    _, _, _, *arguments = shlex.split(way["command"])
    again = microbench(*arguments, "hydra.run.dir=run", "measure.rounds=1", cwd=tmp_path)

    assert again.code == 0, again
    (case_id,) = {each["case_id"] for each in records_in(again.folder / "run")}
    assert case_id == way["case_id"]


def test_a_search_is_for_one_model(tmp_path: Path) -> None:
    refused = microbench(*SEARCH, "model=dense,relu", cwd=tmp_path)

    assert refused.complaint == "microbench: A search is for one work: give one model, not 2."


def test_a_search_needs_a_folder_of_its_own(searched: Finished) -> None:
    again = microbench(*SEARCH, "model=dense", "hydra.run.dir=run", cwd=searched.folder)

    assert again.code == 2
    assert "holds another run: give this search a folder of its own." in again.err


def test_a_search_that_is_complete_is_not_measured_again(searched: Finished) -> None:
    again = microbench("resume=run", cwd=searched.folder)

    assert again.out == searched.out
    rounds = {(each["order"], each["round"]) for each in searched.records}
    assert again.err == f"microbench: Rounds that were already measured or left out: {len(rounds)}.\n"


def test_a_search_for_throughput_chooses_a_batch_size(tmp_path: Path) -> None:
    few = ("model=relu", "engine=eager", "precision=fp32", "layout=channels_last", "batch_size=1,2,4")
    more = ("threads=1", "allocator=system", "objective=throughput", "hydra.run.dir=run")
    found = microbench(*SEARCH[:2], *SHORT, *few, *more, cwd=tmp_path)

    assert found.code == 0, found
    assert "most items per second" in found.out
    assert {each["cfg_batch_size"] for each in found.records} == {1, 2, 4}
    assert found.records[0]["cfg_batch_size"] == 2


def test_several_batch_sizes_are_for_throughput_alone(tmp_path: Path) -> None:
    refused = microbench(*SEARCH[:2], "model=relu", "batch_size=1,2", cwd=tmp_path)

    assert refused.complaint == (
        "microbench: A search is for one work: give one batch_size, not 2, or objective=throughput to find "
        "the best one."
    )


def test_the_largest_error_may_be_given(tmp_path: Path) -> None:
    few = ("model=dense", "engine=eager", "precision=bf16", "layout=contiguous", "max_error=1e-9")
    found = microbench(*SEARCH, *SHORT, *few, "hydra.run.dir=run", cwd=tmp_path)

    assert {each["status"] for each in found.records if each["cfg_precision"] == "bf16"} <= {
        "mismatch",
        "given_up",
    }
    assert "plain eager; nothing that was tried is faster" in found.out
