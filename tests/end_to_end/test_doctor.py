"""`microbench doctor`: its report, and the records that it rests on."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from microbench.cli import doctor as doctor_verb
from microbench.records.peaks import Peaks
from microbench.records.record import Outcome, RoundRecord, Status
from microbench.records.store import Store, read
from microbench.tables import units

from .support import QUICK, Finished, Record, by_case, complete, measured, microbench, records_in

ROUNDS = "measure.rounds=2"
PEAKS = Peaks(1e11, 4e11, "conv3x3", "matmul", ((2**18, 8e10), (2**27, 1e10)), 2e-6)


def doctor(*arguments: str, cwd: Path) -> Finished:
    """Ask the doctor, with few and short rounds, its records in the folder `run`."""
    return microbench("doctor", *QUICK, ROUNDS, "hydra.run.dir=run", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    finished = doctor("model=dense", cwd=tmp_path_factory.mktemp("doctor"))
    assert finished.code == 0, finished
    return finished


@pytest.fixture(scope="module")
def cases(run: Finished) -> list[list[Record]]:
    return by_case(run.records)


def medians(case: list[Record]) -> list[float]:
    """Return the medians of a case's rounds, in the order of the rounds."""
    found = {record["round"]: record["median"] for record in case if record["phase"] == "inference"}
    return [found[number] for number in sorted(found)]


def line(run: Finished, start: str) -> str:
    return next(each.strip() for each in run.out.splitlines() if each.strip().startswith(start))


def test_it_can_be_shown_again(run: Finished) -> None:
    assert microbench("show", "run", cwd=run.folder).out == run.out


def test_the_same_case_is_measured_twice_and_interleaved(cases: list[list[Record]]) -> None:
    first, second = cases[0][0], cases[1][0]
    assert first["case_id"] == second["case_id"]
    assert first["config"] == second["config"]
    assert (first["cfg_model"], first["cfg_mode"], first["cfg_batch_size"]) == ("dense", "infer", 1)
    assert (first["order"], second["order"]) == (0, 1)
    turns = {record["turn"]: record["round"] for case in cases for record in case}
    assert [turns[turn] for turn in sorted(turns)] == [0] * 2 + [1] * 2


def test_every_round_is_in_the_records(cases: list[list[Record]], run: Finished) -> None:
    assert complete(run.records) == [(order, number) for order in range(2) for number in range(2)]
    assert {record["schedule"] for record in run.records} == {"interleaved"}
    assert len({record["run_id"] for record in run.records}) == 1
    rounds = {(record["order"], record["round"]) for record in run.records}
    assert line(run, "records:") == f"records: run/records.jsonl ({len(rounds)} rounds)"


def test_the_peaks_are_in_every_record_and_printed(run: Finished) -> None:
    (plain,) = {json.dumps(record["env_peaks"]) for record in run.records}
    peaks = msgspec.convert(json.loads(plain), Peaks)
    assert peaks.fp32 is not None
    assert f"  fp32    {units.scaled(peaks.fp32, 'FLOP/s')}  " in run.out
    assert f"  memory  {units.scaled(peaks.bandwidths[-1][1], 'B/s')}  " in run.out
    shown_as_emulated = set(re.findall(r"^  (\w+) +emulated ", run.out, re.MULTILINE))
    assert shown_as_emulated == {units.format_name(name) for name, _ in peaks.emulated}
    assert (peaks.bf16 is None) == ("bf16" in shown_as_emulated)


def test_the_sentence_and_the_ratio_are_those_of_the_records(
    cases: list[list[Record]], run: Finished
) -> None:
    logs = np.log(np.array(medians(cases[1])) / np.array(medians(cases[0])))
    assert f"ratio of the two {math.exp(logs.mean()):.3f}, " in run.out
    assert re.match(
        r"With 2 rounds, differences of (more than )?[\d.,]+ % or more are detectable",
        line(run, "With 2"),
    )


def test_the_machine_s_setup_is_in_every_record(run: Finished) -> None:
    told = {
        "governor", "turbo", "thp", "clock_source", "clock_step", "clock_cost", "load_average",
        "numa_nodes", "sockets", "smt", "hypervisor", "on_battery", "memory_limit", "huge_pages",
    }  # fmt: skip
    for record in run.records:
        assert {f"env_{name}" for name in told} <= record.keys()
        assert record["env_clock_cost"] > 0


def test_each_finding_has_a_verdict_or_cannot_be_read(run: Finished) -> None:
    begin, end = "\nmachine\n", "\n\n"
    rows = run.out.partition(begin)[2].partition(end)[0].splitlines()
    assert len(rows) >= 15
    for row in rows:
        assert re.search(r"(fine|advice \d+|not available here) *$", row), row


