from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import pytest
from factory import busy_in, told
from msgspec.structs import replace
from rich.console import Console

from microbench.analysis.search import search_result
from microbench.records.cases import cases_of
from microbench.records.record import Check, Correctness, RoundRecord, RunInfo, Status
from microbench.tables.search import show_search

CHECKED = Check(Correctness.SAME, error_rel=0.0123, tolerance=0.02)
Shown = Callable[..., str]


@pytest.fixture
def shown(timed: Any) -> Shown:
    """Return a function that prints a search, given the rounds of each configuration, plain eager first."""

    def show(configurations: Mapping[str, list[float | None]]) -> str:
        records = []
        for order, (name, times) in enumerate(configurations.items()):
            engine, precision = name.split()
            made = timed(times, order=order, engine=engine, precision=precision, schedule="search")
            made = told(made, check=CHECKED) if order else made
            records += [replace(each, case=replace(each.case, command=f"run {name}")) for each in made]
        return printed(records)

    return show


def printed(records: Sequence[RoundRecord]) -> str:
    """Return the output for the search with these records."""
    out = Console(file=StringIO(), width=200)
    search = search_result(cases_of(records))
    assert search is not None
    show_search(search, out)
    return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_answer_is_the_configuration_its_speedup_its_error_and_its_command(shown: Shown) -> None:
    text = shown({"eager fp32": [4.0, 4.0, 4.1, 3.9], "openvino bf16": [1.0, 1.0, 1.0, 1.0]})

    assert "fastest: openvino bf16: 4.00 times as fast as plain eager" in text
    assert "3 interleaved rounds); error 1.2e-02 of the largest output, allowed 0.02" in text
    assert text.rstrip().endswith("run openvino bf16")


def test_every_configuration_has_a_row_or_a_reason(shown: Shown) -> None:
    text = shown({"eager fp32": [4.0, 4.0, 4.0], "compile fp32": [2.0, 2.0, 2.0], "export fp32": [None]})
    rows = {" ".join(line.split()[:2]): line for line in text.splitlines()}

    assert rows["eager fp32"].rstrip().endswith("plain eager")
    assert rows["export fp32"].rstrip().endswith("error")
    assert "2.00 to 2.00" in rows["compile fp32"]


LEFT_OUT: Mapping[str, tuple[Status, str]] = {
    "tensorrt fp16": (Status.SKIPPED, "pip install it"),
    "export fp32": (Status.SKIPPED, "no time"),
    "compile bf16": (Status.GIVEN_UP, "far behind"),
    "compile fp32": (Status.GIVEN_UP, "too long"),
    "libtorch fp32": (Status.SKIPPED, "no time"),
}


def test_configurations_left_out_are_named_on_one_line_per_reason(
    timed: Any,
) -> None:
    configurations: Mapping[str, Any] = {"eager fp32": None, "openvino fp32": None, **LEFT_OUT}
    records = []
    for order, (name, error) in enumerate(configurations.items()):
        engine, precision = name.split()
        times = [None] if error else [4.0 - order] * 4
        more = {"error": error} if error else {}
        records += timed(times, order=order, engine=engine, precision=precision, schedule="search", **more)
    text = printed(records)

    assert text.splitlines()[6:9] == [
        "not tried (pip install it): tensorrt fp16",
        "not tried (no time): export fp32; libtorch fp32",
        "given up: compile bf16 (far behind); compile fp32 (too long)",
    ]
    assert "fastest of what was tried: openvino fp32: 1.33 times as fast as plain eager" in text
    rows = [line.split("  ")[0] for line in text.splitlines()[1:5]]
    assert rows == ["openvino fp32", "eager fp32", "compile bf16", "compile fp32"]


def test_a_lead_of_one_round_is_reported_without_an_interval(shown: Shown) -> None:
    text = shown({"eager fp32": [3.0, 3.0], "compile fp32": [2.0, 2.0]})

    assert "fastest: perhaps compile fp32: 1.50 times as fast as plain eager in one round each, which" in text
    assert text.rstrip().endswith("run compile fp32")


def test_the_answer_says_that_nothing_is_faster(shown: Shown) -> None:
    assert "nothing that was tried is faster" in shown({"eager fp32": [1.0, 1.0], "compile fp32": [2.0, 2.0]})


def test_an_interrupted_search_does_not_name_a_larger_budget(timed: Any) -> None:
    interrupted = (Status.INTERRUPTED, "Ctrl-C after 3 samples")
    records = [*timed([1.0], 0), *timed([None], 1, engine="compile", error=interrupted)]
    text = printed(records)
    assert "interrupted (Ctrl-C after 3 samples): compile fp32" in text
    assert text.rstrip().endswith("of what was tried: unknown: nothing but plain eager was tried")


