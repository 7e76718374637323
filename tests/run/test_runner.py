"""Measuring cases: the requests to workers, the records on disk, and the calls of the observer."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microbench import run as run_one
from microbench import sweep
from microbench.errors import StoppedError, UserError
from microbench.records.peaks import Peaks
from microbench.records.progress import Described, Fit, Place, Progress, Watch
from microbench.records.record import (
    Machine,
    Measured,
    Outcome,
    Role,
    RoundRecord,
    Series,
    Status,
    WarningCode,
)
from microbench.records.result import load
from microbench.run.case import Case
from microbench.run.patience import Patience
from microbench.run.pool import Pool
from microbench.run.protocol import Answer, Describe, Measure, Request, TryBatch
from microbench.run.workers import WorkerDiedError, WorkerTimeoutError
from microbench.system import cgroups, cpus, machine

from .support import CORES, OK, Act, Diary, Scripted, Take, Workers, cases, failed


def sampled(watch: Watch) -> None:
    """Report two times on a merged sampling."""
    for seconds in (0.25, 0.5):
        samples = {"inference": array("d", [seconds])}
        watch(Progress("sample", samples, "inference", clock="fake", calls_per_sample=4))


def samples_of(record: RoundRecord) -> dict[str, list[float]]:
    """Return a record's samples by phase."""
    return {each.phase: each.samples for each in record.series}


def times_out(watch: Watch) -> Measured:
    sampled(watch)
    raise WorkerTimeoutError


def dies_by(signal: int) -> Act:
    def act(watch: Watch) -> Measured:
        sampled(watch)
        raise WorkerDiedError(signal, "its last words")

    return act


def test_each_cases_records_are_on_disk_before_the_next_begins(take: Take, tmp_path: Path) -> None:
    on_disk: list[int] = []

    def act(watch: Watch) -> Measured:
        path = tmp_path / "run" / "records.jsonl"
        on_disk.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return OK

    result = take(cases(1, 2, 4), Workers([act] * 3))
    assert on_disk == [0, 1, 2]
    assert load(tmp_path / "run").records == result.records


def test_a_record_says_what_when_where_and_how_to_repeat_it(take: Take) -> None:
    (record,) = take(cases(2), Workers([lambda watch: OK])).records
    placed = cases(2)[0].at("cpu", CORES)
    assert (record.run.id, record.case.order, record.round) == ("the-run", 0, 0)
    assert record.case.id == placed.id
    assert record.machine.host_id == machine.host_id()
    assert record.started_at.endswith("+00:00")
    assert record.case.command == (
        "python -m microbench model=dense measure.rounds=1 batch_size=2 device=cpu threads=3"
    )
    assert (record.case.config.model.name, record.case.config.batch_size, record.case.config.threads) == (
        "dense",
        2,
        3,
    )
    assert record.case.config.model.args == [1024, 512]
    assert record.machine.cpu == "Some CPU"
    assert (record.outcome, record.series) == (OK.outcome, OK.series)


def test_the_worker_gets_the_case_with_its_threads(take: Take) -> None:
    workers = Workers([lambda watch: OK])
    take(cases(2), workers)
    describe, measure = workers.asked
    assert describe == Describe("cpu")
    assert isinstance(measure, Measure)
    assert (measure.config.device.name, measure.config.threads) == ("cpu", 3)


def test_the_observer_is_called_in_order(take: Take) -> None:
    def act(watch: Watch) -> Measured:
        watch(Progress("build"))
        return OK

    diary = Diary()
    take(cases(1, seed=(5, 6), timeout=7), Workers([act, act]), diary)
    assert diary.told == [
        ("begin", (1, ["seed=5"], 0, 2, 0, 1)),
        ("progress", "build"),
        ("end", ["inference"]),
        ("begin", (1, ["seed=6"], 1, 2, 0, 1)),
        ("progress", "build"),
        ("end", ["inference"]),
    ]


