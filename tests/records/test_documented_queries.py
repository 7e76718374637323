"""The queries of docs/results.md say of every folder what microbench says itself."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from torch import nn

from microbench.config import Config, ModeConfig
from microbench.profile.study import Study
from microbench.profile.trace import trace
from microbench.records.record import Check, Correctness, Outcome, Series, Status
from microbench.records.result import Result, load
from microbench.records.summary import summarize
from microbench.verify.judging import Checked

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
VIEWS, TIMES, RATES, FLOPS, FAILED = QUERIES
CONFIG = asdict(Config(mode=ModeConfig(name="profile", training=True)))


def series(phase: str, median: float) -> Series:
    samples = array("d", [median * factor for factor in (0.9, 1.0, 1.0, 1.3, 1.0, 1.1, 0.95)])
    return Series(phase, "fake", samples, summary=summarize(samples))


def profiled() -> tuple[Series, ...]:
    """A call's time and all that is known of the calls within it."""
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    root = trace(model, lambda: model(torch.rand(3, 8)))
    times = {call: array("d", [1e-6]) for call, _ in root.walk()}
    return series("forward", 5e-6), *Study(root, training=True, times=times).series("fake")


class Run:
    """Writes records of cases as a run does."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.file, self.run_id, self.turn = folder / run_id / "records.jsonl", run_id, 0
        self.file.parent.mkdir(parents=True)

    def write(self, order: int, number: int, outcome: Outcome, **more: Any) -> list[str]:
        """Append a round's lines."""
        self.turn += 1
        identity = {
            "run_id": self.run_id,
            "invocation": "i",
            "host_id": "h",
            "case_id": f"case {order}",
            "order": order,
            "round": number,
            "started_at": f"2026-01-01T00:00:{self.turn:02}.000+00:00",
            "cfg_model": f"model {order}",
            "cfg_engine": "eager",
            "cfg_batch_size": 2 * order + 2,
            "cfg_mode": "train",
            "layer_arguments": None,
            "layer_count": None,
            "config": CONFIG,
        }
        lines = [to_json(each) + "\n" for each in records_of(outcome, {**identity, **more})]
        self.append(lines)
        return lines

    def append(self, lines: Sequence[str]) -> None:
        """Append lines as they are."""
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(lines)


def trained(scale: float) -> Outcome:
    return Outcome(series=(series("forward", scale), series("total", 3 * scale)))


def plain(folder: Path) -> None:
    run = Run(folder, "a")
    for number in range(3):
        run.write(0, number, trained(1e-3 * (1 + number / 10)))
        run.write(1, number, Outcome(series=(series("inference", 2e-3 - 1e-4 * number),)))


def with_profile(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, trained(1e-3))
    run.write(1, 0, Outcome(series=profiled()), cfg_mode="profile")


def with_layers(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, Outcome(series=(series("inference", 1e-3),)))
    layer: Mapping[str, Any] = {"layer": "0", "layer_index": 0, "layer_type": "Linear", "layer_count": 2}
    run.write(1, 0, Outcome(series=(series("inference", 4e-4),)), **layer)


def with_failures(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, trained(1e-3))
    run.write(0, 1, Outcome(status=Status.TIMEOUT, error="took too long", series=(series("forward", 9.0),)))
    run.write(1, 0, Outcome(status=Status.ERROR, error="no"))
    run.write(2, 0, Outcome(status=Status.SKIPPED, error="cannot"))
    wrong = Checked(Check(Correctness.MISMATCH), "another answer")
    run.write(
        3,
        0,
        Outcome(status=Status.MISMATCH, error="another answer", series=(series("total", 1e-9),), check=wrong),
    )
    run.write(4, 0, Outcome(series=(Series("total", "fake", array("d", [1e-3])), series("forward", 1e-3))))


def several(folder: Path) -> None:
    plain(folder)
    other = Run(folder, "b")
    other.write(0, 0, trained(7e-3), env_of_another_version="x")
    same = other.write(1, 0, Outcome(series=profiled()))
    other.append(same)  # the same file concatenated twice


def measured_again(folder: Path) -> None:
    run = Run(folder, "a")
    run.write(0, 0, Outcome(status=Status.OOM, error="no memory", series=(series("forward", 5.0),)))
    run.write(0, 0, trained(1e-3))
    run.write(0, 1, trained(2e-3))
    run.write(0, 1, trained(8e-3))  # the first that ended well counts
    torn = run.write(1, 0, trained(4e-3))
    text = run.file.read_text(encoding="utf-8")
    run.file.write_text(text.removesuffix(torn[-1]) + torn[-1][:40] + "\n", encoding="utf-8")
    run.write(1, 0, trained(5e-3))
    run.write(2, 0, Outcome(status=Status.ERROR, error="once"))
    run.write(2, 0, Outcome(status=Status.ERROR, error="twice"))


FOLDERS = [plain, with_profile, with_layers, with_failures, several, measured_again]


@pytest.fixture(params=FOLDERS, ids=lambda each: each.__name__)
def read(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What DuckDB reads in a folder with outputs, and what microbench does."""
    request.param(tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    connection = duckdb.connect()
    connection.execute(VIEWS)
    return connection, load(sorted((tmp_path / "outputs").iterdir()))


Read = tuple[duckdb.DuckDBPyConnection, Result]


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    found = connection.execute(query)
    names = [each[0] for each in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_times_are_those_of_the_summary(read: Read) -> None:
    connection, result = read
    table = result.summary()
    names = ["run_id", "case_id", "cfg_model", "cfg_engine", "cfg_batch_size", "phase", "rounds", "samples"]
    expected = {tuple(row[name] for name in names): row["median"] for row in table.to_dict("records")}
    found = {tuple(row[name] for name in names): row["seconds"] for row in rows(connection, TIMES)}
    assert found == pytest.approx(expected)
    assert len(found) > 0


def test_rates_are_the_batch_over_the_median_of_a_whole_step(read: Read) -> None:
    connection, result = read
    expected = {
        (*place_of(case.first), phase): case.first["cfg_batch_size"] / estimate.median
        for case in result.cases()
        for phase, estimate in case.estimates.items()
        if phase in ("total", "inference")
    }
    found = {(*place_of(row), row["phase"]): row["items_per_second"] for row in rows(connection, RATES)}
    assert found == pytest.approx(expected)


def test_flops_are_those_of_the_profile(read: Read) -> None:
    connection, result = read
    expected: Counter[tuple[Any, ...]] = Counter()
    for number, case in enumerate(result.cases()):
        if any(record["metric"] == "flops" for record in case.shown):
            for row in result.profile(number).calls:
                expected[*place_of(case.first), row.layer.type] += int(row.costs.flops or 0)
    found = {(*place_of(row), row["layer_type"]): row["flops"] for row in rows(connection, FLOPS)}
    assert found == expected


def place_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which case a record, or a row, is of."""
    return record["run_id"], record["order"]


def test_failures_are_those_of_the_cases(read: Read) -> None:
    connection, result = read
    expected = {
        (case.first["run_id"], case.first["order"], number): (record["status"], record["error"])
        for case in result.cases()
        for number, record in case.failures.items()
    }
    found = {
        (row["run_id"], row["order"], row["round"]): (row["status"], row["error"])
        for row in rows(connection, FAILED)
    }
    assert found == expected
