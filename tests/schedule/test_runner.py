from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from microbench import run as run_one
from microbench import sweep
from microbench.compose import from_options
from microbench.errors import UserError
from microbench.measure.summary import summarize
from microbench.metrics import machine
from microbench.results.record import Outcome, Place, Progress, Series, Status, Watch
from microbench.results.result import Record, Result, load
from microbench.results.store import Store
from microbench.schedule import runner
from microbench.schedule.cases import Case
from microbench.schedule.child import Answer, Describe, Measure, Request
from microbench.schedule.workers import WorkerDiedError, WorkerTimeoutError

PLACE = Place("cpu", threads=3, environment={"cpu": "Some CPU"})
SAMPLES = array("d", [0.25, 0.5])
OK = Outcome(series=(Series("inference", "fake", SAMPLES, summary=summarize(SAMPLES)),), cost={"params": 1})
Act = Callable[[Watch], Outcome]


@dataclass
class Workers:
    """Answers each case with what the test has written down for it."""

    acts: list[Act]
    place: Answer = field(default_factory=lambda: Answer(PLACE))
    asked: list[Request] = field(default_factory=list)

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        self.asked.append(request)
        if isinstance(request, Describe):
            return self.place
        return Answer(self.acts.pop(0)(watch))

    def close(self) -> None:
        pass


class Diary:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def begin(self, axes: Mapping[str, Any], settings: Sequence[str], order: int, total: int) -> None:
        self.told.append(("begin", (axes["batch_size"], list(settings), order, total)))

    def progress(self, progress: Progress) -> None:
        self.told.append(("progress", progress.stage))

    def end(self, records: Sequence[Record]) -> None:
        self.told.append(("end", [record["phase"] for record in records]))


