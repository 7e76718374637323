"""Completing a run: which rounds are done, and in which order the others are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory import record_of
from msgspec.structs import replace

from microbench.errors import UserError
from microbench.records.record import Measured, RoundRecord, RunInfo, Status, encode
from microbench.records.result import Result, load
from microbench.records.store import FILE_NAME, Store
from microbench.run.case import Case
from microbench.run.resume import arguments_of, before, changed, folder_of, matched
from microbench.schema import with_values
from microbench.system import machine

from .support import CORES, OK, PLACE, Scripted, Take, cases, failed

FAILED = failed(Status.TIMEOUT, "took too long")


def runs(*batches: int, rounds: int = 3, **options: Any) -> list[Case]:
    return cases(*batches, **{"schedule": "interleaved", "measure.rounds": rounds} | options)


def placed(*batches: int, **options: Any) -> list[Case]:
    """Return cases as a run has them, with their device and threads."""
    return [case.at(PLACE.device, CORES) for case in runs(*batches, **options)]


class Interrupting(Scripted):
    """Workers that are interrupted after some rounds, as by Ctrl-C."""

    def __init__(self, rounds: int) -> None:
        super().__init__(self._once)
        self.left = rounds

    def _once(self, batch: int, times: int) -> Measured:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return OK


Completed = Callable[..., tuple[Result, list[int]]]


@pytest.fixture
def complete(take: Take) -> Completed:
    """Return a function that completes the folder's run; it returns the result and the measured batches."""

    def run(planned: list[Case], run_id: str = "another", **more: Any) -> tuple[Result, list[int]]:
        workers = Scripted()
        return take(planned, workers, run_id=run_id, completing=True, **more), workers.asked

    return run


def interrupted(take: Take, planned: list[Case], after: int, **more: Any) -> list[int]:
    """Begin a run that is interrupted after some rounds; return the batches that it has measured."""
    workers = Interrupting(after)
    with pytest.raises(KeyboardInterrupt):
        take(planned, workers, run_id="the-run", **more)
    return workers.asked[:after]


