from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from factory import call_of
from msgspec import structs
from rich.console import Console

from microbench.analysis import profile as profiles
from microbench.analysis.calls import Row
from microbench.analysis.profile import Profile
from microbench.records.peaks import Peaks
from microbench.records.record import Kind
from microbench.tables import profile as reports
from microbench.tables.profile import ProfileTable, show_view, table

from .support import INFER, MakeCase, case_of

PEAKS = Peaks(4e11, 9e11, "conv3x3", "matmul", ((2**18, 2e11), (2**28, 5e10)), 2e-6)


def row(order: int, name: str, kind: Kind, type_: str, depth: int, lat: float, **figures: Any) -> Row:
    usual = {"out_shape": "(1, 64, 56, 56)", "lat": lat, "net_lat": lat}
    return call_of(order, name, kind, type_, depth, **usual | figures)


MEGA = 1_000_000
COUNTS = {"params": 1500, "flops": 21 * MEGA, "macc": 10 * MEGA, "mem_r": 2**21, "mem_w": 2**20}
FEW = {"params": 0, "flops": 4000, "macc": 4000, "mem_r": 2**11, "mem_w": 2**10}
NET = [
    row(0, "", Kind.CONTAINER, "Net", 0, 1.6e-3, net_lat=1e-4, params=1500),
    row(1, "block", Kind.CONTAINER, "Block", 1, 1.55e-3, net_lat=5e-5, params=1500),
    row(2, "block.conv", Kind.MODULE, "Conv2d", 2, 1.5e-3, **COUNTS),
    row(3, "block.add", Kind.FUNCTION, "add", 2, 2.5e-6, **FEW),
]
TIMED = Profile(NET, "net", 1, seconds=2e-3, peaks=PEAKS)


def show_profile(profile: Profile, out: Console, view: str = "calls", asked: Sequence[str] = ()) -> None:
    """Print a view of a profile with these columns, or with the usual ones that fit."""
    show_view(profile, profile.view(view, asked), out, may_hide=not asked)


def lines(
    profile: Profile, *, view: str = "calls", columns: tuple[str, ...] = (), width: int = 200
) -> list[str]:
    out = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    show_profile(profile, out, view, columns)
    assert isinstance(out.file, io.StringIO)
    return [line for line in out.file.getvalue().splitlines() if line.strip()]


def cells(profile: Profile, view: str = "calls", *columns: str) -> dict[str, dict[str, str]]:
    """Return the table's rows by their first cell, each cell by its column's name."""
    seen = profile.view(view, columns)
    found = table(seen, seen.columns)
    names = [str(column.header) for column in found.columns]
    lines = zip(*([str(cell) for cell in column.cells] for column in found.columns), strict=True)
    return {line[0]: dict(zip(names, line, strict=True)) for line in lines}


def test_figures_have_units_that_fit() -> None:
    found = cells(TIMED)
    assert found["block.conv"] == {
        "name": "block.conv",
        "type": "Conv2d",
        "output": "(1, 64, 56, 56)",
        "params": "1.50 k",
        "FLOP": "21.0 M",
        "read + written": "3.0 MiB",
        "time": "1.50 ms",
        "share": "75 %",
        "FLOP/s": "14.0 G",
        "reached": "3.5 %",
        "bound": "compute",
    }


def test_operators_are_distinguished_from_modules_and_overhead_and_total_end_the_table() -> None:
    found = cells(TIMED)
    assert found["block.add"]["type"] == "add()"
    assert found["overhead"]["time"] == "498 µs"
    assert found["total"]["time"] == "2.00 ms"
    assert found["total"]["share"] == "100 %"


def test_operators_without_a_rule_are_named_with_their_calls() -> None:
    assert not any("no rule" in line for line in lines(TIMED))
    conv = structs.replace(NET[2], unknown=2)
    odd = replace(TIMED, rows=[*NET[:2], conv, conv, NET[3]])
    (note,) = [line for line in lines(odd) if "no rule" in line]
    assert note == "FLOPs not counted (no rule): Conv2d (2 calls); see docs/counting.md"
    assert [each["unknown"] for each in cells(odd, "types", "type", "unknown").values()][:2] == ["4", ""]


def test_the_tree_is_indented() -> None:
    assert list(cells(TIMED, "tree", "name"))[:4] == ["net", "  block", "    conv", "    add"]


def test_types_have_no_name_and_the_total_is_in_the_first_column() -> None:
    found = cells(TIMED, "types")
    assert list(found)[:4] == ["Conv2d", "add()", "overhead", "total"]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_hides_some_columns_and_cuts_none(width: int) -> None:
    found = lines(TIMED, width=width)
    assert all(len(line) <= width for line in found[:5])
    assert "block.conv" in found[1]
    assert "1.50 ms" in found[1]
    assert found[0].split()[-2:] == ["reached", "bound"]


def test_hidden_columns_are_named() -> None:
    (note,) = [line for line in lines(TIMED, width=70) if line.startswith("columns hidden")]
    assert note == (
        "columns hidden (terminal too narrow): out_shape, params, mem_rw; columns=[…] selects others"
    )
    assert not [line for line in lines(TIMED, width=200) if line.startswith("columns hidden")]


def test_a_console_follows_its_terminal_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = Console(file=io.StringIO(), highlight=False, color_system=None)
    show_profile(TIMED, out, asked=["all"])
    assert out._width is None