def test_advice_that_is_pointed_at_is_given(run: Finished) -> None:
    numbers = {int(number) for number in re.findall(r"advice (\d+) *$", run.out, re.MULTILINE)}
    given = [int(number) for number in re.findall(r"^  (\d+)\. \S", run.out, re.MULTILINE)]
    assert given == list(range(1, len(given) + 1))
    assert numbers <= set(given)


def test_progress_goes_to_standard_error(run: Finished) -> None:
    assert measured(run.err) == 4
    assert "measuring" not in run.out


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The machine's peaks are known without measuring them; whether they were to be measured again."""
    asked: list[bool] = []

    def find_peaks(case: object, refresh: bool) -> Peaks:
        asked.append(refresh)
        return PEAKS

    monkeypatch.setattr(doctor_verb, "find_peaks", find_peaks)
    return asked


def write(folder: Path, records: Sequence[RoundRecord]) -> None:
    folder.mkdir()
    with Store(folder) as store:
        for record in records:
            store.append(record)


def test_a_run_that_was_cut_short_is_completed(
    run: Finished,
    known: list[bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before_that = read(run.folder / "run")
    kept = [record for record in before_that if record.turn < 3]
    lost = {(each.case.order, each.round) for each in before_that if each not in kept}
    write(tmp_path / "run", kept)
    plain = microbench("resume=run", cwd=tmp_path)
    assert "complete it with `microbench doctor resume=run`" in plain.complaint
    monkeypatch.chdir(tmp_path)
    assert doctor_verb.main(["resume=run"]) == 0
    assert known == [False]
    again = capsys.readouterr()
    assert measured(again.err) == 1
    records = read(tmp_path / "run")
    assert records[: len(kept)] == kept
    assert {(each.case.order, each.round) for each in records[len(kept) :]} == lost
    assert complete(records_in(tmp_path / "run")) == complete(run.records)
    assert "With 2 rounds" in again.out


def test_help_is_printed(tmp_path: Path) -> None:
    for flag in ("--help", "-h"):
        helped = microbench("doctor", flag, cwd=tmp_path)
        assert (helped.code, helped.err) == (0, "")
        assert "microbench doctor [option=value …]" in helped.out
        assert list(tmp_path.iterdir()) == []


MISTAKES: dict[str, tuple[str, ...]] = {
    "vgg16": ("Cannot read 'vgg16'", "model=vgg16", "microbench doctor -h"),
    "model=vgg61": ("Unknown model 'vgg61'. Did you mean vgg16",),
    "batchsize=8": ("Unknown option 'batchsize'. Did you mean batch_size?",),
    "measure.rounds=0": ("measure.rounds=0 is not possible",),
    "measure.rounds=1": ("measure.rounds=1 has no second process", "measure.rounds=2 or more"),
    "mode=layers": ("mode=layers measures many", "give mode=train, with model.part=NAME"),
    "mode=profile timing=false": ("timing=false measures none: leave it out",),
    "isolation=inline": ("isolation=inline",),
    "model=dense,relu": ("model=dense,relu names several values",),
    "-m model=dense,relu": ("doctor looks at one case: leave out -m",),
    "--foo": ("Unknown flag --foo",),
    "device=tpu": ("Unknown device 'tpu'",),
    "resume=nosuch": ("resume=nosuch: there is no such folder",),
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_answered_in_one_line(typed: str, tmp_path: Path) -> None:
    complaint = microbench("doctor", *typed.split(), cwd=tmp_path).complaint
    for words in MISTAKES[typed]:
        assert words in complaint
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_case_that_fails_leaves_the_peaks_and_exits_with_1(
    known: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("model=dense", "model.input_shape=[7]", "device=cpu", "hydra.run.dir=run")
    assert doctor_verb.main([*QUICK, ROUNDS, *options]) == 1
    assert known == [True]
    out = capsys.readouterr().out
    assert "too few rounds succeeded" in out
    assert re.search(r"error: .*The first call of dense failed", out)
    assert re.search(r"fp32 +100 GFLOP/s", out)


def test_peaks_that_cannot_be_measured_leave_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = list[Any]()
    monkeypatch.setattr(
        doctor_verb, "find_peaks", lambda case, refresh: Outcome(status=Status.OOM, error="it was killed")
    )
    monkeypatch.setattr("microbench.cli.session.carry_out", lambda plan, *rest: told.append(plan) or 0)
    assert doctor_verb.main([]) == 0
    assert capsys.readouterr().err == "microbench: the peaks could not be measured: it was killed\n"
    assert [each.peaks for each in told[0].cases] == [None, None]


def test_the_parent_imports_no_torch() -> None:

    script = "import sys, microbench.cli.doctor, microbench.tables.doctor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
