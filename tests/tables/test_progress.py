from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
from factory import configured
from msgspec.structs import replace
from rich.console import Console

from microbench.analysis.case import case_report
from microbench.config import ModelConfig
from microbench.records.progress import Heading, Progress
from microbench.records.record import Call, Kind, RoundRecord
from microbench.tables.case import case_table
from microbench.tables.fitting import printed
from microbench.tables.progress import Lines, LiveTable, display, ending, numbers, title

from .support import TRAIN, MakeCase, case_of, rows

CONFIG = configured(model=ModelConfig("torchvision", "vgg16"), mode="train")
SAMPLING = Progress("sample", n=25, medians={"forward": 0.0202, "total": 0.0206}, half_width=0.015)


def test_a_title_says_which_turn_of_how_many() -> None:
    assert title(Heading(CONFIG, [], turn=1, turns=4)) == "[2/4] vgg16 train, batch 8, eager, cpu"
    assert title(Heading(CONFIG, ["threads=2", "seed=1"], 1, 4)).endswith("cpu, threads=2, seed=1")


def test_a_title_says_which_round_of_several() -> None:
    third = Heading(CONFIG, ["seed=1"], turn=7, turns=12, round=2, rounds=6)
    assert title(third) == "[8/12] vgg16 train, batch 8, eager, cpu, seed=1, round 3 of 6"


def test_the_first_numbers_say_what_they_are_worth() -> None:
    first = Progress("sample", n=1, medians={"forward": 1.0234, "backward": 2.01, "total": 3.05})
    text = "forward 1.02 s, backward 2.01 s, total 3.05 s · 1 sample, no interval yet"
    assert numbers(first) == numbers(dataclasses.replace(first, half_width=math.inf)) == text


def test_the_numbers_of_sampling_have_the_digits_of_the_widest_interval() -> None:
    assert numbers(SAMPLING) == "forward 20.2 ms, total 20.6 ms · at most ±1.5 % · 25 samples"
    assert numbers(dataclasses.replace(SAMPLING, half_width=0.25)) == (
        "forward 20 ms, total 21 ms · at most ±25 % · 25 samples"
    )
    inference = dataclasses.replace(SAMPLING, medians={"inference": 0.0206})
    assert numbers(inference) == "inference 20.6 ms · ±1.5 % · 25 samples"


def test_the_numbers_are_the_percentile_that_is_wanted() -> None:
    tail = dataclasses.replace(SAMPLING, medians={"inference": 0.0206}, percentile=99.9)
    assert numbers(tail) == "inference p99.9 20.6 ms · ±1.5 % · 25 samples"


def test_a_loss_that_takes_little_is_not_among_the_numbers() -> None:
    medians = {"forward": 2.0, "loss": 0.001, "total": 3.0}
    assert "loss" not in numbers(dataclasses.replace(SAMPLING, medians=medians))
    assert "loss 100.0 ms" in numbers(dataclasses.replace(SAMPLING, medians=medians | {"loss": 0.1}))


def test_a_case_ends_with_its_whole_phase(make_case: MakeCase) -> None:
    (record,) = make_case({"forward": (0.01, 0.001), "total": (0.02, 0.0003)})
    assert ending(record) == "total 20.0 ms ±1.5 %, 40 samples"


def test_a_case_of_few_samples_ends_without_an_interval(make_case: MakeCase) -> None:
    assert ending(*make_case({"inference": (0.02, None)})) == "inference 20.0 ms, 40 samples"


def test_a_failed_case_ends_with_its_error(make_case: MakeCase) -> None:
    assert ending(*make_case({}, status="timeout", error="took too long")) == "timeout: took too long"


@pytest.mark.parametrize("rounds", [1, 6])
def test_the_last_line_is_about_its_round_alone(rounds: int, make_case: MakeCase) -> None:
    (record,) = make_case({"total": (0.02, 0.0003)}, round=rounds - 1, rounds=rounds)
    assert ending(record) == "total 20.0 ms ±1.5 %, 40 samples"


def test_a_case_measured_for_a_percentile_ends_with_that_percentile(make_case: MakeCase) -> None:
    samples = [0.02 + 0.0001 * (17 * each % 40) for each in range(40)]
    for percent, line in (
        (99.0, "total p99 23.9 ms, 40 samples"),
        (50.0, "total p50 21.9 ms ±3.0 %, 40 samples"),
    ):
        (record,) = make_case({"total": (0.02, 0.0003)}, measure__percentile=percent)
        (series,) = record.series
        assert ending(replace(record, series=(replace(series, samples=samples),))) == line


