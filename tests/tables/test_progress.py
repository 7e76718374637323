from __future__ import annotations

import dataclasses
import math
from io import StringIO

import pytest
from factory import configured
from msgspec.structs import replace
from rich.console import Console

from microbench.config import ModelConfig
from microbench.records.progress import Heading, Progress
from microbench.records.record import Call, Kind
from microbench.tables.progress import Lines, LiveLine, display, ending, state, title

from .support import MakeCase

CONFIG = configured(model=ModelConfig("torchvision", "vgg16"), mode="train")
HEADING = Heading(CONFIG, [], turn=0, turns=1)
SAMPLING = Progress("sample", phase="total", n=25, median=0.0206, half_width=0.015, eta=3.4)


def test_a_title_says_which_turn_of_how_many() -> None:
    assert title(Heading(CONFIG, [], turn=1, turns=4)) == "[2/4] vgg16 train, batch 8, eager, cpu"
    assert title(Heading(CONFIG, ["threads=2", "seed=1"], 1, 4)).endswith("cpu, threads=2, seed=1")


def test_a_title_says_which_round_of_several() -> None:
    third = Heading(CONFIG, ["seed=1"], turn=7, turns=12, round=2, rounds=6)
    assert title(third) == "[8/12] vgg16 train, batch 8, eager, cpu, seed=1, round 3 of 6"


def test_the_state_of_sampling_is_the_running_median_and_the_time_left() -> None:
    assert state(SAMPLING) == "total 20.6 ms ±1.5 % · 25 samples · about 3 s left"


@pytest.mark.parametrize("half_width", [math.inf, None])
def test_an_unknown_half_width_is_reported_as_unknown(half_width: float | None) -> None:
    text = state(dataclasses.replace(SAMPLING, half_width=half_width))
    assert text == "total 20.6 ms ± not known yet · 25 samples · about 3 s left"


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


def test_a_dry_run_ends_with_its_calls(make_case: MakeCase) -> None:
    (record,) = make_case({}, mode="profile")
    call = Call(name="", index=None, order=0, depth=0, kind=Kind.MODULE, type="Net")
    assert ending(replace(record, calls=(call,))) == "1 call"


@pytest.mark.parametrize("status", ["skipped", "oom", "error"])
def test_a_case_with_any_other_status_ends_with_its_error(status: str, make_case: MakeCase) -> None:
    assert ending(*make_case({}, status=status, error="because")) == f"{status}: because"


def test_lines_say_when_a_case_begins_and_how_it_ended(make_case: MakeCase) -> None:
    file = StringIO()
    with Lines(Console(file=file, width=40)) as lines:
        lines.begin(HEADING)
        lines.progress(SAMPLING)
        lines.end(*make_case({"total": (0.02, 0.0003)}))
    begin, end = file.getvalue().splitlines()  # one line each, although they are wider than the console
    assert begin == "[1/1] vgg16 train, batch 8, eager, cpu: measuring"
    assert end == "[1/1] vgg16 train, batch 8, eager, cpu: total 20.0 ms ±1.5 %, 40 samples"


def test_a_live_line_follows_the_case_and_leaves_its_end(make_case: MakeCase) -> None:
    file = StringIO()
    console = Console(file=file, width=120, force_terminal=True, color_system=None)
    with LiveLine(console) as live:
        live.begin(HEADING)
        live.progress(Progress("warmup"))
        live.progress(SAMPLING)
        live.end(*make_case({"total": (0.02, 0.0003)}))
    text = file.getvalue()
    for part in ("starting", "warming up", "about 3 s left", "total 20.0 ms ±1.5 %, 40 samples"):
        assert part in text


@pytest.mark.parametrize(
    ("terminal", "no_color", "kind"), [(True, "", LiveLine), (True, "1", Lines), (False, "", Lines)]
)
def test_a_live_line_needs_a_terminal_that_can_be_redrawn(
    terminal: bool, no_color: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    assert isinstance(display(Console(file=StringIO(), force_terminal=terminal)), kind)


def test_a_title_names_the_part_of_a_model() -> None:
    config = configured(model=ModelConfig("torchvision", "resnet18", part="conv1"))
    assert title(Heading(config, [], 0, 1)) == "[1/1] resnet18 conv1 infer, batch 8, eager, cpu"
