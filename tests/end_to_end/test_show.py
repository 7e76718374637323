"""`microbench show`, on files that the test writes; what real runs printed is held beside those runs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from factory import told
from msgspec.structs import replace

import microbench
from microbench.cli import show
from microbench.errors import UserError
from microbench.records.record import BenchmarkWarning, RunInfo, Status, WarningCode
from microbench.records.store import FILE_NAME

from .support import microbench as command
from .support import write

FAST = [1.00, 1.02, 1.01]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """Where a run of one case, a sweep, and no records are."""
    found = tmp_path_factory.mktemp("show")
    write(found / "one", timed(FAST))
    write(found / "sweep", timed(FAST, run_id="s"), timed(FAST, 1, run_id="s", batch_size=1))
    write(found / "empty")
    return found


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert show.main(arguments) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_each_folder_is_shown_as_its_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    one, sweep = shown(capsys, "one"), shown(capsys, "sweep/records.jsonl")
    assert one[1] == "dense infer, batch 8, fp32, eager, cpu, input 8x1024"
    assert one[-1] == "records: one/records.jsonl (3 rounds)"
    assert [line.split()[:2] for line in sweep if line.startswith("dense ")] == [
        ["dense", "8"],
        ["dense", "1"],
    ]
    assert shown(capsys, "one", "sweep") == [*one, "", *sweep]


def test_a_result_is_printed_in_python_as_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "sweep"):
        result = microbench.load(name)
        assert str(result).splitlines() == shown(capsys, name)
        assert len(repr(result)) < 100
    assert str(microbench.load("empty")) == ""


def test_all_folders_are_one_table_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO("\n".join(shown(capsys, "one", "sweep", "--csv")))))
    assert [(row["run_id"], row["cfg_batch_size"]) for row in rows] == [("r", "8"), ("s", "8"), ("s", "1")]
    assert float(rows[0]["throughput"]) == pytest.approx(8 / float(rows[0]["median"]))
    assert {row["host_id"] for row in rows} == {"h"}
    assert all(row["env_torch"] and row["env_cpu"] and row["env_threads"] for row in rows)
    (line,) = shown(capsys, "--json", "one")
    assert json.loads(line)["phase"] == "inference"


def test_a_search_and_a_doctor_s_run_are_shown_apart_from_what_lies_with_them(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = [
        timed(FAST, i, run_id="f", schedule="search", engine=e) for i, e in enumerate(("eager", "export"))
    ]
    doctor = [timed(FAST, order, run_id="d") for order in range(2)]
    doctor = [[replace(each, run=replace(each.run, command="doctor")) for each in case] for case in doctor]
    parts = {"search": search, "sweep": [timed(FAST, run_id="s")], "doctor": doctor}
    for name, part in parts.items():
        write(tmp_path / name, *part)
    alone = [shown(capsys, str(tmp_path / name)) for name in parts]
    together = shown(capsys, str(write(tmp_path / "all", *search, *parts["sweep"], *doctor)))
    assert [line for line in together if not line.startswith("records: ")] == [
        line
        for place, part in enumerate(alone)
        for line in ([""] * bool(place) + part)
        if not line.startswith("records: ")
    ]


@pytest.mark.parametrize("name", ["", "saved.jsonl"])
def test_all_warnings_of_all_cases_are_printed(
    name: str, timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's folder, or a file of records under a name of its own: the hint names what can be shown."""
    cases = [timed(FAST, order, batch_size=2**order) for order in range(3)]
    cases = [
        told(case, warnings=(BenchmarkWarning(WarningCode.DRIFT, f"drifts by {order} %"),))
        for order, case in enumerate(cases)
    ]
    write(tmp_path / "warned", *cases)
    path = tmp_path / "warned" / name
    if name:
        (tmp_path / "warned" / FILE_NAME).rename(path)
    assert f"all warnings: microbench show {path} --warnings" in shown(capsys, str(path))
    assert shown(capsys, str(path), "--warnings") == [
        f"warning: dense infer, batch_size={2**order}: drifts by {order} % [drift]" for order in range(3)
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give the runs to show: microbench show DIR."),
        (["nowhere"], "Cannot read nowhere: No such file or directory."),
        (["empty"], "Nothing to show: empty has no records."),
        (["one", "empty", "--csv"], "Nothing to show: empty has no records."),
        (["one", "--jsn"], "Unknown option '--jsn'. Did you mean --json"),
        (["one", "--csv", "--json"], "Give one of --csv and --json."),
        (["one", "--csv", "--warnings"], "Give one of --tails, --csv, --json and --warnings."),
    ],
)
def test_a_mistake_is_reported(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as told:
        show.main(arguments)
    assert words in str(told.value)


def test_help_tells_the_usage_and_showing_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    paths = {"PYTHONPATH": str(tmp_path)}
    helped = command("show", "--help", cwd=Path.cwd(), env=paths)
    assert (helped.code, helped.err) == (0, "")
    assert "--csv" in helped.out
    found = command("show", "one", cwd=Path.cwd(), env=paths)
    assert (found.code, found.err) == (0, "")
    assert command("show", "nowhere", cwd=Path.cwd()).complaint


def test_an_interrupted_run_is_shown_with_how_to_complete_it(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = RunInfo(id="s", command_line="python -m microbench -m model=dense seed=1,2,3", cases=3)
    first, second = timed(FAST[:2])
    (begun,) = told([second], status=Status.INTERRUPTED, error="Ctrl-C after 6 samples")
    path = write(tmp_path / "run", [replace(each, run=line) for each in (first, begun)])
    assert show.main([str(path)]) == 0
    out, err = capsys.readouterr()
    assert "interrupted: Ctrl-C after 6 samples (in 1 of 2 rounds)" in out.splitlines()
    told_to = f"Complete it: microbench resume={path}"
    assert err == f"microbench: incomplete: 1 case interrupted, 2 of 3 cases not begun. {told_to}\n"


def test_a_round_that_was_interrupted_before_the_run_was_completed_is_not_missing(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = timed([1.0, 1.0, 1.0])
    (begun,) = told([second], status=Status.INTERRUPTED, error="Ctrl-C after 6 samples")
    made = {"i": (first, begun), "j": (third,)}
    records = [
        replace(each, run=RunInfo(id="s", invocation=name)) for name, found in made.items() for each in found
    ]
    assert show.main([str(write(tmp_path / "run", records)), "--csv"]) == 0
    assert "incomplete" not in capsys.readouterr().err


def test_a_run_from_python_is_completed_from_there(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "run", [replace(each, run=RunInfo(id="s", cases=2)) for each in timed(FAST)])
    assert show.main([str(path), "--csv"]) == 0
    advice = f"Complete it: give its options again with resume='{path}'"
    assert capsys.readouterr().err == f"microbench: incomplete: 1 of 2 cases not begun. {advice}\n"


def test_a_completed_run_is_shown_without_advice(
    timed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [replace(each, run=RunInfo(id="s", command_line="microbench", cases=1)) for each in timed(FAST)]
    begun = told(made[-1:], status=Status.INTERRUPTED)
    completing = replace(made[-1], run=replace(made[-1].run, invocation="later"))
    assert show.main([str(write(tmp_path / "run", [*made[:-1], *begun, completing]))]) == 0
    assert capsys.readouterr().err == ""