def test_a_dry_run_ends_with_its_calls(make_case: MakeCase) -> None:
    (record,) = make_case({}, mode="profile")
    call = Call(name="", index=None, order=0, depth=0, kind=Kind.MODULE, type="Net")
    assert ending(replace(record, calls=(call,))) == "1 call"


@pytest.mark.parametrize("status", ["skipped", "oom", "error"])
def test_a_case_with_any_other_status_ends_with_its_error(status: str, make_case: MakeCase) -> None:
    assert ending(*make_case({}, status=status, error="because")) == f"{status}: because"


def test_lines_say_how_rounds_begin_and_end_and_a_cases_first_numbers(
    make_case: MakeCase,
) -> None:
    file = StringIO()
    with Lines(Console(file=file, width=40)) as lines:
        for number in range(2):
            lines.begin(Heading(CONFIG, [], turn=number, turns=2, round=number, rounds=2))
            lines.progress(Progress("warmup"))
            lines.progress(SAMPLING)
            lines.progress(SAMPLING)
            lines.end(*make_case({"total": (0.02, 0.0003)}))
        lines.say("that was all")
    case = "vgg16 train, batch 8, eager, cpu"
    assert file.getvalue().splitlines() == [  # one line each, although they are wider than the console
        f"[1/2] {case}, round 1 of 2: measuring",
        f"[1/2] {case}, round 1 of 2: forward 20.2 ms, total 20.6 ms · at most ±1.5 % · 25 samples",
        f"[1/2] {case}, round 1 of 2: total 20.0 ms ±1.5 %, 40 samples",
        f"[2/2] {case}, round 2 of 2: measuring",
        f"[2/2] {case}, round 2 of 2: total 20.0 ms ±1.5 %, 40 samples",
        "that was all",
    ]


class Terminal:
    """A live table in a terminal, and its last frame.

    Attributes:
        records: all records so far.
        table: the live table.
    """

    def __init__(self, width: int = 120, height: int = 40) -> None:
        self._file = StringIO()
        self.records: list[RoundRecord] = []
        console = Console(file=self._file, width=width, height=height, force_terminal=True, color_system=None)
        self.table = LiveTable(console, self.records)

    def end(self, records: Sequence[RoundRecord]) -> None:
        """End a round."""
        self.records += records
        self.table.end(*records)

    @property
    def frame(self) -> list[str]:
        """The lines that were drawn last."""
        frame = re.split(r"\x1b\[2K", self._file.getvalue())[-1]
        return [line.rstrip() for line in frame.splitlines()]

    @property
    def lines(self) -> list[str]:
        """Everything that was drawn, as lines."""
        return re.sub(r"\x1b\[[\d?]*[A-Za-z]", "", self._file.getvalue()).splitlines()


def heading(order: int = 0, number: int = 0, **facts: Any) -> Heading:
    """The heading of one of three rounds of a case."""
    named = [f"seed={order}"] if facts.get("cases", 1) > 1 else []
    return Heading(CONFIG, named, turn=number, turns=3, round=number, rounds=3, order=order, **facts)


