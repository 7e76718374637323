"""Several rounds of several cases: fresh processes in turn, their order, and what is said of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from microbench.api import run

from .support import Finished, Record, by_case, cell, measure, microbench

NAMES = ("Noted", "NotedToo", "Fine")
ROUNDS = 3
SWEEP = (
    "-m",
    "model=layer",
    f"model.cls={','.join(f'mine.{name}' for name in NAMES)}",
    "model.input_shape=[4]",
    "mode=infer",
    f"measure.rounds={ROUNDS}",
    "verify=false",  # builds nothing once more
)


@pytest.fixture(scope="module")
def pids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two of the layers note in which process they are built."""
    return tmp_path_factory.mktemp("noted") / "pids"


@pytest.fixture(scope="module")
def swept(user_layers: dict[str, str], pids: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three cases in three rounds each."""
    env = user_layers | {"PIDS": str(pids)}
    finished = measure(*SWEEP, cwd=tmp_path_factory.mktemp("rounds"), env=env)
    assert finished.code == 0, finished
    return finished


def turns(records: list[Record]) -> list[tuple[int, int, int]]:
    """Return the (turn, round, place) of each case's turns, as the file has them."""
    return list(dict.fromkeys((each["turn"], each["round"], each["order"]) for each in records))


def test_every_case_is_measured_once_in_each_round(swept: Finished) -> None:
    found = sorted((number, order) for _, number, order in turns(swept.records))
    assert found == [(number, order) for number in range(ROUNDS) for order in range(len(NAMES))]


def test_no_case_has_a_second_round_before_all_have_had_their_first(swept: Finished) -> None:
    assert [number for _, number, _ in turns(swept.records)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_turns_are_counted_in_the_order_in_which_they_were_taken(swept: Finished) -> None:
    assert [turn for turn, _, _ in turns(swept.records)] == list(range(ROUNDS * len(NAMES)))
    starts = [record["started_at"] for record in swept.records]
    assert starts == sorted(starts)


def test_a_case_s_records_of_all_rounds_share_its_identity(swept: Finished) -> None:
    for case in by_case(swept.records):
        assert len({record["case_id"] for record in case}) == 1
        assert len({record["started_at"] for record in case}) == ROUNDS
        assert {record["phase"] for record in case} == {"inference", "prepare", "first_call"}
        assert len(case) == 3 * ROUNDS


def test_each_round_of_each_case_has_a_process_of_its_own(swept: Finished, pids: Path) -> None:
    assert swept.code == 0
    noted = pids.read_text().split()
    assert len(set(noted)) == len(noted) == 2 * ROUNDS


def test_the_log_says_which_round_is_measured(swept: Finished) -> None:
    begun = [line for line in swept.err.splitlines() if line.endswith(": measuring")]
    for (turn, number, order), line in zip(turns(swept.records), begun, strict=True):
        assert line.startswith(f"[{turn + 1}/9] {NAMES[order]} infer, ")
        assert line.endswith(f", round {number + 1} of {ROUNDS}: measuring")


def test_the_table_says_how_sure_so_few_rounds_are(swept: Finished) -> None:
    """The range of three holds the median with a probability of 1 - 2/2^3."""
    assert "±: half-width of the 75 % CI over 3 rounds, relative to the median" in swept.out.splitlines()


def test_the_table_s_time_is_the_median_of_the_rounds(swept: Finished) -> None:
    shown = cell(swept.out, "Fine", "inference")
    medians = sorted(
        record["median"] for record in by_case(swept.records)[2] if record["phase"] == "inference"
    )
    units = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3}
    found = re.match(r"([\d.]+) (ns|µs|ms) ±([\d.]+) %", shown)
    assert found is not None, shown
    # Rounded to the digits that the interval supports, which is to about a fifth of its half-width.
    half_width = (medians[2] - medians[0]) / 2
    assert abs(float(found[1]) * units[found[2]] - medians[1]) <= half_width
    assert float(found[3]) == pytest.approx(100 * half_width / medians[1], rel=0.06, abs=0.006)


@pytest.fixture(scope="module")
def again(user_layers: dict[str, str], swept: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The first two rounds of the same sweep, with the seed that it recorded."""
    seed = swept.records[0]["schedule_seed"]
    folder = tmp_path_factory.mktemp("again")
    return measure(*SWEEP, "measure.rounds=2", f"schedule_seed={seed}", cwd=folder, env=user_layers)


def test_a_seed_gives_the_same_order_again(swept: Finished, again: Finished) -> None:
    assert again.code == 0
    assert {(each["schedule"], each["schedule_seed"]) for each in again.records} == {
        ("interleaved", swept.records[0]["schedule_seed"])
    }
    assert turns(again.records) == turns(swept.records)[: 2 * len(NAMES)]
    assert again.records[0]["run_id"] != swept.records[0]["run_id"]


def test_the_seed_of_the_order_is_drawn_and_recorded(swept: Finished) -> None:
    assert swept.records[0]["config"]["schedule_seed"] is None
    (kind, seed), *others = {(each["schedule"], each["schedule_seed"]) for each in swept.records}
    assert (kind, others) == ("interleaved", [])
    assert isinstance(seed, int)
    assert 0 <= seed < 2**32


def test_a_seed_of_the_order_is_no_part_of_the_work(swept: Finished, again: Finished) -> None:
    assert {each["case_id"] for each in again.records} == {each["case_id"] for each in swept.records}


@pytest.fixture(scope="module")
def one_case(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return measure("model=dense", "measure.rounds=2", cwd=tmp_path_factory.mktemp("one"))


def test_one_case_s_table_shows_the_spread_between_rounds(one_case: Finished) -> None:
    assert one_case.code == 0, one_case
    header, row = (
        next(line for line in one_case.out.splitlines() if line.startswith(f"{word} "))
        for word in ("phase", "inference")
    )
    columns = ["phase", "median", "50 % CI", "±", "between rounds", "items/s", "samples"]
    assert re.split(" {2,}", header) == columns
    shown = dict(zip(columns, re.split(" {2,}", row), strict=True))
    first, second = (each["median"] for each in one_case.records if each["phase"] == "inference")
    # The standard deviation of two is their distance over the square root of two.
    spread = abs(first - second) / 2**0.5 / ((first + second) / 2)
    assert float(shown["between rounds"].removesuffix(" %")) == pytest.approx(
        100 * spread, rel=0.06, abs=0.006
    )
    samples = sum(each["n"] for each in one_case.records if each["phase"] == "inference")
    assert shown["samples"] == str(samples)


def test_one_case_s_table_counts_its_rounds(one_case: Finished) -> None:
    assert re.search(r"^2 rounds in ", one_case.out, re.MULTILINE)


def test_one_round_is_one_process_and_says_so(tmp_path: Path) -> None:
    one = measure("model=dense", "measure.rounds=1", cwd=tmp_path)
    assert one.code == 0, one
    assert {each["round"] for each in one.records} == {0}
    header = next(line for line in one.out.splitlines() if line.startswith("phase "))
    assert "95 % CI (one process)" in header
    assert "between rounds" not in header
    assert re.search(r"^1 round in ", one.out, re.MULTILINE)


def test_measure_publish_is_ten_rounds_and_others_have_a_budget(tmp_path: Path) -> None:
    for option, budget, rounds in (("publish", None, 10), ("standard", 30.0, None), ("quick", 8.0, None)):
        shown = microbench("--cfg", "job", "model=dense", f"measure={option}", cwd=tmp_path)
        measuring = yaml.safe_load(shown.out)["measure"]
        assert (measuring["budget"], measuring["rounds"]) == (budget, rounds), option


TINY = ("model=dense", "device=cpu", "threads=1", "verify=false", "measure.budget=0.001")
"""A case whose budget has passed before it can begin."""


def test_a_budget_less_than_the_start_says_so_and_gets_the_least(tmp_path: Path) -> None:
    tiny = microbench(*TINY, "hydra.run.dir=run", cwd=tmp_path)
    assert tiny.code == 0, tiny
    assert re.search(
        r"^dense infer, .*eager, cpu: starting alone took .* the least is 3 rounds of one sample",
        tiny.err,
        re.M,
    )
    assert {each["round"] for each in tiny.records} >= {0, 1, 2}
    assert re.search(r"^3 rounds in .*, as measure.budget=0.001 allows", tiny.out, re.M)


def test_requested_rounds_are_measured_whatever_the_budget(tmp_path: Path) -> None:
    asked = microbench(*TINY, "measure.rounds=4", "hydra.run.dir=run", cwd=tmp_path)
    assert asked.code == 0, asked
    assert re.search(
        r"^dense infer, .*eager, cpu: measure.rounds=4 takes about .* than measure.budget=0.001",
        asked.err,
        re.M,
    )
    assert {each["round"] for each in asked.records} == {0, 1, 2, 3}


def test_a_budget_less_than_the_start_gets_the_least_from_python_too(tmp_path: Path) -> None:
    options = dict(each.split("=") for each in TINY)
    result = run(
        folder=tmp_path / "run", **options | {"measure.budget": 0.001, "threads": 1, "verify": False}
    )
    assert result.ok
    assert {each.round for each in result.records} >= {0, 1, 2}