def test_a_case_that_takes_too_long_keeps_its_samples_and_the_next_one_runs(
    take: Take,
) -> None:
    result = take(cases(1, 2, timeout=7.5), Workers([times_out, lambda watch: OK]))
    late, fine = result.records
    assert (late.outcome.status, fine.outcome.status) == ("timeout", "ok")
    assert late.outcome.error == "took longer than timeout=7.5 (seconds); raise it"
    assert late.series == (Series("inference", "fake", [0.25, 0.5], [], 4, role=Role.WHOLE),)
    assert not result.ok


PATIENCE = Patience(budget=60.0, prepare=9.0, whole=15.0, best=0.01)


def given_up(take: Take, act: Act) -> tuple[RoundRecord, Workers]:
    """Return the record of a case that a search has this patience with, and its workers."""
    workers = Workers([act])
    (case,) = cases(1)
    (record,) = take([replace(case, patience=PATIENCE)], workers).records
    return record, workers


def test_a_case_certain_to_lose_a_search_is_given_up_and_keeps_its_samples(take: Take) -> None:
    def act(watch: Watch) -> Measured:
        sampled(watch)
        raise AssertionError("it was measured on")

    record, _ = given_up(take, act)
    assert (record.outcome.status, samples_of(record)) == ("given_up", {"inference": [0.25]})
    assert record.outcome.error == "its only sample took 25.0 times as long as the fastest so far"


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("prepare", "preparing it took longer than the 9 s that experiment.budget=60 allows"),
        (None, "a round of it took longer than the 15 s that experiment.budget=60 allows"),
    ],
)
def test_a_case_that_takes_too_much_of_a_searchs_budget_is_given_up(
    stage: str | None, error: str, take: Take
) -> None:
    def act(watch: Watch) -> Measured:
        raise WorkerTimeoutError(stage)

    record, workers = given_up(take, act)
    assert (record.outcome.status, record.outcome.error) == ("given_up", error)
    assert workers.timeouts[-1] == PATIENCE.whole
    (measure,) = [request for request in workers.asked if isinstance(request, Measure)]
    assert measure.limits == {"prepare": PATIENCE.prepare}


def test_a_case_given_up_during_its_check_keeps_all_that_it_measured(take: Take) -> None:
    def act(watch: Watch) -> Measured:
        watch(Progress("verify", measured=OK))
        raise WorkerTimeoutError

    record, _ = given_up(take, act)
    assert (record.outcome.status, record.series) == ("given_up", OK.series)


@pytest.mark.parametrize(("kills", "status"), [(5, "error"), (6, "oom")])
def test_a_worker_that_the_kernel_killed_for_memory_is_out_of_memory(
    kills: int, status: str, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([5, kills])
    monkeypatch.setattr(cgroups, "oom_kills", lambda: next(counts))
    (record,) = take(cases(1), Workers([dies_by(9)])).records
    assert record.outcome.status == status
    assert record.outcome.error.startswith("the worker was killed by SIGKILL")
    assert record.outcome.traceback == "its last words"
    assert samples_of(record) == {"inference": [0.25, 0.5]}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            WorkerDiedError(9, ""),
            "the worker was killed by SIGKILL; the kernel sends it when memory runs out",
        ),
        (WorkerTimeoutError(), "took longer than timeout=1800 (seconds)"),
    ],
)
def test_a_worker_that_ends_during_the_check_keeps_all_that_it_measured(
    error: Exception, told: str, take: Take
) -> None:
    def act(watch: Watch) -> Measured:
        sampled(watch)
        watch(Progress("verify", measured=OK))
        raise error

    result = take(cases(1), Workers([act]))
    (record,) = result.records
    assert (record.outcome.status, record.outcome.error, record.outcome.check.answer) == ("ok", None, None)
    assert record.series == OK.series
    (warning,) = record.outcome.warnings
    assert warning.code is WarningCode.UNVERIFIED
    assert warning.message.startswith(f"Checking the answer failed: {told}")
    assert result.ok


