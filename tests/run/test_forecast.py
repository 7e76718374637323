"""How long a run will take: from earlier rounds of the same cases, or from its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from factory import machine_of, record_of
from msgspec.structs import replace

from microbench.analysis.forecast import Basis, CaseForecast, Forecast
from microbench.options.compose import from_options
from microbench.records.record import Plan, RoundRecord, RoundsReason, Status
from microbench.records.store import FILE_NAME, Store
from microbench.run.case import Case
from microbench.run.forecast import forecast
from microbench.system import cpus, machine

from .support import cases

HERE = machine_of(host_id=machine.host_id())


def plain(*batches: int, **options: Any) -> list[Case]:
    """Return cases with the default number of rounds."""
    return cases(*batches, **{"measure.rounds": None, "schedule": "interleaved"} | options)


def rounds(case: Case, *seconds: float | None, **fields: Any) -> list[RoundRecord]:
    """Return the rounds of a case on this machine, which took so many seconds."""
    made = []
    for number, taken in enumerate(seconds):
        placed = case.at("cpu", cpus.physical_cores())
        record = record_of(config=placed.config, order=case.order, round=number, machine=HERE)
        made.append(replace(record, seconds=taken, **fields))
    return made


def written(folder: Path, records: list[RoundRecord], age: float = 0.0) -> None:
    """Write records to a run's folder, some seconds ago."""
    with Store(folder) as store:
        for record in records:
            store.append(record)
    os.utime(folder / FILE_NAME, (1e9 - age, 1e9 - age))


def foreseen(asked: list[Case], outputs: Path, name: str = "new", completing: bool = False) -> Forecast:
    return forecast(asked, outputs / name, completing)


def only(found: Forecast) -> CaseForecast:
    (case,) = found.cases
    return case


def test_a_case_never_measured_here_takes_at_most_its_budget(tmp_path: Path) -> None:
    found = foreseen(plain(1, 2, **{"measure.budget": 10}), tmp_path)
    assert [(case.seconds, case.basis, case.rounds) for case in found.cases] == [(10, Basis.BUDGET, 6)] * 2
    assert found.seconds == (0, 20)
    assert found.rounds == 12


def test_without_a_budget_it_takes_at_most_the_limits_of_its_rounds(tmp_path: Path) -> None:
    limits = {"measure.budget": None, "measure.rounds": 4, "measure.max_warmup": 1, "measure.max_time": 2}
    case = only(foreseen(plain(1, **limits), tmp_path))
    assert (case.seconds, case.basis) == (4 * (1 + 2), Basis.LIMITS)


def test_a_case_measured_before_takes_as_long_as_then(tmp_path: Path) -> None:
    asked = plain(1, 2)
    written(tmp_path / "old", rounds(asked[0], 2.0, 9.0, 2.5, started_at="2026-05-04T03:02:01.000"))
    found = foreseen(asked, tmp_path)
    known, unknown = found.cases
    assert (known.basis, known.seconds, known.known) == (Basis.RECORDS, 6 * 2.5, 3)
    assert known.known_from == "2026-05-04T03:02:01.000"
    assert unknown.basis is Basis.BUDGET
    assert found.seconds == (15.0, 15.0 + 30.0)


def test_what_only_one_round_did_is_counted_once(tmp_path: Path) -> None:
    asked = plain(1)
    first, second = rounds(asked[0], 5.0, 2.0)
    began = Plan(rounds=6, reason=RoundsReason.ENOUGH, spent=4.0)
    written(tmp_path / "old", [replace(first, plan=began, checking=3.0), second])
    assert only(foreseen(asked, tmp_path)).seconds == 4.0 + 3.0 + 6 * 2.0


def test_the_newest_run_counts(tmp_path: Path) -> None:
    asked = plain(1)
    written(tmp_path / "b", rounds(asked[0], 9.0), age=100)
    written(tmp_path / "a", rounds(asked[0], 1.0))
    written(tmp_path / "c", rounds(asked[0], 8.0), age=200)
    assert only(foreseen(asked, tmp_path)).seconds == 6 * 1.0


def test_it_has_as_many_rounds_as_were_planned_last(tmp_path: Path) -> None:
    asked = plain(1)
    planned = Plan(rounds=3, reason=RoundsReason.BUDGET)
    written(tmp_path / "old", rounds(asked[0], 20.0, 20.0, plan=planned))
    case = only(foreseen(asked, tmp_path))
    assert (case.rounds, case.seconds) == (3, 60.0)


