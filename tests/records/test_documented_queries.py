"""The queries of docs/results.md give the same as microbench itself for every folder."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from factory import BUSY, QUIET, configured, record_of, series_of
from msgspec.structs import replace
from torch import nn

from microbench.analysis.profile import profile_of
from microbench.profile.study import Study
from microbench.profile.trace import trace
from microbench.records.cases import CaseResult
from microbench.records.record import (
    Check,
    Correctness,
    DistinctLayer,
    Measured,
    Outcome,
    Series,
    Status,
    encode,
)
from microbench.records.result import Result, load
from microbench.records.views import connected

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
TIMES, RATES, FLOPS, FAILED, TAILS = QUERIES


def series(phase: str, median: float) -> Series:
    return series_of(phase, [median * factor for factor in (0.9, 1.0, 1.0, 1.3, 1.0, 1.1, 0.95)])


def profiled() -> Measured:
    """Return a call's time, and everything on the calls within it."""
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    root = trace(model, lambda: model(torch.rand(3, 8)))
    times = {call: array("d", [1e-6]) for call, _ in root.walk()}
    return Measured(Outcome(), (series("inference", 5e-6),), Study(root, training=True, times=times).calls())


class Run:
    """Writes records of cases as a run does."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder, self.run_id, self.turn = folder / run_id, run_id, 0

    def write(self, order: int, number: int, found: Measured, layer: Any = None, **more: Any) -> bytes:
        """Append a round's line."""
        self.turn += 1
        settings = {"model__name": f"model {order}", "batch_size": 2 * order + 2, "mode": "train"}
        record = record_of(
            {each.phase: each for each in found.series},
            configured(**settings | more),
            order=order,
            round=number,
            run=self.run_id,
            started_at=f"2026-01-01T00:00:{self.turn:02}.000+00:00",
            outcome=found.outcome,
            calls=found.calls,
        )
        line = encode(replace(record, case=replace(record.case, layer=layer))) + b"\n"
        self.append(line)
        return line

    def append(self, line: bytes) -> None:
        """Append a line as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "records.jsonl").open("ab") as file:
            file.write(line)


def timed(*found: Series, **outcome: Any) -> Measured:
    return Measured(Outcome(**outcome), found)


def trained(scale: float) -> Measured:
    return timed(series("forward", scale), series("total", 3 * scale))


def plain(folder: Path) -> None:
    run = Run(folder, "a")
    for number in range(3):
        run.write(0, number, trained(1e-3 * (1 + number / 10)))
        run.write(1, number, timed(series("inference", 2e-3 - 1e-4 * number)))


def with_profile(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, trained(1e-3))
    run.write(1, 0, profiled(), mode="profile", mode__training=True)


def with_layers(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, timed(series("inference", 1e-3)))
    layer = DistinctLayer("0", "0", 0, "Linear", "3, 8", "(1, 3)", 2)
    run.write(1, 0, timed(series("inference", 4e-4)), layer)


def with_failures(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, trained(1e-3))
    run.write(0, 1, timed(series("forward", 9.0), status=Status.TIMEOUT, error="took too long"))
    run.write(1, 0, timed(status=Status.ERROR, error="no"))
    run.write(2, 0, timed(status=Status.SKIPPED, error="cannot"))
    wrong = Check(Correctness.MISMATCH)
    run.write(3, 0, timed(series("total", 1e-9), status=Status.MISMATCH, error="another answer", check=wrong))
    run.write(4, 0, timed(Series("total", "fake", [1e-3]), series("forward", 1e-3)))


def several(folder: Path) -> None:
    plain(folder)
    other = Run(folder, "b")
    other.write(0, 0, trained(7e-3))
    same = other.write(1, 0, profiled())
    other.append(same)  # the same file concatenated twice


def disturbed(folder: Path) -> None:
    run = Run(folder, "a")
    for number in range(5):
        run.write(
            0, number, timed(series("total", 1e-3 * 1.1**number), readings=BUSY if number > 2 else QUIET)
        )
        run.write(
            1, number, timed(series("total", 1e-3 * 1.1**number), readings=QUIET if number > 2 else BUSY)
        )


def measured_again(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, timed(series("forward", 5.0), status=Status.OOM, error="no memory"))
    run.write(0, 0, trained(1e-3))
    run.write(0, 1, trained(2e-3))
    run.write(0, 1, trained(8e-3))  # the first that ended well counts
    run.append(run.write(1, 0, trained(5e-3))[:400] + b"\n")  # cut short by a crash
    run.write(2, 0, timed(status=Status.ERROR, error="once"))
    run.write(2, 0, timed(status=Status.ERROR, error="twice"))


FOLDERS = [plain, with_profile, with_layers, with_failures, several, disturbed, measured_again]


@pytest.fixture(params=FOLDERS, ids=lambda each: each.__name__)
def read(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What the views have of a folder with outputs, and what microbench itself reads there."""
    request.param(tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    result = load("outputs/**")
    with connected(result.tables()) as connection:
        yield connection, result


Read = tuple[duckdb.DuckDBPyConnection, Result]


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    found = connection.execute(query)
    names = [each[0] for each in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_times_are_those_of_the_summary(read: Read) -> None:
    connection, result = read
    table = result.summary()
    names = ["run_id", "case_id", "model", "engine", "batch_size", "phase", "rounds", "samples"]
    columns = [name if name in table.columns else f"cfg_{name}" for name in names]
    expected = {tuple(row[name] for name in columns): row["median"] for row in table.to_dict("records")}
    found = {tuple(row[name] for name in names): row["seconds"] for row in rows(connection, TIMES)}
    assert found == pytest.approx(expected)
    assert len(found) > 0


def test_rates_are_the_batch_over_the_median_of_a_whole_step(read: Read) -> None:
    connection, result = read
    expected = {
        (*place_of(case), case.whole.phase): case.throughput(case.whole)
        for case in result.cases()
        if case.whole is not None
    }
    found = {
        (row["run_id"], row["case_order"], row["phase"]): row["items_per_second"]
        for row in rows(connection, RATES)
    }
    assert found == pytest.approx(expected)


def test_flops_are_those_of_the_profile(read: Read) -> None:
    connection, result = read
    expected: Counter[tuple[Any, ...]] = Counter()
    for case in result.cases():
        profile = profile_of(case)
        for row in [] if profile is None else profile.calls:
            expected[*place_of(case), row.type] += int(row.flops or 0)
    found = {(row["run_id"], row["case_order"], row["type"]): row["flops"] for row in rows(connection, FLOPS)}
    assert found == expected


def test_percentiles_are_those_over_the_samples_of_all_rounds(read: Read) -> None:
    connection, result = read
    expected = {
        (*place_of(case), phase): np.quantile(
            [value for each in case.series(phase).values() for value in each.samples], 0.9
        )
        for case in result.cases()
        for phase, estimate in case.estimates.items()
        if estimate.samples >= 10
    }
    found = {(row["run_id"], row["case_order"], row["phase"]): row["p90"] for row in rows(connection, TAILS)}
    assert found == pytest.approx(expected)


def place_of(case: CaseResult) -> tuple[str, int]:
    """Return a row's run and case."""
    return case.run.id, case.spec.order


def test_failures_are_those_of_the_cases(read: Read) -> None:
    connection, result = read
    expected = {
        (*place_of(case), number): (record.outcome.status, record.outcome.error)
        for case in result.cases()
        for number, record in case.failures.items()
    }
    found = {
        (row["run_id"], row["case_order"], row["round"]): (row["status"], row["error"])
        for row in rows(connection, FAILED)
    }
    assert found == expected