def test_a_worker_that_dies_before_it_samples_is_a_record_too(take: Take) -> None:
    def act(watch: Watch) -> Measured:
        raise WorkerDiedError(3 << 8, "")

    (record,) = take(cases(1), Workers([act])).records
    assert (record.outcome.status, record.series, record.outcome.traceback) == ("error", (), None)
    assert record.outcome.error == "the worker exited with code 3 before it answered"


def test_a_failed_import_of_a_worker_is_the_cases_error(take: Take) -> None:
    class Broken(Workers):
        def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
            if isinstance(request, Describe):
                return self.place
            return Answer(error=StoppedError("Cannot import what a worker needs: no torch."))

    (record,) = take(cases(1), Broken([])).records
    assert (record.outcome.status, record.outcome.error) == (
        "error",
        "Cannot import what a worker needs: no torch.",
    )


def test_one_off_phases_of_a_worker_that_dies_are_kept_apart_from_samples(take: Take) -> None:
    def act(watch: Watch) -> Measured:
        watch(Progress("warmup", samples={"first_call": array("d", [2.0])}, clock="fake"))
        sampled(watch)
        raise WorkerDiedError(9, "")

    (record,) = take(cases(1), Workers([act])).records
    assert samples_of(record) == {"first_call": [2.0], "inference": [0.25, 0.5]}
    assert [each.role for each in record.series] == [Role.ONCE, Role.WHOLE]
    assert record.outcome.status == "error"


def test_samples_of_one_case_do_not_get_into_the_next(take: Take) -> None:
    records = take(cases(1, 2), Workers([times_out, lambda watch: failed()])).records
    assert [samples_of(record) for record in records] == [{"inference": [0.25, 0.5]}, {}]


def test_peaks_that_were_measured_before_the_run_are_in_its_records(take: Take) -> None:
    (case,) = cases(1)
    peaks = Peaks(fp32=1e9, bf16=None, fp32_by="conv", bf16_by="", bandwidths=((1, 1e9),), call_seconds=1e-6)
    (record,) = take([replace(case, peaks=peaks)], Scripted()).records
    assert record.outcome.peaks == peaks


def interrupted(take: Take, folder: Path, *reports: Progress) -> RoundRecord:
    """Interrupt a run after some reports of its first round; return the round's record."""

    def act(watch: Watch) -> Measured:
        for each in reports:
            watch(each)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(cases(1, 2), Workers([act]))
    (record,) = load(folder / "run").records
    assert record.outcome.status == "interrupted"
    return record


def test_an_interrupt_stores_what_was_measured_and_is_raised(take: Take, tmp_path: Path) -> None:
    first_call = Progress("warmup", samples={"first_call": array("d", [2.0])}, clock="fake")
    sampled = Progress("sample", {"inference": array("d", [0.25, 0.5])}, "inference", clock="fake")
    record = interrupted(take, tmp_path, first_call, sampled)
    assert record.outcome.error == "Ctrl-C after 2 samples"
    assert samples_of(record) == {"first_call": [2.0], "inference": [0.25, 0.5]}
    assert [each.summary.median for each in record.series if each.summary is not None] == [2.0, 0.375]


def test_an_interrupt_during_the_warm_up_stores_the_numbers_that_were_shown(
    take: Take, tmp_path: Path
) -> None:
    shown = Progress("sample", whole="total", n=1, medians={"forward": 1.0, "total": 2.0})
    record = interrupted(take, tmp_path, shown)
    assert record.outcome.error == "Ctrl-C after 1 sample"
    assert [(each.phase, each.role, each.samples) for each in record.series] == [
        ("forward", Role.PART, [1.0]),
        ("total", Role.WHOLE, [2.0]),
    ]


def test_an_interrupted_round_knows_how_many_items_its_calls_have(take: Take, tmp_path: Path) -> None:
    built = Progress("prepare", built=Outcome(inputs="2x8", item="tokens", items=16))
    shown = Progress("sample", whole="inference", n=1, medians={"inference": 1.0})
    record = interrupted(take, tmp_path, built, shown)
    assert (record.items, record.outcome.item, record.outcome.inputs) == (16, "tokens", "2x8")
    (case,) = load(tmp_path / "run").cases()
    assert case.throughput(case.preliminary["inference"]) == 16


