"""`microbench history`, on files that the test writes: trends, steps, and what changed there."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from factory import machine_of, told
from msgspec.structs import replace

from microbench import compare
from microbench.cli import history
from microbench.errors import UserError
from microbench.records.record import RoundRecord, RunInfo, Status
from microbench.tables import history as tables

from .support import write


def of_run(records: list[RoundRecord], number: int, **facts: Any) -> list[RoundRecord]:
    """The records as those of the run of one day, on a machine of which these things are known."""
    return [
        replace(
            each,
            run=RunInfo(id=f"run{number:02}"),
            started_at=f"2026-01-{number + 1:02}{each.started_at[10:]}",
            machine=machine_of(**facts),
        )
        for each in records
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> list[str]:
    """Ten runs of two cases, the first 1.15 times as slow from the seventh on, with another torch."""
    folder, noise = tmp_path_factory.mktemp("history"), random.Random(0)
    found = []
    for number in range(10):
        slow = 1.15 if number >= 6 else 1.0
        first, second = ([noise.gauss(1, 0.01) for _ in range(6)] for _ in range(2))
        facts = {"torch": "2.12" if number >= 6 else "2.11", "git": "abc" if number < 3 else "def"}
        run = write(
            folder / f"{number}",
            of_run(timed([slow * each for each in first]), number, **facts),
            of_run(timed(second, 1, batch_size=1), number, **facts),
        )
        found.append(str(run))
    return found


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert history.main(arguments) == code
    return capsys.readouterr().out


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown(capsys, *arguments, "--json").splitlines()]


def test_a_step_is_named_with_its_runs_its_ratio_and_what_changed(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, *reversed(runs))
    assert "2026-01-01 to 2026-01-10 · 10 runs · 95 % CI" in text
    assert (
        "between run run05 (2026-01-06 00:00) and run run06 (2026-01-07 00:00) changed: torch 2.11 → 2.12\n"
        "  slower ×1.1"
    ) in text
    assert "(6 runs before, 4 after, p " in text
    assert "no step" in text
    steps = [each for each in rows(capsys, *runs) if each["is_step"]]
    assert [(each["run_id"], each["verdict"]) for each in steps] == [("run06", "slower")]
    assert steps[0]["ratio_ci_low"] < 1.15 < steps[0]["ratio_ci_high"]
    assert steps[0]["p"] < 0.01
    assert len(rows(capsys, *runs)) == 20


def test_every_run_says_what_differs_from_the_one_before(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(capsys, *runs, "--where", "batch_size=8")
    assert {each["run_id"]: each["changed"] for each in found if each["changed"]} == {
        "run03": "git commit of microbench abc → def",
        "run06": "torch 2.11 → 2.12",
    }
    text = shown(capsys, *runs, "--where", "batch_size=8")
    assert "2026-01-04 00:00  run03" in text
    assert len([line for line in text.splitlines() if line.startswith("2026-01-") and "run0" in line]) == 10


def test_fewer_than_six_runs_are_compared_one_by_one(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    few = [runs[number] for number in (4, 5, 6)]
    text = shown(capsys, *few)
    assert "fewer than 6 runs: each is compared with the one before" in text
    assert "Separate runs are not interleaved" in text
    found = {(each["run_id"], each["case"]): each for each in rows(capsys, *few)}
    for before, after in ((4, 5), (5, 6)):
        for row in compare(runs[before], runs[after]).rows:
            other = found[f"run{after:02}", row.case]
            assert (other["ratio"], other["ratio_ci_low"]) == pytest.approx((row.ratio, row.low))
            assert not other["is_step"]
    assert found["run06", "dense infer, batch_size=8"]["verdict"] == "slower"


def test_a_check_fails_on_the_latest_change(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, *runs, "--fail-on", "slower", code=1)
    assert history.main([*runs, "--fail-on", "slower"]) == 1
    assert "microbench: --fail-on slower: ×1.1" in capsys.readouterr().err
    shown(capsys, *runs, "--fail-on", "faster", code=0)
    shown(capsys, *runs, "--where", "batch_size=1", "--fail-on", "slower", code=0)


@pytest.mark.parametrize(
    ("since", "code"),
    [("run06", 1), ("run07", 0), ("2026-01-07", 1), ("2026-01-08", 0), ("2026-01-07T01:00+01:00", 1)],
)
def test_a_check_can_leave_old_changes_out(
    since: str, code: int, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The step is between run05 and run06, which began on the 7th."""
    shown(capsys, *runs, "--fail-on", "slower", "--since", since, code=code)