def cases(*batches: int, **options: Any) -> list[Case]:
    options = {"model": "dense", "device": "cpu", "batch_size": batches} | options
    return from_options(options, sweep=True)


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs cases with these workers into a store in a folder of its own."""

    def run(planned: Sequence[Case], workers: Workers, observer: Any = None) -> Result:
        monkeypatch.setattr(runner.Pool, "of", lambda self, case: workers)
        with Store(tmp_path / "run") as store:
            return runner.run(planned, store, observer or Diary(), "the-run")

    return run


def sampled(watch: Watch) -> None:
    """Report two times on a merged sampling."""
    for seconds in (0.25, 0.5):
        samples = {"inference": array("d", [seconds])}
        watch(Progress("sample", samples=samples, clock="fake", calls_per_sample=4))


def times_out(watch: Watch) -> Outcome:
    sampled(watch)
    raise WorkerTimeoutError


def dies_by(signal: int) -> Act:
    def act(watch: Watch) -> Outcome:
        sampled(watch)
        raise WorkerDiedError(signal, "its last words")

    return act


def test_each_cases_records_are_on_disk_before_the_next_begins(
    take: Callable[..., Result], tmp_path: Path
) -> None:
    on_disk: list[int] = []

    def act(watch: Watch) -> Outcome:
        path = tmp_path / "run" / "records.jsonl"
        on_disk.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return OK

    result = take(cases(1, 2, 4), Workers([act] * 3))
    assert on_disk == [0, 1, 2]
    assert load(tmp_path / "run").records == [
        record | {"samples": list(record["samples"]), "warmup": []} for record in result.records
    ]


def test_a_record_says_who_when_where_and_how_to_do_it_again(take: Callable[..., Result]) -> None:
    (record,) = take(cases(2), Workers([lambda watch: OK])).records
    placed = cases(2)[0].at("cpu", PLACE.threads)
    assert (record["run_id"], record["order"], record["round"]) == ("the-run", 0, 0)
    assert record["case_id"] == placed.id
    assert record["host_id"] == machine.host_id()
    assert record["started_at"].endswith("+00:00")
    assert record["command"] == "python -m microbench model=dense batch_size=2 device=cpu threads=3"
    assert (record["cfg_model"], record["cfg_batch_size"], record["cfg_threads"]) == ("dense", 2, 3)
    assert record["config"]["model"]["args"] == [1024, 512]
    assert record["env_cpu"] == "Some CPU"
    assert (record["status"], record["phase"], record["median"]) == ("ok", "inference", 0.375)


def test_the_worker_gets_the_case_with_its_threads(take: Callable[..., Result]) -> None:
    workers = Workers([lambda watch: OK])
    take(cases(2), workers)
    describe, measure = workers.asked
    assert describe == Describe("cpu")
    assert isinstance(measure, Measure)
    assert (measure.config.device.name, measure.config.threads) == ("cpu", 3)


def test_the_observer_is_told_in_order(take: Callable[..., Result]) -> None:
    def act(watch: Watch) -> Outcome:
        watch(Progress("build"))
        return OK

    diary = Diary()
    take(cases(1, seed=(5, 6), timeout=7), Workers([act, act]), diary)
    assert diary.told == [
        ("begin", (1, ["seed=5"], 0, 2)),
        ("progress", "build"),
        ("end", ["inference"]),
        ("begin", (1, ["seed=6"], 1, 2)),
        ("progress", "build"),
        ("end", ["inference"]),
    ]


def test_a_case_that_takes_too_long_keeps_its_samples_and_the_next_one_runs(
    take: Callable[..., Result],
) -> None:
    result = take(cases(1, 2, timeout=7.5), Workers([times_out, lambda watch: OK]))
    late, fine = result.records
    assert (late["status"], fine["status"]) == ("timeout", "ok")
    assert late["error"] == "took longer than timeout=7.5 (seconds); raise it"
    assert (late["phase"], late["clock"], late["calls_per_sample"]) == ("inference", "fake", 4)
    assert list(late["samples"]) == [0.25, 0.5]
    assert late["median"] is None
    assert not result.ok


@pytest.mark.parametrize(("kills", "status"), [(5, "error"), (6, "oom")])
def test_a_worker_the_kernel_killed_for_memory_is_out_of_memory(
    kills: int, status: str, take: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([5, kills])
    monkeypatch.setattr(machine, "oom_kills", lambda: next(counts))
    (record,) = take(cases(1), Workers([dies_by(9)])).records
    assert record["status"] == status
    assert record["error"].startswith("the worker was killed by SIGKILL")
    assert record["traceback"] == "its last words"
    assert list(record["samples"]) == [0.25, 0.5]


def test_a_worker_that_dies_before_it_samples_is_a_record_too(take: Callable[..., Result]) -> None:
    def act(watch: Watch) -> Outcome:
        raise WorkerDiedError(3 << 8, "")

    (record,) = take(cases(1), Workers([act])).records
    assert (record["status"], record["phase"], record["traceback"]) == ("error", None, None)
    assert record["error"] == "the worker exited with code 3 before it answered"


def test_what_a_worker_cannot_import_is_the_cases_error(take: Callable[..., Result]) -> None:
    class Broken(Workers):
        def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
            if isinstance(request, Describe):
                return self.place
            return Answer(user_error="Cannot import what a worker needs: no torch.")

    (record,) = take(cases(1), Broken([])).records
    assert (record["status"], record["error"]) == ("error", "Cannot import what a worker needs: no torch.")


def test_samples_of_one_case_do_not_get_into_the_next(take: Callable[..., Result]) -> None:
    failed = Outcome(Status.ERROR, error="no")
    records = take(cases(1, 2), Workers([times_out, lambda watch: failed])).records
    assert [(record["phase"], len(record["samples"])) for record in records] == [("inference", 2), (None, 0)]


def test_an_interrupt_stores_what_was_measured_and_goes_on_up(
    take: Callable[..., Result], tmp_path: Path
) -> None:
    def act(watch: Watch) -> Outcome:
        sampled(watch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(cases(1, 2), Workers([act]))
    (record,) = load(tmp_path / "run").records
    assert (record["status"], record["error"]) == ("error", "interrupted by the user (Ctrl-C)")
    assert record["samples"] == [0.25, 0.5]


def test_a_device_that_cannot_be_used_is_told_before_anything_is_measured(
    take: Callable[..., Result], tmp_path: Path
) -> None:
    workers = Workers([], place=Answer(user_error="device=cuda cannot be used here: no GPU."))
    with pytest.raises(UserError, match=r"^device=cuda cannot be used here: no GPU\.$"):
        take(cases(1), workers)
    assert not (tmp_path / "run").exists()


def test_each_device_is_described_once(take: Callable[..., Result]) -> None:
    workers = Workers([lambda watch: OK] * 3)
    take(cases(1, 2, 4), workers)
    assert [request for request in workers.asked if isinstance(request, Describe)] == [Describe("cpu")]


def test_preloads_are_what_a_case_needs() -> None:
    (layer,) = cases(1)
    (model,) = from_options({"model": "vgg16", "mode": "train"}, sweep=False)
    assert runner.preloads(layer) == [
        "microbench.worker",
        "microbench.workloads.layer",
        "microbench.engines.eager",
        "microbench.modes.infer",
    ]
    assert set(runner.preloads(model)) == {
        "microbench.worker",
        "microbench.workloads.torchvision",
        "microbench.engines.eager",
        "microbench.modes.train",
    }


def case_of(**options: Any) -> Case:
    (case,) = from_options({"model": "dense", "device": "cpu"} | options, sweep=False)
    return case


@pytest.mark.parametrize("isolation", ["fork", "spawn", "inline"])
@pytest.mark.parametrize(
    "options", [{"batch_size": 3}, {"model": "conv1x1"}, {"threads": 2, "seed": 5, "timeout": 1.0}]
)
def test_cases_that_need_the_same_modules_share_workers(options: dict[str, Any], isolation: str) -> None:
    pool = runner.Pool()
    workers = pool.of(case_of(isolation=isolation))
    assert pool.of(case_of(isolation=isolation, **options)) is workers
    assert runner.Pool().of(case_of(isolation=isolation)) is not workers


@pytest.mark.parametrize("options", [{"model": "vgg16"}, {"mode": "train"}, {"isolation": "spawn"}])
def test_cases_that_need_other_modules_or_isolation_have_workers_of_their_own(
    options: dict[str, Any],
) -> None:
    pool = runner.Pool()
    workers = pool.of(case_of())
    assert pool.of(case_of(**options)) is not workers
    assert pool.of(case_of()) is workers  # whatever came between


def test_the_workers_of_a_case_are_of_its_isolation_and_import_its_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[str, list[str]]] = []
    for kind in ("Forked", "Spawned"):

        def start(modules: Sequence[str], kind: str = kind) -> Workers:
            started.append((kind, list(modules)))
            return Workers([])

        monkeypatch.setattr(runner, kind, start)
    planned = [case_of(), case_of(isolation="spawn", mode="train"), case_of(batch_size=3)]
    pool = runner.Pool()
    for case in planned:
        pool.of(case)
    assert started == [("Forked", runner.preloads(planned[0])), ("Spawned", runner.preloads(planned[1]))]
    assert isinstance(pool.of(case_of(isolation="inline")), runner.Inline)
    assert len(started) == 2


def test_closing_a_pool_closes_all_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Sequence[str]] = []

    class Closing(Workers):
        def close(self) -> None:
            closed.append(self.modules)

        modules: Sequence[str] = ()

    def start(modules: Sequence[str]) -> Closing:
        workers = Closing([])
        workers.modules = modules
        return workers

    monkeypatch.setattr(runner, "Forked", start)
    pool = runner.Pool()
    planned = [case_of(), case_of(mode="train"), case_of(batch_size=3)]
    for case in planned:
        pool.of(case)
    pool.close()
    assert closed == [runner.preloads(case) for case in planned[:2]]


QUICK: dict[str, Any] = {
    "model": "layer",
    "model.cls": "torch.nn.Linear",
    "model.args": [4, 3],
    "model.input_shape": [4],
    "device": "cpu",
    "isolation": "inline",
    "measure": {"min_time": 0, "max_samples": 6, "max_warmup": 0},
}


def test_the_api_measures_one_case_and_its_records_are_those_on_disk(tmp_path: Path) -> None:
    result = run_one(folder=tmp_path, **QUICK)
    assert result.ok
    assert result.path == tmp_path / "records.jsonl"
    assert result.median("inference") > 0
    (record, *_) = load(tmp_path).records
    assert record["median"] == result.median("inference")
    assert record["cfg_threads"] == machine.physical_cores()


def test_the_api_sweeps_and_a_failed_case_raises_nothing(tmp_path: Path) -> None:
    result = sweep(folder=tmp_path, **QUICK | {"model.args": [[4, 3]], "model.input_shape": [[4], [5]]})
    assert [case[0]["status"] for case in result.cases()] == ["ok", "error"]
    assert not result.ok
    assert "check model.input_shape" in result.cases()[1][0]["error"]


def test_the_api_writes_to_a_folder_of_the_run_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_one(**QUICK)
    assert result.path == Path("outputs") / result.records[0]["run_id"] / "records.jsonl"
    assert result.path.is_file()