class TestLiveTable:
    CASE = "vgg16 train, batch 8, eager, cpu"

    def test_the_line_below_has_the_case_the_round_the_stage_and_the_time_left(self) -> None:
        terminal = Terminal()
        with terminal.table as table:
            table.begin(heading(eta=150.0))
            assert terminal.frame == [f"{self.CASE} · round 1 of 3 · starting · about 2.5 min left"]
            table.progress(Progress("warmup"))
            assert terminal.frame == [f"{self.CASE} · round 1 of 3 · warming up · about 2.5 min left"]

    def test_the_time_left_of_a_first_round_is_that_of_its_sampling(self) -> None:
        terminal = Terminal()
        with terminal.table as table:
            table.begin(heading())
            table.progress(dataclasses.replace(SAMPLING, eta=3.4))
            assert terminal.frame[-1].endswith("sampling · about 3 s left in this round")
            table.begin(Heading(CONFIG, [], turn=0, turns=1))
            table.progress(dataclasses.replace(SAMPLING, eta=3.4))
            assert terminal.frame[-1] == f"{self.CASE} · sampling · about 3 s left"

    def test_the_numbers_of_a_round_stay_until_it_ends(self, make_case: MakeCase) -> None:
        terminal = Terminal()
        with terminal.table as table:
            table.begin(heading())
            table.progress(SAMPLING)
            told = "forward 20.2 ms, total 20.6 ms · at most ±1.5 % · 25 samples"
            table.progress(Progress("verify"))
            assert terminal.frame == [told, f"{self.CASE} · round 1 of 3 · checking the answer"]
            terminal.end(make_case({"total": (0.02, 0.0003)}))
            assert told not in terminal.frame

    def test_a_single_case_has_the_table_of_its_report(self, make_case: MakeCase) -> None:
        terminal = Terminal()
        with terminal.table as table:
            for number in range(2):
                table.begin(heading(number=number))
                terminal.end(make_case(TRAIN, round=number, rounds=2))
            shown = case_table(case_report(case_of(*terminal.records)))
            assert terminal.frame[:-1] == printed(lambda out: out.print(shown)).splitlines()
            assert rows(terminal.frame[:-1])["total"]["samples"] == "80"

    def test_a_sweep_has_a_row_per_case(self, make_case: MakeCase) -> None:
        terminal = Terminal()
        with terminal.table as table:
            table.begin(heading(0, cases=4))
            terminal.end(make_case(TRAIN, order=0, rounds=3))
            table.begin(heading(1, cases=4))
            terminal.end(make_case({}, order=1, status="oom", error="no memory"))
            assert rows(terminal.frame[:3]) == {
                f"{self.CASE}, seed=0": {"time": "40.0 ms ±0.75 %", "rounds": "1 of 3"},
                f"{self.CASE}, seed=1": {"time": "", "rounds": "0 of 3"},
            }
            assert terminal.frame[3] == "and 2 more cases"
            assert f"[1/3] {self.CASE}, seed=1, round 1 of 3: oom: no memory" in terminal.lines

    def test_a_resumed_case_begins_with_its_earlier_rounds(self, make_case: MakeCase) -> None:
        terminal = Terminal()
        terminal.records += make_case(TRAIN, rounds=3)
        with terminal.table as table:
            table.begin(heading(0, 1, cases=2))
            assert rows(terminal.frame[:2])[f"{self.CASE}, seed=0"]["rounds"] == "1 of 3"

    def test_a_low_terminal_shows_the_rows_that_changed_last(self) -> None:
        terminal = Terminal(height=9)
        with terminal.table as table:
            for order in (0, 1, 2, 3, 0):
                table.begin(heading(order, cases=5))
            names = [line.split("  ")[0].rpartition("=")[2] for line in terminal.frame[1:4]]
            assert names == ["0", "2", "3"]
            assert terminal.frame[4] == "and 2 more cases"
            table.progress(dataclasses.replace(SAMPLING, medians=dict.fromkeys("abcdefghijklm", 1.0)))
            assert len(terminal.frame) == 8

    def test_a_narrow_terminal_cuts_the_name_and_no_figure(self, make_case: MakeCase) -> None:
        terminal = Terminal(width=60)
        with terminal.table as table:
            table.begin(heading(0, cases=2, eta=60.0))
            terminal.end(make_case(TRAIN, rounds=3))
            assert terminal.frame[1].endswith("…  40.0 ms ±0.75 %  1 of 3")
            assert terminal.frame[-1].endswith("… · round 1 of 3 · done · about 60 s left")
            assert max(map(len, terminal.frame)) <= 60

    def test_the_table_is_cleared_at_the_end_and_lines_stay(self) -> None:
        terminal = Terminal()
        with terminal.table as table:
            table.begin(heading())
            table.say("it may take longer")
        assert "it may take longer" in terminal.lines
        assert terminal.frame == []


@pytest.mark.parametrize(
    ("terminal", "no_color", "kind"), [(True, "", LiveTable), (True, "1", Lines), (False, "", Lines)]
)
def test_a_live_table_needs_a_terminal_that_can_be_redrawn(
    terminal: bool, no_color: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    assert isinstance(display(Console(file=StringIO(), force_terminal=terminal), []), kind)


def test_a_title_names_the_part_of_a_model() -> None:
    config = configured(model=ModelConfig("torchvision", "resnet18", part="conv1"))
    assert title(Heading(config, [], 0, 1)) == "[1/1] resnet18 conv1 infer, batch 8, eager, cpu"
