"""The search for the fastest way, as a command."""

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
    few = ("model=conv3x3_2", "engine=eager", "precision=fp32,bf16", "experiment.budget=100")
    return microbench(*SEARCH, *SHORT, *few, "hydra.run.dir=run", cwd=tmp_path_factory.mktemp("search"))


FP32 = {("fp32", layout) for layout in ("contiguous", "channels_last", "mkldnn")}
BF16 = {("bf16", layout) for layout in ("contiguous", "channels_last")}


def test_a_search_tries_the_ways_that_have_what_is_given_in_formats_that_are_not_emulated(
    searched: Finished,
) -> None:
    assert searched.code == 0, searched
    is_emulated = "bfloat16" in arithmetic.emulated("cpu")
    ways = {
        (each["cfg_precision"], each["cfg_layout"]): each["status"]
        for each in searched.records
        if each["round"] == 0
    }
    assert ways.keys() == FP32 | BF16
    assert (
        {ways[way] for way in BF16} == {"skipped"} if is_emulated else {"ok", "given_up"} >= {*ways.values()}
    )
    line = "not tried (bfloat16 is emulated in fp32 here, which takes longer): eager bf16; "
    assert (line in searched.out) is is_emulated


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
    assert "give a search a folder of its own" in again.err
