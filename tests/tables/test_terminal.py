"""The report at the end of a run, as a whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from microbench.records.record import BenchmarkWarning, RoundRecord, WarningCode
from microbench.records.result import Result
from microbench.tables import terminal

from .support import DRIFTS, INFER, TRAIN, MakeCase, Rendered, over_rounds


def shown(*made: list[RoundRecord], rendered: Rendered, width: int = 300) -> list[str]:
    """Return what `show` prints of a result with these cases."""
    result = Result([record for case in made for record in case], Path("outputs/x/records.jsonl"))
    return rendered(width=width, using=partial(terminal.show, result))


def test_one_case_is_shown_with_machine_facts_and_place(make_case: MakeCase, rendered: Rendered) -> None:
    case = make_case(TRAIN | {"first_call": (0.25, None)}, batch_size=4, threads=2)
    lines = shown(case, rendered=rendered)
    assert lines[0] == "Some CPU, 4 cores · 2 threads · torch 2.11 · Python 3.12 · glibc malloc · Linux 6"
    assert lines[1] == "resnet18 train, batch 4, fp32, eager, cpu, input 4x3x224x224"
    assert lines[-2] == (
        "1 round · peak memory 1.50 GiB · stopped: interval narrow enough (measure.rel_ci) · "
        "warm-up 5 steps · first call 250 ms"
    )
    assert lines[-1] == "records: outputs/x/records.jsonl (1 round)"


def test_the_records_of_all_rounds_are_counted(make_case: MakeCase, rendered: Rendered) -> None:
    lines = shown(over_rounds(make_case, 0.01, 0.02, 0.03), rendered=rendered)
    assert lines[-1] == "records: outputs/x/records.jsonl (3 rounds)"
    assert any(line.startswith("3 rounds · ") for line in lines)


def test_a_failed_case_is_its_error(make_case: MakeCase, rendered: Rendered) -> None:
    lines = shown(make_case({}, status="oom", error="out of [memory]"), rendered=rendered)
    assert "oom: out of [memory]" in lines
    assert not any("median" in line for line in lines)


def test_a_warning_has_its_code(make_case: MakeCase, rendered: Rendered) -> None:
    lines = shown(make_case(INFER, mode="infer", warnings=(DRIFTS,)), rendered=rendered)
    assert "warning: it drifts; wait [drift]" in lines


def test_several_cases_are_a_table_with_a_note_on_its_intervals(
    make_case: MakeCase, rendered: Rendered
) -> None:
    lines = shown(
        over_rounds(make_case, 0.01, 0.02),
        over_rounds(make_case, 0.01, 0.02, batch_size=1, order=1),
        rendered=rendered,
    )
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["model", "batch_size"],
        ["resnet18", "8"],
        ["resnet18", "1"],
    ]
    assert lines[4] == "±: half-width of the 50 % CI over 2 rounds, relative to the median"
    assert lines[-1] == "records: outputs/x/records.jsonl (4 rounds)"


def test_warnings_of_several_cases_name_theirs(make_case: MakeCase, rendered: Rendered) -> None:
    lines = shown(
        make_case(INFER, mode="infer"),
        make_case(INFER, mode="infer", order=1, batch_size=1, warnings=(DRIFTS,)),
        rendered=rendered,
    )
    warning = "warning: resnet18 infer, batch_size=1: it drifts; wait [drift]"
    assert [line for line in lines if line.startswith("warning")] == [warning]


def test_no_case_shows_nothing(rendered: Rendered) -> None:
    assert shown(rendered=rendered) == []


@pytest.mark.parametrize("name", ["a[b]", "[red]x", "x[/y]", "[bold]"])
def test_names_with_brackets_are_shown_as_they_are(
    name: str, make_case: MakeCase, rendered: Rendered
) -> None:
    caution = BenchmarkWarning(WarningCode.DRIFT, f"{name} drifts")
    one = make_case(INFER, model=name, mode="infer", warnings=(caution,))
    two = make_case(INFER, model=name, mode="infer", order=1, batch_size=1)
    lines = shown(one, two, rendered=rendered)
    assert [line.split()[0] for line in lines[2:4]] == [name, name]
    assert f"warning: {name} infer, batch_size=8: {name} drifts [drift]" in lines
    (alone, *_) = shown(one, rendered=rendered)[1:]
    assert alone.startswith(f"{name} infer, ")


def test_a_pipe_is_wide_enough_for_any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal.console().width == 1000
    assert terminal.console(width_in_pipe=110).width == 110
