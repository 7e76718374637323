"""On a narrow terminal no table cuts a figure: it wraps its texts, and names the columns it leaves out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

import microbench
from microbench.cli.list import show_list
from microbench.config import ExperimentConfig
from microbench.records.record import RoundRecord
from microbench.records.result import Result
from microbench.tables import doctor, terminal
from microbench.tables.compare import show_comparison
from microbench.tables.fitting import print_fitting
from microbench.tables.published import show_reference

from .support import TRAIN, MakeCase, Rendered, cases, over_rounds
from .test_doctor import FIRST, PEAKS, SECOND
from .test_layers import CONV, RELU, Made, infer
from .test_profile import TIMED, show_profile


def test_a_table_in_a_pipe_ends_its_lines_with_its_last_words() -> None:
    found = Table("case", "verdict", box=None)
    found.add_row("a", "not significantly slower than the fastest")
    found.add_row("b", "slower", style="bold")
    file = StringIO()
    print_fitting(Console(file=file, width=200), found)
    lines = file.getvalue().splitlines()
    assert [line.split() for line in lines[::2]] == [["case", "verdict"], ["b", "slower"]]
    assert all(line == line.rstrip() for line in lines)


Show = Callable[[Console], None]
FIGURE = re.compile(r"\d[\d.,e+-]*\d|\d")
SLOW, FAST = [1.20, 1.22, 1.21, 1.19], [1.00e-5, 1.02e-5, 1.01e-5, 1.03e-5]


def result(*made: Sequence[RoundRecord]) -> Result:
    return Result([record for case in made for record in case], Path("outputs/x/records.jsonl"))


@pytest.fixture
def kinds(make_case: MakeCase, timed: Any, doctored: Any) -> dict[str, Show]:
    """Return a function per kind of table that prints it."""
    engines = ("eager", "compile", "onnxruntime")
    sweep = [timed([t * (1 + i) for t in FAST], i, engine=e) for i, e in enumerate(engines)]
    training = [make_case(TRAIN, order=i, batch_size=2**i, model="very_wide_resnet") for i in range(2)]
    searched = [
        timed([t * (3 - i) for t in FAST], i, engine=e, schedule="search") for i, e in enumerate(engines)
    ]
    made, other = Made(make_case), {"mode": "infer", "engine": "openvino"}
    layers = [
        *(made.whole(infer(0.1), **each) for each in ({"mode": "infer"}, other)),
        *(made.layer(CONV, infer(0.012345), **each) for each in ({"mode": "infer"}, other)),
        *(made.layer(RELU, infer(9.72e-6), **each) for each in ({"mode": "infer"}, other)),
    ]
    compared = microbench.compare(
        result(timed(FAST), timed(SLOW, 1, batch_size=1)),
        result(timed(SLOW, run_id="s"), timed([9.0, 1.0, 2.0], 1, run_id="s", batch_size=1)),
    )
    published = ExperimentConfig("model_phases", "deep_learning_benchmarks")
    reference = cases(make_case(TRAIN, model="vgg16", batch_size=8, experiment=published))
    return {
        "case": partial(terminal.show, result(over_rounds(make_case, 9.72e-6, 9.8e-6, 9.9e-6))),
        "sweep and ranking": partial(terminal.show, result(*sweep)),
        "training": partial(terminal.show, result(*training)),
        "search": partial(terminal.show, result(*searched)),
        "layers": partial(terminal.show, result(*layers)),
        "compare": partial(show_comparison, compared),
        "reference": partial(show_reference, reference),
        "doctor": partial(doctor.show, result(doctored(FIRST, SECOND, PEAKS))),
        "profile": partial(show_profile, TIMED),
        "list": partial(show_list, ["models", "experiments"]),
    }


def figures(lines: Sequence[str]) -> set[str]:
    return {figure for line in lines for figure in FIGURE.findall(line)}


KINDS = (
    *("case", "sweep and ranking", "training", "search", "layers", "compare", "reference", "doctor"),
    *("profile", "list"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_whole_however_narrow_the_terminal(
    kind: str, kinds: dict[str, Show], rendered: Rendered
) -> None:
    whole = rendered(using=kinds[kind], width=1000)
    for width in (40, 60, 80):
        lines = rendered(using=kinds[kind], width=width)
        cut = [line for line in lines if "…" in line.replace("columns=[…]", "").replace("microbench …", "")]
        assert cut == []
        assert figures(lines) <= figures(whole), figures(lines) - figures(whole)
        assert any("hidden" in line for line in lines) or width > 40 or kind in ("list", "doctor", "layers")


def test_a_narrow_terminal_shows_the_times(kinds: dict[str, Show], timed: Any, rendered: Rendered) -> None:
    settings = [("eager", 1), ("torchscript", 1), ("eager", 64), ("torchscript", 64)]
    sweep = [timed(FAST, i, engine=engine, batch_size=size) for i, (engine, size) in enumerate(settings)]
    lines = rendered(using=partial(terminal.show, result(*sweep)), width=40)
    told = " ".join(lines[: lines.index("")])
    assert re.findall(r"dense, (\w+), (\d+) +10.15 µs", told) == [
        (engine, str(size)) for engine, size in settings
    ]
    assert re.search(r"hidden \(terminal too narrow\): inference items/s, inference memory \S", told), told
    layers = rendered(using=kinds["layers"], width=40)
    assert any(line.startswith("conv") and line.endswith("37.0 ms ±2.0 %*") for line in layers), layers
    searched = " ".join(rendered(using=kinds["search"], width=40))
    assert "95 % CI, error, memory, prepare, break-even, rounds speedup:" in searched


def test_columns_are_left_out_from_the_right_after_those_less_wanted(rendered: Rendered) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("name", "time", "rate", "memory"):
        table.add_column(name, justify="left" if name == "name" else "right")
    table.add_row("a very long name of many words", "9.72 µs", "[bold]123,456[/bold]", "88.0 MiB")

    def lines(width: int, *less_wanted: str) -> list[str]:
        return rendered(using=lambda out: print_fitting(out, table, less_wanted=less_wanted), width=width)

    assert lines(80)[1].split("  ")[0] == "a very long name of many words"
    assert len(lines(80)) == 2
    assert lines(45)[0].split() == ["name", "time", "rate", "memory"]
    assert lines(32)[0].split() == ["name", "time", "rate"]
    assert " ".join(lines(32)[-2:]) == HIDDEN.format("memory")
    assert lines(32, "rate")[0].split() == ["name", "time", "memory"]
    assert " ".join(lines(24, "rate")).endswith(HIDDEN.format("rate, memory"))
    assert lines(5)[0].split() == ["name"]


HIDDEN = "columns hidden (terminal too narrow): {}"


def test_the_fullest_variant_that_fits_is_printed(rendered: Rendered) -> None:
    def variant(*names: str) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in names:
            table.add_column(name, justify="right")
        table.add_row(*("1" for _ in names))
        return table

    variants = [variant("first", "second", "third"), variant("first", "second"), variant("first")]
    assert rendered(using=lambda out: print_fitting(out, *variants), width=60)[0] == "first  second  third"
    lines = rendered(using=lambda out: print_fitting(out, *variants), width=14)
    assert lines[0] == "first  second"
    assert "third" in " ".join(lines[2:])