def test_requested_columns_are_all_shown_on_any_terminal() -> None:
    header = lines(TIMED, columns=("name", "out_shape", "params", "mem_rw", "flop_rate", "bound"), width=200)
    assert header[0].split() == ["name", "output", "params", "read", "+", "written", "FLOP/s", "bound"]


def test_the_parts_of_the_uninstrumented_time_are_printed() -> None:
    (note,) = [line for line in lines(TIMED) if line.startswith("uninstrumented")]
    assert note == (
        "uninstrumented run 2.00 ms (interquartile mean) = leaf modules 75 % + operators 0.12 % + "
        "overhead 25 % (Python and dispatch)"
    )


LOAD = "(Python and dispatch); the passes disagree: other load interfered"
SHORT = (
    "(Python and dispatch); operator times are overestimated: operators are too short to time, or other load "
    "interfered"
)


@pytest.mark.parametrize(
    ("seconds", "add", "end"),
    [
        (1.6e-3, 1e-4, "(Python and dispatch)"),
        (1.6e-3, 3e-4, SHORT),
        (1.4e-3, 2.5e-6, LOAD),
    ],
)
def test_calls_that_add_up_to_more_than_the_model_are_explained(seconds: float, add: float, end: str) -> None:
    rows = [*NET[:-1], structs.replace(NET[-1], lat=add, net_lat=add)]
    (note,) = [line for line in lines(replace(TIMED, rows=rows, seconds=seconds)) if "uninstrumented" in line]
    assert note.endswith(end)


def test_the_trees_rows_have_modules_own_time_and_the_overhead_row_has_the_rest() -> None:
    (note,) = [line for line in lines(TIMED, view="tree") if line.startswith("uninstrumented")]
    assert "operators 0.12 % + containers themselves 4.9 % + overhead 20 % (Python" in note
    assert cells(TIMED, "tree", "name", "share")["overhead"]["share"] == "20 %"


def test_the_peaks_are_printed_with_what_reached_them() -> None:
    (note,) = [line for line in lines(TIMED) if line.startswith("measured peaks")]
    assert "fp32 400 GFLOP/s (conv3x3), bf16 900 GFLOP/s (matmul)" in note
    assert "memory 50.0 GB/s, caches up to 200 GB/s" in note


def test_a_format_without_a_peak_is_reported_as_emulated() -> None:
    peaks = structs.replace(PEAKS, bf16=None, bf16_by="", emulated=(("bfloat16", 2.3e9), ("float16", 1e9)))
    (note,) = [line for line in lines(replace(TIMED, peaks=peaks)) if line.startswith("measured peaks")]
    assert "(conv3x3), bf16 emulated (2.30 GFLOP/s in small products), fp16 emulated (1.00 GFLOP/s" in note


def test_measured_joules_are_printed_below_the_estimate() -> None:
    assert "measured energy: 1.25 mJ per call of the model" in lines(replace(TIMED, joules=1.25e-3))


def test_energy_is_called_a_model() -> None:
    found = cells(TIMED, "calls", "name", "energy")
    picojoules = 10e6 * 4.5 + 3 * 2**20 / 4 * (0.8 * 5 + 0.2 * 640)
    assert found["block.conv"]["energy (model)"] == f"{picojoules * 1e-6:.0f} µJ"


def test_a_table_longer_than_the_terminal_is_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("pydoc.pager", paged.append)
    out = Console(file=io.StringIO(), width=120, height=9, force_terminal=True, color_system=None)
    show_profile(TIMED, out)
    assert len(paged) == 1
    assert "block.conv" in paged[0]
    tall = Console(file=io.StringIO(), width=120, height=50, force_terminal=True, color_system=None)
    show_profile(TIMED, tall)
    assert len(paged) == 1


def test_a_profile_prints_the_view_that_it_was_made_with() -> None:
    shown = ProfileTable(**vars(TIMED), shown="types", columns=["type", "flops"])
    assert str(shown).splitlines()[0].split() == ["type", "FLOP"]
    assert shown.to_frame()["type"].tolist() == ["Conv2d", "add"]
    assert shown.to_frame(view="root")["type"].tolist() == ["Net"]


@pytest.mark.parametrize(
    ("settings", "ends"),
    [
        ([{"kwargs": {"bias": False}}, {"kwargs": {"bias": True}}], ["bias=False", "bias=True"]),
        ([{"kwargs": {"bias": False}}], ["cpu"]),
        ([{"batch_size": 1}, {"batch_size": 2}], ["cpu", "cpu"]),  # already in the title
    ],
    ids=["two", "one", "batches"],
)
def test_profiles_of_a_sweep_name_what_distinguishes_them(
    settings: list[dict[str, Any]], ends: list[str], make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "profile_of", lambda case: replace(TIMED, seconds=None))
    cases = []
    for order, setting in enumerate(settings):
        made = make_case(INFER, mode="profile", order=order, batch_size=setting.get("batch_size", 1))
        cases.append(case_of(*made))
        cases[-1].config.model.kwargs |= setting.get("kwargs", {})
    out = Console(file=io.StringIO(), width=200, highlight=False, color_system=None)
    reports.show_profiles(profiles.profile_reports(cases), out)
    assert isinstance(out.file, io.StringIO)
    titles = [line for line in out.file.getvalue().splitlines() if line.startswith("net profile")]
    assert len(titles) == len(ends)
    assert all(title.endswith(end) for title, end in zip(titles, ends, strict=True)), titles
