"""Percentiles on the command line: as a table, as a target, as columns, and compared."""

from __future__ import annotations

import json
import re

import pytest

from microbench.errors import ExitCode

from .support import Finished, measure, microbench, records_in

DENSE = ("model=relu", "mode=infer", "batch_size=1", "device=cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two rounds of a layer whose calls are merged unless a percentile is wanted."""
    options = ("measure.rounds=2", "measure.percentile=80", "measure.min_sample=1", "measure.min_samples=40")
    return measure(*DENSE, *options, "measure.max_samples=60", cwd=tmp_path_factory.mktemp("tails"))


def test_a_percentile_that_is_a_target_is_shown_and_no_calls_are_merged(run: Finished) -> None:
    assert run.code == 0, run.err
    lines = run.out.splitlines()
    header = next(place for place, line in enumerate(lines) if "over all calls" in line)
    table = [line.split() for line in lines[header + 1 : header + 7]]
    assert table[0][:2] == ["inference", "p50"]
    assert [words[0] for words in table[1:]] == ["p80", "p90", "p95", "p99", "p99.9"]
    assert "needs about" in lines[header + 6]
    assert "over all calls: of 2 rounds with the same weight each; typical process: median" in run.out
    assert {record["calls_per_sample"] for record in records_in(run.folder / "run")} == {1}


def test_show_adds_them_to_any_run_and_other_formats_have_them_anyway(run: Finished) -> None:
    shown = microbench("show", "run", "--tails", cwd=run.folder)
    assert (shown.code, shown.out) == (0, run.out)
    (row, *_) = map(json.loads, microbench("show", "run", "--json", cwd=run.folder).out.splitlines())
    assert row["phase"] == "inference"
    assert {"p80", "p99_ci_low", "p99_9_ci_high", "calls_per_sample"} <= row.keys()
    assert row["p99_9"] is None
    header, *_ = microbench("show", "run", "--csv", cwd=run.folder).out.splitlines()
    assert {"p80", "p99", "p99_ci_high", "p99_9"} <= set(header.split(","))


def test_percentiles_are_compared(run: Finished) -> None:
    found = microbench("compare", "run", "run", "--at", "p80", "--json", cwd=run.folder)
    assert found.code == 0, found.err
    row = json.loads(found.out)
    assert (row["at"], row["ratio"]) == ("p80", 1.0)
    few = microbench("compare", "run", "run", "--at", "p99", cwd=run.folder)
    assert "inference p99" in few.out
    assert re.search(r"inconclusive: p99 needs 3\d\d more samples a round", few.out)
    check = microbench("compare", "run", "run", "--at", "p99", "--fail-on", "slower", cwd=run.folder)
    assert check.code == ExitCode.NOTHING_TO_COMPARE
    assert "No verdict is possible, and none to fail on: p99 needs" in check.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "run", "--tails", "--csv"), "Give one of --tails and --csv."),
        (("show", "run", "--tails", "--warnings"), "Give one of --tails, --csv, --json and --warnings."),
        (
            ("compare", "run", "run", "--at", "p100"),
            "at=p100 is not possible: give a percentile between p0 and",
        ),
        ((*DENSE, "--tails", "--dry-run"), "Leave out --tails: a dry run measures nothing."),
        (("show", "run", "--tail"), "Unknown option '--tail'. Did you mean --tails?"),
        (
            (*DENSE, "columns=[p99]"),
            "columns=[p99] is an option of mode=profile; mode=infer does not have it: --tails shows",
        ),
        (
            (*DENSE, "measure.percentile=100"),
            "measure.percentile=100.0 is not possible: give a number between 0 and 100, both excluded",
        ),
        ((*DENSE, "measure.percentile=p99"), "measure.percentile=p99 must be a number or null."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Finished, arguments: tuple[str, ...], told: str) -> None:
    assert microbench(*arguments, cwd=run.folder).complaint.removeprefix("microbench: ").startswith(told)