class TestCompleting:
    def test_an_interrupted_run_continues_in_the_order_in_which_it_began(
        self, take: Take, complete: Completed
    ) -> None:
        begun = interrupted(take, runs(1, 2, 4, 8, schedule_seed=12), after=5)
        _, asked = complete(runs(1, 2, 4, 8))
        assert (len(begun), len(asked)) == (5, 7)
        at_once = Scripted()
        take(runs(1, 2, 4, 8, schedule_seed=12), at_once, run_id="another")
        assert begun + asked == at_once.asked

    def test_completed_rounds_are_part_of_the_same_run(
        self, take: Take, complete: Completed, tmp_path: Path
    ) -> None:
        interrupted(take, runs(1, 2), after=3)
        begun = load(tmp_path / "run").records
        result, _ = complete(runs(1, 2))
        records = load(tmp_path / "run").records
        runs_found = {replace(record.run, invocation="") for record in records}
        assert runs_found == {replace(begun[0].run, invocation="")}
        assert begun[0].run.id == "the-run"
        assert result.ok
        assert [list(case.rounds) for case in result.cases()] == [[0, 1, 2]] * 2
        assert [case.measured_rounds for case in load(tmp_path / "run").cases()] == [[0, 1, 2]] * 2

    def test_turns_are_numbered_as_if_it_had_not_been_interrupted(
        self, take: Take, complete: Completed, tmp_path: Path
    ) -> None:
        interrupted(take, runs(1, 2), after=3)
        complete(runs(1, 2))
        good = [record.turn for record in load(tmp_path / "run").records if record.outcome.status == "ok"]
        assert good == list(range(6))

    def test_a_complete_run_has_nothing_left_to_measure(self, take: Take, complete: Completed) -> None:
        begun = take(runs(1, 2), Scripted())
        result, asked = complete(runs(1, 2))
        assert asked == []
        assert len(result.records) == len(begun.records) == 6
        assert [case.estimates.keys() for case in result.cases()] == [{"inference"}] * 2

    def test_a_run_that_does_not_complete_another_measures_everything(
        self, take: Take, tmp_path: Path
    ) -> None:
        take(runs(1), Scripted())
        workers = Scripted()
        take(runs(1), workers, run_id="another")
        assert workers.asked == [1, 1, 1]
        assert [case.first.run.id for case in load(tmp_path / "run").cases()] == ["the-run", "another"]

    def test_a_folder_without_records_is_a_new_run(self, complete: Completed) -> None:
        result, asked = complete(runs(1))
        assert asked == [1, 1, 1]
        assert {record.run.id for record in result.records} == {"another"}

    def test_rounds_that_failed_are_measured_again(
        self, take: Take, complete: Completed, tmp_path: Path
    ) -> None:
        take(runs(1), Scripted(lambda batch, times: FAILED if times == 1 else OK))
        result, asked = complete(runs(1))
        assert asked == [1]
        (case,) = result.cases()
        assert (case.measured_rounds, case.ok) == ([0, 1, 2], True)
        statuses = [record.outcome.status for record in load(tmp_path / "run").records if record.round == 1]
        assert statuses == ["timeout", "ok"]

    def test_a_case_that_failed_at_its_first_round_gets_all_its_rounds(
        self, take: Take, complete: Completed
    ) -> None:
        take(runs(1, 2), Scripted(lambda batch, times: FAILED if batch == 2 else OK))
        result, asked = complete(runs(1, 2))
        assert asked == [2, 2, 2]
        assert result.ok

    def test_a_case_that_has_succeeded_before_continues_after_a_round_that_fails_again(
        self, take: Take
    ) -> None:
        take(runs(1, rounds=4), Scripted(lambda batch, times: OK if times == 0 else FAILED))
        workers = Scripted(lambda batch, times: FAILED if times == 0 else OK)
        result = take(runs(1, rounds=4), workers, completing=True)
        assert workers.asked == [1, 1, 1]
        assert result.cases()[0].measured_rounds == [0, 2, 3]

    def test_more_rounds_extend_a_complete_run(self, take: Take, complete: Completed) -> None:
        take(runs(1, 2, rounds=2), Scripted())
        result, asked = complete(runs(1, 2, rounds=4))
        assert sorted(asked) == [1, 1, 2, 2]
        assert [case.measured_rounds for case in result.cases()] == [[0, 1, 2, 3]] * 2

    def test_fewer_rounds_keep_those_that_are_there(self, take: Take, complete: Completed) -> None:
        take(runs(1, rounds=4), Scripted())
        result, asked = complete(runs(1, rounds=2))
        assert asked == []
        assert result.cases()[0].measured_rounds == [0, 1, 2, 3]

    def test_a_sweep_that_is_extended_measures_what_is_new(self, take: Take, complete: Completed) -> None:
        take(runs(1, 2), Scripted())
        result, asked = complete(runs(4, 1, 8, 2))
        assert sorted(asked) == [4, 4, 4, 8, 8, 8]
        found = {case.config.batch_size: case for case in result.cases()}
        assert {case.spec.order for case in found.values()} == {0, 1, 2, 4}
        assert (found[1].first.case.order, found[2].first.case.order) == (0, 1)
        assert all(case.measured_rounds == [0, 1, 2] for case in found.values())

    def test_cases_that_are_not_requested_are_not_part_of_the_result(
        self, take: Take, complete: Completed, tmp_path: Path
    ) -> None:
        take(runs(1, 2), Scripted())
        result, asked = complete(runs(2))
        assert asked == []
        assert [case.config.batch_size for case in result.cases()] == [2]
        assert len(load(tmp_path / "run").cases()) == 2

    def test_records_of_another_machine_do_not_count(
        self, take: Take, complete: Completed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(machine, "host_id", lambda: "elsewhere")
            take(runs(1), Scripted())
        result, asked = complete(runs(1))
        assert asked == [1, 1, 1]
        assert {record.run.id for record in result.records} == {"another"}
        assert {record.machine.host_id for record in result.records} == {machine.host_id()}
        assert len(load(tmp_path / "run").cases()) == 2

    def test_a_given_seed_replaces_the_one_that_the_run_began_with(
        self, take: Take, complete: Completed
    ) -> None:
        take(runs(1, 2, 4, rounds=1, schedule_seed=1), Scripted())
        result, asked = complete(runs(1, 2, 4, rounds=3, schedule_seed=2))
        assert {record.run.schedule_seed for record in result.records} == {1, 2}
        other = Scripted()
        take(runs(1, 2, 4, schedule_seed=2), other)
        assert asked == other.asked[3:]


class TestMatched:
    """Which cases of a run are the same as those of the earlier run."""

    def records(self, take: Take, *batches: int, **options: Any) -> list[RoundRecord]:
        return take(runs(*batches, **options), Scripted()).records

    def done(self, records: list[RoundRecord], planned: list[Case]) -> dict[int, list[int]]:
        """Return the rounds that are done, by the case's new place."""
        earlier = before(records, machine.host_id())
        assert earlier is not None
        found = matched(planned, earlier)
        assert len({case.order for case in found}) == len(found)
        done = {each.spec.order: each.measured_rounds for each in earlier.cases}
        return {case.order: done.get(case.order, []) for case in found}

    def test_cases_keep_their_earlier_places_in_any_order(self, take: Take) -> None:
        records = self.records(take, 1, 2, 4)
        earlier = before(records, machine.host_id())
        assert earlier is not None
        found = matched(placed(4, 1, 2), earlier)
        assert [(case.config.batch_size, case.order) for case in found] == [(4, 2), (1, 0), (2, 1)]

    @pytest.mark.parametrize(
        "options", [{"timeout": 5.0}, {"rounds": 7}, {"schedule": "sequential"}, {"schedule_seed": 3}]
    )
    def test_a_case_is_the_same_with_another_limit_or_order(
        self, options: dict[str, Any], take: Take
    ) -> None:
        assert self.done(self.records(take, 1), placed(1, **options)) == {0: [0, 1, 2]}

    @pytest.mark.parametrize(
        "options",
        [
            {"seed": 5},
            {"threads": 2},
            {"allocator": "tuned"},
            {"measure.rel_ci": 0.5},
            {"measure.max_time": 1.0},
            {"measure.cold_cache": True},
            {"isolation": "spawn"},
        ],
    )
    def test_a_case_with_other_work_or_measuring_options_is_another(
        self, options: dict[str, Any], take: Take
    ) -> None:
        assert self.done(self.records(take, 1), placed(1, **options)) == {1: []}

    def test_the_same_case_twice_is_two_cases(self, take: Take) -> None:
        twice = {"timeout": (5.0, 6.0)}
        records = self.records(take, 1, **twice)
        assert len({record.case.id for record in records}) == 1
        assert self.done(records, placed(1, **twice)) == {0: [0, 1, 2], 1: [0, 1, 2]}
        some = [record for record in records if (record.case.order, record.round) not in {(0, 2), (1, 0)}]
        assert self.done(some, placed(1, **twice)) == {0: [0, 1], 1: [1, 2]}
        assert self.done(records, placed(1, timeout=(5.0, 6.0, 7.0))) == {0: [0, 1, 2], 1: [0, 1, 2], 2: []}

    def test_equal_cases_are_each_paired_with_the_one_at_their_own_place(self, take: Take) -> None:
        twice = {"timeout": (5.0, 6.0)}
        second = [record for record in self.records(take, 1, **twice) if record.case.order == 1]
        assert self.done(second, placed(1, **twice)) == {0: [], 1: [0, 1, 2]}

    def test_a_new_case_has_its_own_place_if_that_is_free(self, take: Take) -> None:
        records = [record for record in self.records(take, 1, 2, 4) if record.case.order != 1]
        assert self.done(records, placed(1, 2, 4)) == {0: [0, 1, 2], 1: [], 2: [0, 1, 2]}

    def test_new_cases_have_places_after_all_others_if_theirs_are_taken(self, take: Take) -> None:
        assert self.done(self.records(take, 1, 2), placed(8, 16, 1, 2)) == {
            4: [],
            5: [],
            0: [0, 1, 2],
            1: [0, 1, 2],
        }

    def test_a_case_keeps_its_name_where_that_does_not_say_what_it_is(self, take: Take) -> None:
        def called(name: str) -> list[Case]:
            (case,) = placed(1)
            file = {"model.code": "c0de", "model.name": name}
            return [dataclasses.replace(case, config=with_values(case.config, file))]

        earlier = before(take(called("mine:Net"), Scripted()).records, machine.host_id())
        assert earlier is not None
        (again,) = matched(called("renamed:Net"), earlier)
        assert (again.order, again.config.model.name, again.rounds) == (0, "mine:Net", 3)
        assert again.id == earlier.cases[0].spec.id

    def test_the_last_of_several_runs_is_the_one_that_is_completed(self, take: Take) -> None:
        one = self.records(take, 1, 2)
        two = [replace(each, run=replace(each.run, id="two")) for each in one if each.round == 0]
        assert self.done(one + two, placed(1, 2)) == {0: [0], 1: [0]}
        last = before(one + two, machine.host_id())
        assert last is not None
        assert last.run_id == "two"
        assert last.seed == one[0].run.schedule_seed

    def test_records_of_other_machines_are_no_earlier_run(self, take: Take) -> None:
        assert before([], machine.host_id()) is None
        assert before(self.records(take, 1), "elsewhere") is None


class TestFolder:
    def test_the_folder_is_the_named_one(self, tmp_path: Path) -> None:
        assert folder_of(str(tmp_path)) == tmp_path

    def test_a_missing_folder_is_answered_with_the_nearest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("20260101-120000-aaaaaaaa", "20260101-130000-bbbbbbbb", "other"):
            (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / "20260101-120000-file").touch()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError) as caught:
            folder_of("outputs/20260101-120000-aaaaaaab")
        told, hint = str(caught.value).split(" Did you mean ")
        assert told == "resume=outputs/20260101-120000-aaaaaaab: there is no such folder."
        assert hint.split(", ")[0] == "outputs/20260101-120000-aaaaaaaa"
        assert "file" not in hint
        assert "other" not in hint

    @pytest.mark.parametrize("name", ["nowhere", "nowhere/at/all"])
    def test_a_missing_folder_unlike_any_other_is_reported_without_a_guess(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=rf"^resume={name}: there is no such folder\.$"):
            folder_of(name)

    def test_a_file_is_not_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "run").touch()
        with pytest.raises(UserError, match=r"there is no such folder\."):
            folder_of(str(tmp_path / "run"))

    def test_an_empty_name_is_not_a_folder(self) -> None:
        with pytest.raises(UserError, match=r"^resume= names no folder"):
            folder_of("")


