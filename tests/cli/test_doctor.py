"""`microbench doctor`: its report, and the records that it rests on."""

from __future__ import annotations

import json
import math
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .support import QUICK, Finished, Record, by_case, complete, measured, microbench, records_in

ROUNDS = "measure.rounds=2"
PEAKS = {2: "matmul fp32", 3: "matmul bf16", 4: "copy fp32"}


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
    """The medians of a case's rounds, in the order of the rounds."""
    found = {record["round"]: record["median"] for record in case if record["phase"] == "inference"}
    return [found[number] for number in sorted(found)]


def line(run: Finished, start: str) -> str:
    return next(each.strip() for each in run.out.splitlines() if each.strip().startswith(start))


def test_the_same_case_is_measured_twice_and_interleaved(cases: list[list[Record]]) -> None:
    first, second = cases[0][0], cases[1][0]
    assert first["case_id"] == second["case_id"]
    assert first["config"] == second["config"]
    assert (first["cfg_model"], first["cfg_mode"], first["cfg_batch_size"]) == ("dense", "infer", 1)
    assert (first["order"], second["order"]) == (0, 1)
    turns = {record["turn"]: record["round"] for case in cases for record in case}
    assert [turns[turn] for turn in sorted(turns)] == [0] * 5 + [1] * 5


def test_every_round_is_in_the_records(cases: list[list[Record]], run: Finished) -> None:
    assert complete(run.records) == [(order, number) for order in range(5) for number in range(2)]
    assert {record["schedule"] for record in run.records} == {"interleaved"}
    assert len({record["run_id"] for record in run.records}) == 1
    assert line(run, "records:") == f"records: run/records.jsonl ({len(run.records)} series)"


def test_the_peaks_are_of_products_and_of_a_copy_on_the_threads_of_the_run(cases: list[list[Record]]) -> None:
    fp32, bf16, copy = (case[0] for case in cases[2:])
    for record, dtype in ((fp32, "float32"), (bf16, "bfloat16")):
        assert record["config"]["model"]["cls"] == "torch.matmul"
        assert record["config"]["model"]["input_dtype"] == dtype
        assert record["config"]["model"]["input_shape"] == [2048, 2048]
    assert copy["config"]["model"]["cls"] == "torch.Tensor.copy_"
    assert math.prod(copy["config"]["model"]["input_shape"]) * 4 >= 16 * 2**20
    for record in (fp32, bf16, copy):
        assert (record["env_threads"], record["cfg_mode"], record["cfg_batch_size"]) == (1, "infer", 1)


def test_a_copy_faults_no_pages_and_what_products_free_is_kept(cases: list[list[Record]]) -> None:
    """A buffer of a copy lies in more than 4096 pages."""
    faults = [each["page_faults_per_call"] for each in cases[4] if each["phase"] == "inference"]
    assert max(faults) < 400
    for case in cases[2:]:
        assert case[0]["env_allocator"].endswith(", tuned") == (platform.libc_ver()[0] == "glibc")


@pytest.mark.parametrize("order", PEAKS)
def test_a_printed_peak_is_the_work_over_the_median_of_the_records(
    order: int, cases: list[list[Record]], run: Finished
) -> None:
    case = cases[order]
    shape = case[0]["config"]["model"]["input_shape"]
    work = 2 * math.prod(shape) * 4 if order == 4 else 2 * shape[0] ** 3
    expected = work / np.median(medians(case)) / 1e9
    found = re.search(rf"^  {PEAKS[order]} +([\d.,]+) G(FLOP|B)/s ", run.out, re.MULTILINE)
    assert found is not None
    assert found[2] == ("B" if order == 4 else "FLOP")
    assert float(found[1].replace(",", "")) == pytest.approx(
        expected, rel=0.4
    )  # few digits of a wide interval


def test_the_sentence_and_the_ratio_are_those_of_the_records(
    cases: list[list[Record]], run: Finished
) -> None:
    logs = np.log(np.array(medians(cases[1])) / np.array(medians(cases[0])))
    assert f"ratio of the two {math.exp(logs.mean()):.3f}, " in run.out
    assert re.match(
        r"With 2 rounds this machine tells a difference of (more than )?[\d.,]+ % or more apart",
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
        assert re.search(r"(fine|advice \d+|not readable here) *$", row), row


def test_advice_that_is_pointed_at_is_given(run: Finished) -> None:
    numbers = {int(number) for number in re.findall(r"advice (\d+) *$", run.out, re.MULTILINE)}
    given = [int(number) for number in re.findall(r"^  (\d+)\. \S", run.out, re.MULTILINE)]
    assert given == list(range(1, len(given) + 1))
    assert numbers <= set(given)


def test_the_commands_in_the_records_measure_a_peak_again(cases: list[list[Record]], tmp_path: Path) -> None:
    command = shlex.split(cases[4][0]["command"])
    again = microbench(*command[3:], "measure.rounds=1", "hydra.run.dir=run", cwd=tmp_path)
    assert again.code == 0, again
    assert again.records[0]["case_id"] == cases[4][0]["case_id"]


def test_progress_goes_to_standard_error(run: Finished) -> None:
    assert measured(run.err) == 10
    assert "measuring" not in run.out


def test_a_run_that_was_cut_short_is_completed(run: Finished, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    kept = [record for record in run.records if record["turn"] < 9]
    lost = {(record["order"], record["round"]) for record in run.records} - {
        (record["order"], record["round"]) for record in kept
    }
    text = "".join(json.dumps(record) + "\n" for record in kept)
    (tmp_path / "run" / "records.jsonl").write_text(text)
    plain = microbench("resume=run", cwd=tmp_path)
    assert "complete it with `microbench doctor resume=run`" in plain.complaint
    again = microbench("doctor", "resume=run", cwd=tmp_path)
    assert again.code == 0, again
    assert measured(again.err) == 1
    records = records_in(tmp_path / "run")
    assert records[: len(kept)] == kept
    assert {(record["order"], record["round"]) for record in records[len(kept) :]} == lost
    assert complete(records) == complete(run.records)
    assert line(again, "With 2 rounds")


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
    "mode=layers": ("mode=layers stands for many", "give mode=train, with model.part=NAME"),
    "mode=profile timing=false": ("timing=false takes none: leave it out",),
    "measure=quick": ("measure.rounds=1 has no second process",),
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


def test_a_case_that_fails_leaves_the_peaks_and_exits_with_1(tmp_path: Path) -> None:
    broken = doctor("model=dense", "model.input_shape=[7]", "device=cpu", cwd=tmp_path)
    assert broken.code == 1
    assert "too few rounds ended well" in broken.out
    assert re.search(r"error: .*The first call of dense failed", broken.out)
    assert re.search(r"matmul fp32 +[\d.,]+ GFLOP/s", broken.out)


def test_the_parent_imports_no_torch() -> None:

    script = "import sys, microbench.verbs.doctor, microbench.reports.doctor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