def test_a_value_that_is_unknown_has_a_reason(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown: p99 needs 100 samples\n" in shown(capsys, *runs, "--value", "p99")


def test_the_trend_of_many_runs_is_that_of_the_latest(
    runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "least value to its largest\n" in shown(capsys, *runs)
    monkeypatch.setattr(tables, "MOST_POINTS", 9)
    assert "least value to its largest of the latest 9 runs\n" in shown(capsys, *runs)


def test_more_throughput_is_faster(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    times = [each for each in rows(capsys, *runs) if each["is_step"]]
    rates = [each for each in rows(capsys, *runs, "--value", "throughput") if each["is_step"]]
    assert rates[0]["unit"] == "items/s"
    assert rates[0]["verdict"] == "slower"
    assert rates[0]["ratio"] == pytest.approx(1 / times[0]["ratio"])
    assert rates[0]["ratio_ci_low"] == pytest.approx(1 / times[0]["ratio_ci_high"])


def test_a_machine_whose_speed_wanders_is_told_of(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise, drift = random.Random(1), 0.0
    paths = []
    for number in range(24):
        drift = 0.9 * drift + noise.gauss(0, 0.02)
        times = [1 + drift + noise.gauss(0, 0.001) for _ in range(2)]
        paths.append(str(write(tmp_path / f"{number}", of_run(timed(times), number))))
    assert "in 1 of 1 case runs resemble the one before (correlation up to 0." in shown(capsys, *paths)


def test_hosts_have_histories_of_their_own_and_failed_runs_a_gap(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        str(write(tmp_path / f"{number}", of_run(timed([1.0 + number / 100, 1.0]), number, host_id=host)))
        for number, host in enumerate("aabb")
    ]
    failed = of_run(told(timed([1.0]), status=Status.TIMEOUT, error="too long"), 4, host_id="a")
    found = rows(capsys, *paths, str(write(tmp_path / "failed", failed)))
    assert [(each["host_id"], each["status"]) for each in found] == [
        *(("a", "ok"), ("a", "ok"), ("a", "timeout"), ("b", "ok"), ("b", "ok"))
    ]
    text = shown(capsys, *paths, str(tmp_path / "failed"), "--runs")
    assert "dense infer, host=a" in text
    assert "timeout" in text


def test_other_programs_read_the_same(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "history.csv"
    assert shown(capsys, *runs, "--csv", "-o", str(file)) == ""
    lines = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    assert [float(each["estimate"]) for each in lines] == [each["estimate"] for each in rows(capsys, *runs)]
    text = shown(capsys, *runs, "--markdown")
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 4
    assert "  - **slower** ×1.1" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give the runs to follow: microbench history PATH."),
        (["{0}"], "There is no history: no case was measured by two runs on one host (2 cases)."),
        (["{0}", "{1}", "--value", "params"], "params has no history"),
        (["{0}", "{1}", "--value", "speedup"], "speedup has no history"),
        (["{0}", "{1}", "--value", "stepp"], "Unknown value 'stepp'. Did you mean step"),
        (["{0}", "{1}", "--where", "batch_size=2"], "Unknown batch_size '2'"),
        (["{0}", "{1}", "--fail-on", "slow"], "Unknown verdict to fail on 'slow'. Did you mean slower?"),
        (["{0}", "{1}", "--fail-on", "slower", "--since", "run7"], "Unknown run 'run7'. Did you mean run0"),
        (["{0}", "{1}", "--fail-on", "slower", "--since", "run7"], "Or give a date, such as 2026-01-31."),
        (["{0}", "{1}", "--since", "run01"], "--since has no effect without --fail-on"),
        (["{0}", "{1}", "--margin", "-1"], "--margin -1 is not possible"),
        (["{0}", "{1}", "-o", "/dev/null/x"], "Cannot write /dev/null/x: Not a directory."),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str, runs: list[str]) -> None:
    with pytest.raises(UserError) as error:
        history.main([each.format(*runs) for each in arguments])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