def test_what_an_interrupted_search_found_is_of_what_was_tried(timed: Any) -> None:
    run = RunInfo(id="r", schedule="search", cases=3)
    made = [*timed([1.0, 1.0, 1.0], 0), *timed([0.5, 0.5, 0.5], 1, engine="compile")]
    assert "fastest of what was tried: compile" in printed([replace(each, run=run) for each in made])


def test_no_fastest_is_named_if_nothing_but_plain_eager_was_tried(timed: Any) -> None:
    skipped = (Status.SKIPPED, "experiment.budget=60 had no time left for it")
    records = [*timed([1.0], 0), *timed([None], 1, engine="compile", error=skipped)]
    text = printed(records)
    assert "fastest of what was tried: unknown: nothing but plain eager was tried; raise experiment" in text


def test_a_lead_that_may_be_chance_is_not_called_the_fastest(shown: Shown) -> None:
    text = shown({"eager fp32": [1.0, 1.0, 2.0, 1.0], "compile fp32": [1.0, 1.4, 0.9, 0.8]})

    assert re.search(r"not significantly faster than plain eager: 95 % CI 0\.\d+ to \d\S+; raise exp", text)


def test_the_reason_for_a_doubt_is_that_the_best_of_several_was_selected(shown: Shown) -> None:
    text = shown(
        {
            "eager fp32": [1.0, 1.0, 1.3, 1.0, 1.2],
            "compile fp32": [1.0, 0.9, 0.95, 0.9, 0.96],
            "export fp32": [1.0, 1.0, 1.1, 1.0, 1.1],
        }
    )
    reason = re.search(
        r"perhaps compile fp32, but not significantly faster than plain eager: 95 % CI (1\.\d+) to \d\S+, "
        r"but as the best of 2 in the final, 2 times the chance that equal ones differ so much "
        r"\((0\.0\d+)\) is above 0.05 \(Bonferroni\); raise experiment.budget",
        text,
    )
    assert reason is not None, text
    assert float(reason[2]) <= 0.05 < 2 * float(reason[2])


def test_the_rounds_left_out_as_disturbed_are_told(timed: Any) -> None:
    plain = busy_in(timed([4.0] * 6, 0, schedule="search"), 2, 3)
    text = printed([*plain, *busy_in(timed([1.0] * 6, 1, schedule="search", engine="compile"))])
    lines = [line for line in text.splitlines() if line.startswith("disturbed rounds")]
    assert [line.partition(": ")[2].strip() for line in lines] == ["eager fp32 (2 of 6 rounds)"]


def test_a_lead_that_is_large_in_each_round_is_told_without_an_interval(shown: Shown) -> None:
    text = shown({"eager fp32": [8.0, 8.0, 4.0], "compile fp32": [2.0, 2.0, 1.5]})

    assert re.search(
        r"compile fp32: 3\.?\d* times as fast as plain eager \(at least 2\.67 in each round", text
    )
    assert "\n  run compile fp32\n" in text


def test_finalists_that_are_not_told_apart_are_named(shown: Shown) -> None:
    text = shown(
        {
            "eager fp32": [4.0, 4.0, 4.1, 3.9],
            "openvino fp32": [1.0, 1.0, 1.1, 0.9],
            "onnxruntime fp32": [1.0, 1.1, 1.0, 1.0],
        }
    )

    assert "not significantly faster than onnxruntime fp32" in text
    row = next(line for line in text.splitlines() if line.startswith("onnxruntime"))
    assert row.rstrip().endswith("may be as good")


@pytest.mark.parametrize(
    ("objective", "title", "figure"),
    [
        ("throughput", "most items per second", "items/s"),
        ("memory", "least memory", ""),
        ("p99", "lowest p99", "p99"),
    ],
)
def test_the_answer_is_that_of_the_objective(timed: Any, objective: str, title: str, figure: str) -> None:
    records = []
    for order, (time, memory) in enumerate([(4.0, 4 << 20), (1.0, 1 << 20)]):
        made = timed([time] * 4, order=order, engine=("eager", "compile")[order], objective=objective)
        records += told(made, check=CHECKED if order else Check(), peak_memory=memory)
    text = printed(records)

    assert re.search(rf"^{title}: compile fp32: 4\.0+ times ", text, re.MULTILINE)
    assert figure in text.splitlines()[0]


def test_what_was_not_tried_is_counted_if_it_is_much(timed: Any) -> None:
    skipped = (Status.SKIPPED, "no time")
    records = timed([1.0], 0)
    for order in range(1, 15):
        records += timed([None], order, engine="compile", batch_size=order, error=skipped)

    assert "; 2 others\n" in printed(records)