def test_samples_replace_the_numbers_of_the_warm_up(take: Take, tmp_path: Path) -> None:
    shown = Progress("sample", whole="inference", n=1, medians={"inference": 1.0})
    sampled = Progress("sample", {"inference": array("d", [0.25])}, "inference", medians={"inference": 0.25})
    assert samples_of(interrupted(take, tmp_path, shown, sampled)) == {"inference": [0.25]}


def test_an_interrupt_before_the_first_sample_stores_the_round_too(take: Take, tmp_path: Path) -> None:
    record = interrupted(take, tmp_path, Progress("build"))
    assert (record.outcome.error, record.series) == ("Ctrl-C before the first sample", ())


def test_an_interrupt_during_the_check_stores_all_that_was_measured(take: Take, tmp_path: Path) -> None:
    record = interrupted(take, tmp_path, Progress("verify", measured=OK))
    assert record.series == OK.series


def test_the_machines_capabilities_are_requested_with_the_variables_of_each_case(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_place(pool: Pool, case: Case, engines: Sequence[str]) -> Place:
        return Place("cpu", Machine(cpu_limits=case.config.env_set["LIMIT"]))

    monkeypatch.setattr(Pool, "find_place", find_place)
    records = take(cases(1, **{"env_set.LIMIT": ["SSE41", "AVX2"]}), Scripted()).records
    assert [record.machine.cpu_limits for record in records] == ["SSE41", "AVX2"]


def test_a_record_has_the_thread_variables_of_its_case(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    planned = cases(1, **{"env_set.OMP_PROC_BIND": ["close", "spread"]})
    records = take(planned, Scripted()).records
    assert [record.machine.omp_proc_bind for record in records] == ["close", "spread"]
    assert {record.machine.omp_num_threads for record in records} == {"5"}


def test_an_unusable_device_is_reported_before_anything_is_measured(take: Take, tmp_path: Path) -> None:
    workers = Workers([], place=Answer(error=UserError("device=cuda cannot be used here: no GPU.")))
    with pytest.raises(UserError, match=r"^device=cuda cannot be used here: no GPU\.$"):
        take(cases(1), workers)
    assert not (tmp_path / "run").exists()


def test_each_device_is_described_once(take: Take) -> None:
    workers = Workers([lambda watch: OK] * 3)
    take(cases(1, 2, 4), workers)
    assert [request for request in workers.asked if isinstance(request, Describe)] == [Describe("cpu")]


def test_auto_is_resolved_for_each_engine_and_in_one_request(take: Take) -> None:
    cpu = Described("cpu", {"cpu_capability": "AVX2"})
    gpu = Described("cuda", {"gpu": "Some GPU"}, by_engine={"openvino": cpu})
    workers = Workers([lambda watch: OK] * 4, place=Answer(gpu))
    planned = cases(1, 2, device="auto", engine=["eager", "openvino"])
    records = take(planned, workers).records
    assert {(each.case.config.engine.name, each.case.config.device.name) for each in records} == {
        ("eager", "cuda"),
        ("openvino", "cpu"),
    }
    for each in records:
        on_cpu = each.case.config.device.name == "cpu"
        assert (each.machine.gpu, each.machine.cpu_capability) == (
            (None, "AVX2") if on_cpu else ("Some GPU", None)
        )
        assert f"device={each.case.config.device.name}" in each.case.command
    asked = [request for request in workers.asked if isinstance(request, Describe)]
    assert asked == [Describe("auto", ("eager", "openvino"))]


@pytest.mark.parametrize(
    "options", [{}, {"mode": "layers"}, {"batch_size": ["max"]}], ids=["a case", "layers", "max"]
)
def test_an_engine_whose_device_lacks_an_option_is_skipped_if_others_have_it(
    options: dict[str, Any], take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Described("cuda", {"gpu": "Some GPU"}, by_engine={"openvino": Described("cpu", {})})

    def found(pool: Pool, case: Case, request: Request) -> Any:
        assert case.config.engine.name == "eager"
        return Fit(Outcome(), 10 * request.config.batch_size, 15) if isinstance(request, TryBatch) else ()

    monkeypatch.setattr(Pool, "find", found)
    given = {"device": "auto", "device.cuda_graph": True, "engine": ["eager", "openvino"], **options}
    eager, openvino = take(cases(1, **given), Workers([lambda watch: OK], place=Answer(gpu))).records
    assert (eager.case.config.engine.name, eager.outcome.status) == ("eager", Status.OK)
    assert openvino.outcome.status is Status.SKIPPED
    assert openvino.outcome.error == (
        "device.cuda_graph=true is an option of device=cuda; device=cpu does not have it."
    )


def test_a_gpu_that_auto_passes_over_is_mentioned_once(take: Take) -> None:
    why = "device=auto takes device=cpu: device=cuda cannot be used here (busy)."
    workers = Workers([lambda watch: OK] * 2, place=Answer(Described("cpu", {}, notes=(why,))))
    diary = Diary()
    take(cases(1, device="auto", **{"env_set.X": ["1", "2"]}), workers, diary)
    assert [each for each in diary.told if each[0] == "say"] == [("say", why)]


QUICK: dict[str, Any] = {
    "model": "layer",
    "model.cls": "torch.nn.Linear",
    "model.args": [4, 3],
    "model.input_shape": [4],
    "device": "cpu",
    "isolation": "inline",
    "measure": {"rounds": 1, "min_time": 0, "max_samples": 6, "max_warmup": 0},
}


def test_the_api_measures_one_case_and_its_records_are_those_on_disk(tmp_path: Path) -> None:
    result = run_one(folder=tmp_path, **QUICK)
    assert result.ok
    assert result.path == tmp_path / "records.jsonl"
    assert result.median("inference") > 0
    (record, *_) = load(tmp_path).records
    assert [each.summary.median for each in record.series if each.phase == "inference" and each.summary] == [
        result.median("inference")
    ]
    assert record.case.config.threads == cpus.physical_cores()


def test_the_api_sweeps_and_a_failed_case_raises_nothing(tmp_path: Path) -> None:
    result = sweep(folder=tmp_path, **QUICK | {"model.args": [[4, 3]], "model.input_shape": [[4], [5]]})
    good, bad = result.cases()
    assert (good.status, bad.status) == ("ok", "error")
    assert not result.ok
    assert "check model.input_shape" in bad.first.outcome.error


def test_the_api_writes_to_a_folder_of_the_run_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_one(**QUICK)
    assert result.path == Path("outputs") / result.records[0].run.id / "records.jsonl"
    assert result.path.is_file()


def test_threads_that_openmp_binds_do_not_hide_the_other_cores(tmp_path: Path) -> None:
    """libgomp binds the first thread of a process that it is loaded into to one CPU."""
    script = (
        "import microbench, sys; from microbench.system.cpus import physical_cores\n"
        "cores = physical_cores()\n"
        "result = microbench.run(model='relu', folder=sys.argv[1], "
        "measure={'rounds': 1, 'max_time': 0.01, 'min_time': 0, 'max_warmup': 0})\n"
        "record = result.records[0]\n"
        "assert (record.case.config.threads, record.machine.physical_cores) == (cores, cores), record\n"
    )
    environment = {**os.environ, "OMP_PROC_BIND": "true"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=True, env=environment)


@pytest.mark.parametrize(("option", "value"), [("device.sync", "step"), ("device.cuda_graph", "true")])
def test_an_option_of_another_device_than_there_is_is_one_line_before_anything_is_measured(
    option: str, value: str, take: Take, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        take(cases(1, device="auto", **{option: {"true": True}.get(value, value)}), Scripted())
    assert str(caught.value) == (
        f"{option}={value} is an option of device=cuda; device=cpu does not have it."
    )
    assert not (tmp_path / "run").exists()
