"""Workers that crash, hang or are killed, and a killed parent: what survives, and what is reported."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from .support import (
    ENDLESS,
    Finished,
    Record,
    alive,
    by_case,
    cell,
    measure,
    microbench,
    records_in,
    start,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

CLASSES = ("Crashes", "Raises", "Exits", "Hungry", "Sleeps", "Nosuch", "Fine")


@pytest.fixture(scope="module")
def faults(user_layers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A sweep over a user's layers of which only the last one works."""
    return measure(
        "-m",
        "model=layer",
        f"model.cls={','.join(f'mine.{name}' for name in CLASSES)}",
        "model.input_shape=[4]",
        "mode=infer",
        "timeout=3",
        cwd=tmp_path_factory.mktemp("faults"),
        env=user_layers,
    )


@pytest.fixture(scope="module")
def outcomes(faults: Finished) -> dict[str, Record]:
    """The one record of each failed case, and the first one of the other."""
    return {case[0]["cfg_model"]: case[0] for case in by_case(faults.records)}


def test_every_case_of_a_sweep_ends_in_records_however_it_ended(outcomes: dict[str, Record]) -> None:
    assert {name: record["status"] for name, record in outcomes.items()} == {
        "Crashes": "error",
        "Raises": "error",
        "Exits": "error",
        "Hungry": "oom",
        "Sleeps": "timeout",
        "Nosuch": "error",
        "Fine": "ok",
    }


def test_the_exit_code_says_that_not_all_went_well(faults: Finished) -> None:
    assert faults.code == 1


def test_each_failure_is_one_line_on_the_terminal(faults: Finished, outcomes: dict[str, Record]) -> None:
    assert "Traceback" not in faults.out + faults.err
    for name, record in outcomes.items():
        if record["status"] != "ok":
            line = f"{record['status']}: {name} infer: {record['error']}"
            assert line in faults.out.splitlines()


@pytest.mark.parametrize("name", CLASSES)
def test_the_table_says_how_each_case_ended(name: str, faults: Finished, outcomes: dict[str, Record]) -> None:
    assert cell(faults.out, name, "status") == outcomes[name]["status"]


def test_the_log_says_how_each_case_ended(faults: Finished, outcomes: dict[str, Record]) -> None:
    assert {record["turn"] for record in outcomes.values()} == set(range(len(CLASSES)))
    for name, record in outcomes.items():
        title = (
            f"[{record['turn'] + 1}/{len(CLASSES)}] {name} infer, batch 8, eager, cpu, model.cls=mine.{name}"
        )
        assert f"{title}: measuring" in faults.err.splitlines()
        if record["status"] != "ok":
            assert f"{title}: {record['status']}: {record['error']}" in faults.err.splitlines()


def test_a_segmentation_fault_is_named_and_its_stack_is_kept(outcomes: dict[str, Record]) -> None:
    assert outcomes["Crashes"]["error"] == "the worker was killed by SIGSEGV"
    assert "Segmentation fault" in outcomes["Crashes"]["traceback"]
    assert "mine.py" in outcomes["Crashes"]["traceback"]


def test_an_exception_is_reported_by_its_first_line_and_kept_whole(
    outcomes: dict[str, Record], faults: Finished
) -> None:
    error = outcomes["Raises"]["error"]
    assert "Raises failed: ArithmeticError: the [bold]first[/bold] line" in error
    assert "second" not in error
    assert "and a second one" in outcomes["Raises"]["traceback"]
    assert "[bold]first[/bold]" in faults.out, "a message is no markup"


def test_an_exit_is_reported_with_its_code(outcomes: dict[str, Record]) -> None:
    assert outcomes["Exits"]["error"] == "the worker exited with code 3 before it answered"


def test_a_lack_of_memory_says_what_to_lower(outcomes: dict[str, Record]) -> None:
    assert "out of memory" in outcomes["Hungry"]["error"]
    assert outcomes["Hungry"]["error"].endswith("lower batch_size")


def test_a_timeout_says_what_to_raise(outcomes: dict[str, Record]) -> None:
    assert outcomes["Sleeps"]["error"] == "took longer than timeout=3 (seconds); raise it"


def test_a_worker_that_took_too_long_is_gone(faults: Finished, user_layers: dict[str, str]) -> None:
    assert faults.code == 1
    pids = [int(line) for line in Path(user_layers["PIDS"]).read_text().split()]
    assert pids
    assert not [pid for pid in pids if alive(pid)]


def test_a_class_that_is_not_there_is_answered_with_the_nearest(outcomes: dict[str, Record]) -> None:
    assert outcomes["Nosuch"]["error"].startswith("Unknown model.cls 'mine.Nosuch'.")
    assert "mine.Fine" in outcomes["Nosuch"]["error"]


def test_the_case_after_the_failed_ones_is_measured_as_ever(outcomes: dict[str, Record]) -> None:
    fine = outcomes["Fine"]
    assert (fine["phase"], fine["error"]) == ("inference", None)
    assert fine["n"] >= 6
    assert fine["calls_per_sample"] > 1, "some microseconds are merged into samples"


def test_a_worker_that_hangs_up_and_lives_on_is_a_timeout(
    user_layers: dict[str, str], tmp_path: Path
) -> None:
    """It is ended, and the next case has the machine for itself."""
    options = ["model=layer", "model.cls=mine.HangsUp,mine.Fine", "model.input_shape=[4]", "mode=infer"]
    done = measure("-m", *options, "timeout=2", cwd=tmp_path, env=user_layers)
    statuses = [(case[0]["cfg_model"], case[0]["status"]) for case in by_case(done.records)]
    assert statuses == [("HangsUp", "timeout"), ("Fine", "ok")]