class TestArguments:
    @pytest.fixture
    def began(self, tmp_path: Path) -> Callable[..., Path]:
        """Return a function that makes the folder of runs, given their command lines and subcommands."""

        def make(*commands: tuple[str | None, str]) -> Path:
            with Store(tmp_path) as store:
                for number, (line, name) in enumerate(commands):
                    store.append(record_of(run=RunInfo(id=str(number), command=name, command_line=line)))
            return tmp_path

        return make

    def test_arguments_are_those_of_the_command_that_began_the_run(self, began: Callable[..., Path]) -> None:
        folder = began(("python -m microbench -m model=vgg16,dense 'model.args=[1, 2]' seed=3", ""))
        assert arguments_of(folder) == ["-m", "model=vgg16,dense", "model.args=[1, 2]", "seed=3"]

    def test_the_last_of_several_commands_counts(self, began: Callable[..., Path]) -> None:
        folder = began(("python -m microbench model=a", ""), ("python -m microbench model=b", ""))
        assert arguments_of(folder) == ["model=b"]

    @pytest.mark.parametrize("commands", [[(None, "")], [("python -m microbench model=a", ""), (None, "")]])
    def test_a_run_from_python_has_no_arguments(
        self, commands: list[tuple[str | None, str]], began: Callable[..., Path]
    ) -> None:
        folder = began(*commands)
        with pytest.raises(UserError) as caught:
            arguments_of(folder)
        assert str(caught.value) == (
            f"resume={folder}: its records do not say which command began the run: give its options as well."
        )

    def test_arguments_of_a_subcommand_are_for_that_subcommand(self, began: Callable[..., Path]) -> None:
        folder = began(("python -m microbench doctor device=cpu", "doctor"))
        assert arguments_of(folder, "doctor") == ["device=cpu"]
        with pytest.raises(UserError) as caught:
            arguments_of(folder)
        assert str(caught.value).endswith(f"complete it with `microbench doctor resume={folder}`.")

    def test_a_subcommand_cannot_complete_a_run_that_none_began(self, began: Callable[..., Path]) -> None:
        folder = began(("python -m microbench model=vgg16", ""))
        with pytest.raises(UserError) as caught:
            arguments_of(folder, "doctor")
        assert str(caught.value).endswith(f"complete it with `microbench resume={folder}`.")

    def test_a_folder_without_records_has_no_arguments(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as caught:
            arguments_of(tmp_path)
        assert str(caught.value) == (
            f"resume={tmp_path}: it contains no records yet: give the run's options as well."
        )

    def test_a_folder_whose_only_record_is_torn_has_no_arguments(self, tmp_path: Path) -> None:
        (tmp_path / FILE_NAME).write_bytes(encode(record_of())[:-3])
        with pytest.raises(UserError, match="do not say which command began the run"):
            arguments_of(tmp_path)


def test_a_run_of_other_software_is_not_completed_but_measured_again(
    take: Take, complete: Completed, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(take, runs(1, rounds=3), after=2)
    described = machine.described
    monkeypatch.setattr(machine, "described", lambda *args: replace(described(*args), torch="99.0"))
    result, asked = complete(runs(1, rounds=3))
    assert asked == [1, 1, 1]
    assert {record.run.id for record in result.records} == {"another"}
    assert {record.machine.torch for record in result.records} == {"99.0"}


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ({"gpu": "A", "gpu_uuid": None}, {"gpu": "A", "gpu_uuid": "GPU-1"}, None),
        ({"gpu": "A", "gpu_uuid": None}, {"gpu": "B", "gpu_uuid": "GPU-1"}, "gpu was A, and is now B"),
        (
            {"gpu": "A", "gpu_uuid": "GPU-0"},
            {"gpu": "A", "gpu_uuid": "GPU-1"},
            "gpu_uuid was GPU-0, and is now GPU-1",
        ),
    ],
)
def test_a_run_is_not_completed_on_another_gpu_than_its_records_tell(
    then: dict[str, str], now: dict[str, str], expected: str | None, take: Take
) -> None:
    records = [
        replace(each, machine=replace(each.machine, **then)) for each in take(runs(1), Scripted()).records
    ]
    earlier = before(records, machine.host_id())
    assert earlier is not None
    assert changed(earlier, {"cpu": replace(records[0].machine, **now)}) == expected


def test_each_command_that_measured_a_part_of_a_run_is_distinguished(take: Take, complete: Completed) -> None:
    interrupted(take, runs(1, rounds=4), after=2)
    result, _ = complete(runs(1, rounds=4))
    commands = [attempt.run.invocation for attempt in result.cases()[0].rounds.values()]
    assert commands[0] == commands[1]
    assert commands[2] == commands[3]
    assert commands[0] != commands[2]
