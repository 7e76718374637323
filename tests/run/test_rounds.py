"""The rounds of a run: their order, their processes, and their failures."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from microbench.host import allocator
from microbench.records.progress import Watch
from microbench.records.record import Measured, Outcome, Process, RoundRecord, Status
from microbench.records.result import load
from microbench.records.store import Store
from microbench.run import pool, runner
from microbench.run.protocol import Answer, Request
from microbench.run.signals import EndedError, raised

from .support import OK, Diary, Scripted, Take, Workers, cases, failed


def interleaved(*batches: int, rounds: int = 3, **options: Any) -> list[Any]:
    return cases(*batches, **{"schedule": "interleaved", "measure.rounds": rounds} | options)


def test_every_case_has_each_round_before_any_has_the_next(take: Take) -> None:
    workers = Scripted()
    result = take(interleaved(1, 2, 4), workers)
    assert [sorted(workers.asked[start : start + 3]) for start in (0, 3, 6)] == [[1, 2, 4]] * 3
    assert [record.round for record in result.records] == [0] * 3 + [1] * 3 + [2] * 3
    assert [list(case.rounds) for case in result.cases()] == [[0, 1, 2]] * 3
    assert [case.config.batch_size for case in result.cases()] == [1, 2, 4]


def test_a_sequential_run_measures_all_rounds_of_a_case_before_the_next(take: Take) -> None:
    workers = Scripted()
    result = take(interleaved(1, 2, rounds=2, schedule="sequential"), workers)
    assert workers.asked == [1, 1, 2, 2]
    assert {record.run.schedule for record in result.records} == {"sequential"}


def test_records_have_their_turn_and_the_orders_seed(take: Take) -> None:
    workers = Scripted()
    records = take(interleaved(1, 2, schedule_seed=7), workers, command_line="python -m microbench …").records
    assert [record.turn for record in records] == list(range(6))
    assert [record.case.config.batch_size for record in records] == workers.asked
    for record in records:
        assert (record.run.schedule, record.run.schedule_seed) == ("interleaved", 7)
        assert record.run.command_line == "python -m microbench …"


def test_the_same_seed_gives_the_same_order_and_is_drawn_if_none_is_given(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = (1, 2, 3, 4, 5, 6)
    drawn = Scripted()
    records = take(interleaved(*batches), drawn).records
    (seed,) = {record.run.schedule_seed for record in records}
    assert 0 <= seed < 2**32
    again = Scripted()
    take(interleaved(*batches, schedule_seed=seed), again)
    assert again.asked == drawn.asked
    others = []
    for draw in (1, 2, 3):
        monkeypatch.setattr(runner.secrets, "randbelow", lambda most, draw=draw: draw)
        other = Scripted()
        assert {each.run.schedule_seed for each in take(interleaved(*batches), other).records} == {draw}
        others.append(other.asked)
    assert others[0] != others[1] != others[2]


def test_the_observer_gets_the_turn_and_the_round(take: Take) -> None:
    diary = Diary()
    take(interleaved(1, 2, rounds=2, schedule="sequential", seed=5), Scripted(), diary)
    assert [what for kind, what in diary.told if kind == "begin"] == [
        (1, [], 0, 4, 0, 2),
        (1, [], 1, 4, 1, 2),
        (2, [], 2, 4, 0, 2),
        (2, [], 3, 4, 1, 2),
    ]


class TestFailures:
    def test_a_case_whose_first_round_fails_is_not_tried_again(self, take: Take) -> None:
        workers = Scripted(lambda batch, times: failed() if batch == 2 else OK)
        result = take(interleaved(1, 2), workers)
        assert sorted(workers.asked) == [1, 1, 1, 2]
        good, bad = result.cases()
        assert (good.measured_rounds, bad.measured_rounds) == ([0, 1, 2], [])
        assert list(bad.rounds) == [0]
        assert not result.ok

    def test_a_case_that_has_succeeded_before_continues_after_a_round_that_failed(self, take: Take) -> None:
        workers = Scripted(lambda batch, times: failed() if times == 1 else OK)
        result = take(interleaved(1, rounds=4), workers)
        (case,) = result.cases()
        assert (list(case.rounds), case.measured_rounds) == ([0, 1, 2, 3], [0, 2, 3])
        assert case.failures.keys() == {1}
        assert not result.ok

    @pytest.mark.parametrize("status", [each for each in Status if each != Status.OK])
    def test_a_first_round_with_any_other_status_ends_its_case(self, status: Status, take: Take) -> None:
        workers = Scripted(lambda batch, times: failed(status))
        take(interleaved(1), workers)
        assert workers.asked == [1]

    def test_a_failed_case_does_not_end_an_equal_one(self, take: Take) -> None:
        """Two cases with the same configuration are two cases."""
        outcomes = iter([failed(), OK, OK])
        workers = Scripted(lambda batch, times: next(outcomes))
        result = take(interleaved(1, rounds=2, seed=(5, 5), schedule="sequential"), workers)
        assert [list(case.rounds) for case in result.cases()] == [[0], [0, 1]]

    @pytest.mark.parametrize(
        ("error", "by"), [(KeyboardInterrupt(), "Ctrl-C"), (EndedError(signal.SIGTERM), "SIGTERM")]
    )
    def test_an_exception_that_ends_a_run_is_the_error_of_its_round(
        self, error: BaseException, by: str, take: Take, tmp_path: Path
    ) -> None:
        def outcome(batch: int, times: int) -> Measured:
            if times == 1:
                raise error
            return OK

        with pytest.raises(type(error)):
            take(interleaved(1), Scripted(outcome))
        records = load(tmp_path / "run").records
        assert [(record.round, record.outcome.status, record.outcome.error) for record in records] == [
            (0, "ok", None),
            (1, "interrupted", f"{by} before the first sample"),
        ]

    def test_a_signal_while_records_are_written_waits_until_they_are_on_disk(
        self, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append = Store.append

        def interrupted(self: Store, record: RoundRecord) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            append(self, record)

        monkeypatch.setattr(Store, "append", interrupted)
        with raised(), pytest.raises(EndedError):
            take(cases(1, 2), Scripted())
        assert [record.case.config.batch_size for record in load(tmp_path / "run").records] == [1]


OWN = {"measure.share_server": False}


class TestServers:
    @pytest.fixture
    def log(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
        """Return the events of each server, by its number: started, asked for, closed."""
        found: list[tuple[str, int]] = []
        started = iter(range(100))

        class Server(Scripted):
            def __init__(self, modules: Sequence[str], variables: Mapping[str, str], early: object) -> None:
                super().__init__()
                self.number = next(started)
                found.append(("start", self.number))

            def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
                found.append(("ask", self.number))
                return super().ask(request, watch, timeout)

            def close(self) -> None:
                found.append(("close", self.number))

        monkeypatch.setattr(pool, "Forked", Server)
        return found

    def measure(self, planned: Sequence[Any], folder: Path) -> None:
        with Store(folder) as store:
            runner.Run(planned, store, Diary(), "the-run").measure()

    def test_all_rounds_share_a_server(self, log: list[tuple[str, int]], tmp_path: Path) -> None:
        self.measure(interleaved(1, 2), tmp_path)
        assert log == [("start", 0), *[("ask", 0)] * 7, ("close", 0)]  # also asked for the place

    def test_each_round_has_a_new_server_that_its_cases_share_if_rounds_do_not(
        self, log: list[tuple[str, int]], tmp_path: Path
    ) -> None:
        self.measure(interleaved(1, 2, **OWN), tmp_path)
        first = [("start", 0), ("ask", 0), ("ask", 0), ("ask", 0), ("close", 0)]  # also asked for the place
        then = [[("start", i), ("ask", i), ("ask", i), ("close", i)] for i in (1, 2)]
        assert log == [*first, *then[0], *then[1]]

    def test_each_round_of_a_sequential_run_has_a_new_server_then(
        self, log: list[tuple[str, int]], tmp_path: Path
    ) -> None:
        self.measure(interleaved(1, 2, rounds=2, schedule="sequential", **OWN), tmp_path)
        asked = [number for what, number in log if what == "ask"][1:]
        assert asked == [0, 1, 2, 3]

    def test_a_run_of_one_round_has_one_server(self, log: list[tuple[str, int]], tmp_path: Path) -> None:
        self.measure(interleaved(1, 2, 4, rounds=1), tmp_path)
        assert {number for _, number in log} == {0}

    def test_servers_of_other_modules_are_closed_with_their_round(
        self, log: list[tuple[str, int]], tmp_path: Path
    ) -> None:
        self.measure(interleaved(1, rounds=2, mode=("train", "infer"), **OWN), tmp_path)
        started = [number for what, number in log if what == "start"]
        assert started == [0, 1, 2, 3]
        assert sorted(log[-2:]) == [("close", 2), ("close", 3)]
        assert log.index(("start", 2)) > max(log.index(("close", 0)), log.index(("close", 1)))


class TestAllocators:
    def test_a_case_whose_allocator_is_not_installed_is_skipped_and_the_others_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workers = Scripted()
        monkeypatch.setattr(allocator, "find", lambda name: None)
        monkeypatch.setattr(pool, "Forked", lambda modules, variables, early: workers)
        planned = interleaved(1, rounds=2, allocator=("jemalloc", "system", "tuned"))
        with Store(tmp_path) as store:
            result = runner.Run(planned, store, Diary(), "the-run").measure()
        skipped, *measured = result.cases()
        assert (skipped.status, list(skipped.rounds)) == ("skipped", [0])  # not tried again
        assert skipped.first.outcome.error.startswith("allocator=jemalloc needs libjemalloc")
        assert [case.measured_rounds for case in measured] == [[0, 1], [0, 1]]
        assert len(workers.asked) == 4
        assert result.ok

    def test_the_machine_is_described_by_a_worker_with_the_systems_allocator(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A missing library prevents a case from running, but not the run."""
        started: list[Mapping[str, str]] = []

        def start(modules: Sequence[str], variables: Mapping[str, str], early: object) -> Scripted:
            started.append(variables)
            return Scripted()

        monkeypatch.setattr(allocator, "find", lambda name: None)
        monkeypatch.setattr(pool, "Forked", start)
        with Store(tmp_path) as store:
            result = runner.Run(cases(1, allocator="tcmalloc"), store, Diary(), "the-run").measure()
        assert started == [{}]
        assert [record.outcome.status for record in result.records] == ["skipped"]
        assert not result.ok


FOUND = Process(allocator="jemalloc", threads=3, interop_threads=2, cpus="0-2", flush_denormal=True)


class TestEnvironment:
    def test_records_have_the_process_settings_that_the_worker_found(self, take: Take) -> None:
        found = Measured(Outcome(process=FOUND), OK.series)
        (record,) = take(cases(1), Workers([lambda watch: found])).records
        assert record.outcome.process == FOUND
        assert record.machine.cpu == "Some CPU"

    def test_settings_that_a_dead_worker_did_not_report_are_unknown(self, take: Take) -> None:
        (record,) = take(cases(1), Workers([lambda watch: failed()])).records
        assert record.outcome.process == Process()
        assert record.machine.cpu == "Some CPU"