def test_a_killed_worker_s_samples_are_kept_and_the_sweep_goes_on(tmp_path: Path) -> None:
    sweep = start("-m", "model=dense", "mode=infer", "measure.max_time=60,0.05,0.06", *ENDLESS, cwd=tmp_path)
    try:
        _, worker = sweep.sampling()
        os.kill(worker, signal.SIGKILL)
        finished = sweep.finished()
    finally:
        sweep.kill()
    assert finished.code == 1
    killed, *others = by_case(finished.records)
    assert [(record["status"], record["phase"]) for record in killed] == [
        ("error", "prepare"),
        ("error", "first_call"),
        ("error", "inference"),
    ]
    assert killed[0]["error"].startswith("the worker was killed by SIGKILL")
    assert [len(record["samples"]) for record in killed[:2]] == [1, 1]
    assert len(killed[2]["samples"]) > 100
    assert all(seconds > 0 for record in killed for seconds in record["samples"])
    assert [case[0]["status"] for case in others] == ["ok", "ok"]
    assert "Traceback" not in finished.out + finished.err


class Interrupted:
    """A sweep whose second case was interrupted by Ctrl-C while it was sampled."""

    def __init__(self, folder: Path) -> None:
        lengths = "measure.max_time=0.05,60,0.06"
        sweep = start("-m", "model=dense", "mode=infer", lengths, "schedule=sequential", *ENDLESS, cwd=folder)
        try:
            self.pids = sweep.sampling()
            self.before = records_in(folder / "run")
            sweep.interrupt()
            self.finished = sweep.finished()
            self.left = [pid for pid in self.pids if alive(pid)]
        finally:
            sweep.kill()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    return Interrupted(tmp_path_factory.mktemp("interrupted"))


def test_a_case_s_records_are_on_disk_before_the_next_case_ends(interrupted: Interrupted) -> None:
    assert [(record["order"], record["status"], record["phase"]) for record in interrupted.before] == [
        (0, "ok", "inference"),
        (0, "ok", "prepare"),
        (0, "ok", "first_call"),
    ]


def test_ctrl_c_ends_with_code_130_and_one_line(interrupted: Interrupted) -> None:
    assert interrupted.finished.code == 130
    assert "Traceback" not in interrupted.finished.err
    said = [line for line in interrupted.finished.err.splitlines() if line.startswith("microbench: ")]
    assert said == interrupted.finished.err.splitlines()[-1:]
    advice = "What was measured is kept. Complete it: microbench resume=run"
    assert said == [f"microbench: interrupted. {advice}"]


def test_ctrl_c_shows_what_was_measured(interrupted: Interrupted) -> None:
    shown = interrupted.finished.out
    assert re.match(r"[\d.]+ (ms|µs)( |$)", cell(shown, "dense 0.05", "inference"))
    assert cell(shown, "dense 0.05", "status") == "ok"
    assert cell(shown, "dense 60.0", "status") == "interrupted"
    told = r"interrupted: dense infer, measure.max_time=60.0: Ctrl-C after \d+ samples"
    assert [line for line in shown.splitlines() if re.fullmatch(told, line)]


def test_ctrl_c_keeps_what_was_sampled(interrupted: Interrupted) -> None:
    first, second = by_case(interrupted.finished.records)
    assert first == interrupted.before
    assert [(record["status"], record["phase"]) for record in second] == [
        ("interrupted", "inference"),
        ("interrupted", "prepare"),
        ("interrupted", "first_call"),
    ]
    assert {record["error"] for record in second} == {f"Ctrl-C after {second[0]['n']} samples"}
    assert second[0]["n"] == len(second[0]["samples"]) > 100


def test_ctrl_c_leaves_no_process_behind(interrupted: Interrupted) -> None:
    assert len(set(interrupted.pids)) == 2
    assert interrupted.left == []


def test_ctrl_c_while_the_command_is_imported_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "difflib.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    ended = start("model=dense", cwd=tmp_path, env={"PYTHONPATH": path}).finished()
    assert (ended.code, ended.err) == (130, "microbench: interrupted\n")


def test_ctrl_c_in_the_only_round_shows_its_samples(tmp_path: Path) -> None:
    run = start("model=dense", "mode=infer", "measure.max_time=60", *ENDLESS, cwd=tmp_path)
    try:
        run.sampling()
        run.interrupt()
        finished = run.finished()
    finally:
        run.kill()
    assert finished.code == 130
    lines = finished.out.splitlines()
    (told,) = [line for line in lines if line.startswith("interrupted: ")]
    samples = re.fullmatch(r"interrupted: Ctrl-C after (\d+) samples", told)
    assert samples is not None
    (row,) = [line for line in lines if line.startswith("inference ")]
    assert row.endswith(f" {samples[1]}")
    first = [line for line in finished.err.splitlines() if "no interval yet" in line]
    assert len(first) == 1, "a case's first numbers are one line in a pipe"
    assert "incomplete: 1 case interrupted. " in microbench("show", "run", cwd=tmp_path).err


def test_a_killed_parent_takes_its_server_and_worker_along(tmp_path: Path) -> None:
    lengths = "measure.max_time=0.05,60"
    sweep = start("-m", "model=dense", "mode=infer", lengths, "schedule=sequential", *ENDLESS, cwd=tmp_path)
    pids: tuple[int, ...] = ()
    try:
        pids = sweep.sampling()
        os.kill(sweep.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, pids)), seconds=10)
        assert sweep.finished().code == -signal.SIGKILL
    finally:
        sweep.kill()
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
    assert {record["order"] for record in records_in(tmp_path / "run")} == {0}