def test_a_requested_number_of_rounds_is_kept(tmp_path: Path) -> None:
    planned = Plan(rounds=3, reason=RoundsReason.BUDGET)
    written(tmp_path / "old", rounds(plain(1)[0], 20.0, plan=planned))
    assert only(foreseen(plain(1, **{"measure.rounds": 10}), tmp_path)).rounds == 10


def test_a_number_of_rounds_requested_before_says_nothing(tmp_path: Path) -> None:
    given = Plan(rounds=20, reason=RoundsReason.GIVEN)
    written(tmp_path / "old", rounds(plain(1)[0], 1.0, plan=given))
    assert only(foreseen(plain(1), tmp_path)).rounds == 6


@pytest.mark.parametrize(
    "other",
    [
        {"machine": machine_of(host_id="another")},
        {"seconds": None},
        {"outcome": record_of(status=Status.ERROR).outcome},
    ],
    ids=["another machine", "no time", "failed"],
)
def test_rounds_that_say_nothing_are_left_out(other: dict[str, Any], tmp_path: Path) -> None:
    asked = plain(1)
    written(tmp_path / "old", [replace(each, **other) for each in rounds(asked[0], 1.0)])
    assert only(foreseen(asked, tmp_path)).basis is Basis.BUDGET


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "torchscript"},
        {"precision": "bf16"},
        {"layout": "channels_last"},
        {"threads": 7},
        {"measure.max_time": 1},
    ],
    ids=str,
)
def test_a_case_run_or_measured_differently_says_nothing(other: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path / "old", rounds(plain(1, **other)[0], 1.0))
    assert only(foreseen(plain(1), tmp_path)).basis is Basis.BUDGET


def test_the_device_is_that_of_the_earlier_rounds(tmp_path: Path) -> None:
    asked = plain(1, device="auto")
    assert only(foreseen(asked, tmp_path)).config.device.name == "auto"
    written(tmp_path / "old", rounds(plain(1)[0], 1.0))
    case = only(foreseen(asked, tmp_path))
    assert (case.config.device.name, case.basis) == ("cpu", Basis.RECORDS)


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    asked = plain(1)
    written(tmp_path / "old", rounds(asked[0], 1.0), age=9)
    (tmp_path / "strange").mkdir()
    line = (tmp_path / "old" / FILE_NAME).read_bytes()
    (tmp_path / "strange" / FILE_NAME).write_bytes(line[:-40] + b"\n\xff\n" + line.replace(b":3,", b":1,", 1))
    assert only(foreseen(asked, tmp_path)).seconds == 6.0


def completed(asked: list[Case], outputs: Path, *counts: int) -> Forecast:
    """Return what is left of a run that has measured so many rounds of each case."""
    software = replace(machine.described({}, {}), gpu_driver="from then")
    for case, number in zip(asked, counts, strict=True):
        written(outputs / "begun", rounds(case, *[2.0] * number, machine=software))
    return foreseen(asked, outputs, "begun", completing=True)


def test_rounds_measured_before_are_not_measured_again(tmp_path: Path) -> None:
    found = completed(plain(1, 2, 3), tmp_path, 4, 6, 0)
    assert [case.measured for case in found.cases] == [4, 6, 0]
    assert [case.seconds for case in found.cases] == [2 * 2.0, 0.0, 30.0]
    assert (found.measured, found.rounds) == (10, 18)


def test_rounds_in_a_folder_that_is_not_completed_are_measured_again(tmp_path: Path) -> None:
    asked = plain(1)
    completed(asked, tmp_path, 4)
    assert foreseen(asked, tmp_path, "begun").measured == 0


def test_rounds_of_other_software_are_measured_again(tmp_path: Path) -> None:
    asked = plain(1)
    other = replace(machine.described({}, {}), torch="1.0")
    written(tmp_path / "begun", rounds(asked[0], 2.0, machine=other))
    assert foreseen(asked, tmp_path, "begun", completing=True).measured == 0


def test_a_search_takes_its_budget(tmp_path: Path) -> None:
    options = {"experiment": "fastest", "model": "dense", "mode": "infer", "experiment.budget": 77.0}
    found = foreseen(from_options(options, sweep=True), tmp_path)
    assert found.seconds == (0, 77.0)
    assert {(case.rounds, case.seconds, case.basis) for case in found.cases} == {(None, None, Basis.SEARCH)}


def test_how_many_layers_a_model_has_is_not_known(tmp_path: Path) -> None:
    found = foreseen(plain(1, model="resnet18", mode="layers"), tmp_path)
    assert only(found).stands_for_layers
    assert only(found).seconds == 30.0
    assert found.seconds is None
