from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from factory import call_of
from msgspec.structs import replace

from microbench import config
from microbench.analysis.calls import Row
from microbench.analysis.columns import COLUMNS
from microbench.analysis.profile import VIEWS, Profile, ViewRow
from microbench.errors import UserError
from microbench.records.peaks import Peaks
from microbench.records.record import Kind

PEAKS = Peaks(fp32=100.0, bf16=400.0, fp32_by="mm", bf16_by="mm", bandwidths=((1, 10.0),), call_seconds=0.5)


def row(
    order: int,
    name: str,
    kind: Kind,
    type_: str,
    depth: int,
    params: int = 0,
    flops: int | None = None,
    mem: int | None = None,
    lat: float | None = None,
    net: float | None = None,
) -> Row:
    return call_of(
        order,
        name,
        kind,
        type_,
        depth,
        index=None if kind is Kind.CONTAINER else order,
        params=params,
        flops=flops,
        macc=flops,
        mem_r=mem,
        mem_w=mem,
        lat=lat,
        net_lat=lat if net is None else net,
        mem_alloc=8,
        mem_peak=order,
    )


# A block that is called twice, with an addition in it, between a layer and nothing.
ROWS = [
    row(0, "", Kind.CONTAINER, "Net", 0, params=30, lat=20.0, net=1.0),
    row(1, "a", Kind.MODULE, "Linear", 1, 10, 100, 20, 4.0),
    row(2, "b", Kind.CONTAINER, "Block", 1, params=20, lat=10.0, net=0.5),
    row(3, "b.c", Kind.MODULE, "Linear", 2, 20, 200, 20, 6.0),
    row(4, "b.add", Kind.FUNCTION, "add", 2, 0, 4, 10, 1.0),
    row(5, "b.c", Kind.MODULE, "Linear", 2, 20, 200, 20, 2.5),
    row(6, "act", Kind.MODULE, "ReLU", 1, 0, 4, 10, 5.0),
]
TIMED = Profile(ROWS, "net", seconds=25.0, peaks=PEAKS)
UNTIMED = {"lat": None, "net_lat": None, "mem_alloc": None, "mem_peak": None}
DRY = Profile([replace(each, **UNTIMED) for each in ROWS], "net")


def seen(profile: Profile, view: str, *names: str) -> list[tuple[Any, ...]]:
    return list(profile.to_frame(view, names).itertuples(index=False, name=None))


def columns(profile: Profile, view: str, *names: str) -> list[Mapping[str, Any]]:
    """Return the rows of a view by column, with None for unknown values."""
    return [row.values for row in profile.view(view, names).rows]


def lat_of(row: ViewRow | None) -> float:
    assert row is not None
    return row.values["lat"]  # type: ignore[no-any-return]


def test_the_view_calls_has_each_call_in_order() -> None:
    assert seen(TIMED, "calls", "index", "name", "type", "flops", "lat") == [
        (1, "a", "Linear", 100, 4.0),
        (3, "b.c", "Linear", 200, 6.0),
        (4, "b.add", "add", 4, 1.0),
        (5, "b.c", "Linear", 200, 2.5),
        (6, "act", "ReLU", 4, 5.0),
    ]


def test_leaves_are_all_calls_of_a_module_together_with_its_parameters_once() -> None:
    assert seen(TIMED, "leaves", "name", "calls", "params", "flops", "lat", "share") == [
        ("a", 1, 10, 100, 4.0, 4 / 25),
        ("b.c", 2, 20, 400, 8.5, 8.5 / 25),
        ("b.add", 1, 0, 4, 1.0, 1 / 25),
        ("act", 1, 0, 4, 5.0, 5 / 25),
    ]


def test_several_calls_together_have_their_common_shapes_and_format_and_no_index() -> None:
    shared = ("index", "in_shape", "out_shape", "dtype")
    first, same, *_ = seen(TIMED, "leaves", *shared)
    assert first == (1, "(1, 4)", "(1, 4)", "float32")
    assert same[1:] == ("(1, 4)", "(1, 4)", "float32")
    other = [*ROWS[:5], replace(ROWS[5], out_shape="(2, 4)", dtype="float16")]
    (found,) = [
        each for each in seen(Profile(other, "net"), "leaves", "name", *shared[1:]) if each[0] == "b.c"
    ]
    assert found == ("b.c", "(1, 4)", "", "")
    (together,) = [each for each in columns(TIMED, "leaves", "name", "index") if each["name"] == "b.c"]
    assert together["index"] is None


def test_a_profile_prints_its_calls() -> None:
    head, names, *rows = str(TIMED).splitlines()
    assert head == "net profile"
    assert names.split() == TIMED.view("calls").columns
    assert [line.split()[1] for line in rows] == ["a", "b.c", "b.add", "b.c", "act"]


def test_the_energy_of_what_was_not_counted_is_unknown() -> None:
    bare = [replace(each, flops=None, macc=None, mem_r=None) for each in ROWS]
    assert Profile(bare, "net").to_frame("calls", ["energy"])["energy"].isna().all()


def test_the_tree_has_every_module_with_the_sums_of_what_it_calls_and_its_own_times() -> None:
    assert seen(TIMED, "tree", "name", "calls", "params", "flops", "mem_rw", "lat", "net_lat") == [
        ("", 5, 30, 508, 160, 20.0, 1.0),
        ("a", 1, 10, 100, 40, 4.0, 4.0),
        ("b", 3, 20, 404, 100, 10.0, 0.5),
        ("b.c", 1, 20, 200, 40, 6.0, 6.0),
        ("b.add", 1, 0, 4, 20, 1.0, 1.0),
        ("b.c", 1, 20, 200, 40, 2.5, 2.5),
        ("act", 1, 0, 4, 20, 5.0, 5.0),
    ]


def test_the_tree_ends_at_the_requested_depth() -> None:
    assert TIMED.to_frame("tree", ["name"], depth=0)["name"].tolist() == [""]
    assert TIMED.to_frame("tree", ["name"], depth=1)["name"].tolist() == ["", "a", "b", "act"]


def test_types_are_all_calls_of_a_type_together_with_the_slowest_first() -> None:
    assert seen(TIMED, "types", "type", "calls", "params", "flops", "lat") == [
        ("Linear", 3, 30, 500, 12.5),
        ("ReLU", 1, 0, 4, 5.0),
        ("add", 1, 0, 4, 1.0),
    ]


def test_types_in_a_dry_run_are_in_the_order_of_their_arithmetic() -> None:
    assert [each[0] for each in seen(DRY, "types", "type")] == ["Linear", "add", "ReLU"]


def test_the_root_is_the_whole_model_with_its_uninstrumented_time() -> None:
    assert seen(TIMED, "root", "type", "calls", "params", "flops", "lat", "share") == [
        ("Net", 5, 30, 508, 25.0, 1.0)
    ]


def test_time_outside_the_calls_is_the_overhead() -> None:
    assert lat_of(TIMED.view("calls").overhead) == 25.0 - (4 + 6 + 1 + 2.5 + 5)
    assert DRY.view("calls").overhead is None


def test_modules_own_time_is_in_their_rows_of_the_tree() -> None:
    assert lat_of(TIMED.view("tree").overhead) == 25.0 - 20.0


def test_the_root_is_the_whole_without_overhead() -> None:
    root = TIMED.view("root")
    assert (root.overhead, root.total) == (None, None)
    total = TIMED.view("calls", ["flops", "lat", "calls"]).total
    assert total is not None
    assert total.values == {"flops": 508, "lat": 25.0, "calls": 5}


def test_the_uninstrumented_time_is_the_sum_of_its_shares() -> None:
    calls, tree = TIMED.view("calls").shares, TIMED.view("tree").shares
    assert calls is not None
    assert tree is not None
    assert (calls.modules, calls.operators, calls.containers) == (17.5 / 25, 1 / 25, None)
    assert calls.overhead == pytest.approx(6.5 / 25)
    assert (tree.containers, tree.overhead) == (pytest.approx(1.5 / 25), pytest.approx(5 / 25))
    assert calls.excess is None
    assert DRY.view("calls").shares is None


def test_calls_that_add_up_to_more_than_the_model_say_which_pass_is_wrong() -> None:
    """Modules take 17.5 s; with an addition of 9 s instead of 1 s, the operators' times are too long."""
    slow = [replace(each, lat=9.0, net_lat=9.0) if each.type == "add" else each for each in ROWS]
    for rows, seconds, excess in ((slow, 21.0, "operators"), (ROWS, 15.0, "passes"), (slow, 26.0, None)):
        found = dataclasses.replace(TIMED, rows=rows, seconds=seconds).view("calls").shares
        assert found is not None
        assert found.excess == excess


def test_calls_with_uncounted_operators_are_counted_by_type() -> None:
    rows = [replace(each, unknown=2) if each.type == "Linear" else each for each in ROWS]
    assert Profile(rows, "net").view("calls").uncounted == {"Linear": 3}
    assert TIMED.view("calls").uncounted == {}


def test_a_row_of_the_tree_is_labeled_without_its_callers_name() -> None:
    found = [(row.level, row.label) for row in TIMED.view("tree").rows]
    assert found == [(0, "net"), (1, "a"), (1, "b"), (2, "c"), (2, "add"), (2, "c"), (1, "act")]
    assert [row.label for row in TIMED.view("leaves").rows] == ["a", "b.c", "b.add", "act"]


def test_operators_that_are_not_shown_leave_their_time_in_the_overhead_and_their_arithmetic_nowhere() -> None:
    modules = Profile(ROWS, "net", seconds=25.0, functions=False)
    assert "add" not in modules.to_frame("calls", ["type"])["type"].tolist()
    assert modules.total.flops == 504
    assert lat_of(modules.view("calls").overhead) == 25.0 - (4 + 6 + 2.5 + 5)
    shares = modules.view("calls").shares
    assert shares is not None
    assert shares.operators is None


class TestColumns:
    @pytest.mark.parametrize("view", VIEWS)
    @pytest.mark.parametrize("profile", [TIMED, DRY])
    def test_every_view_shows_columns_that_its_profile_can_fill(self, profile: Profile, view: str) -> None:
        shown = profile.view(view).columns
        assert shown
        assert "lat" in shown or profile is DRY
        frame = profile.to_frame(view, [])
        assert frame.columns.tolist() == shown
        assert not frame.isna().all().any(), frame

    def test_requested_columns_are_in_their_order(self) -> None:
        assert TIMED.view("calls", ["lat", "name"]).columns == ["lat", "name"]

    def test_a_tilde_removes_one_of_the_usual_columns(self) -> None:
        usual = TIMED.view("calls").columns
        assert TIMED.view("calls", ["~flops"]).columns == [name for name in usual if name != "flops"]

    def test_a_tilde_removes_one_of_all_columns(self) -> None:
        every = TIMED.view("calls", ["all"]).columns
        assert TIMED.view("calls", ["all", "~lat"]).columns == [name for name in every if name != "lat"]
        assert set(every) == set(COLUMNS) - {"backward"}

    @pytest.mark.parametrize("asked", [["name", "~name"], ["~all"], ["all", "~all"], "flops,~flops"])
    def test_no_column_left_to_show_is_an_error(self, asked: Any) -> None:
        with pytest.raises(UserError, match=r"^columns=\[.*\] leaves no column to show\.$"):
            TIMED.to_frame("calls", asked)

    def test_columns_are_a_list_or_a_string(self) -> None:
        assert TIMED.to_frame("calls", "name, flops").columns.tolist() == ["name", "flops"]
        for wrong in (3, [1]):
            with pytest.raises(UserError, match=r"^columns=.* is not possible: give names, such as"):
                TIMED.to_frame("calls", wrong)  # type: ignore[arg-type]

    def test_an_unknown_column_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match=r"^Unknown column 'floops'. Did you mean flops"):
            TIMED.to_frame("calls", ["floops"])

    @pytest.mark.parametrize(
        ("column", "remedy"),
        [("lat", "timing=true"), ("mem_peak", "memory=true"), ("backward", "mode.training=true")],
    )
    def test_a_column_that_cannot_be_filled_says_what_fills_it(self, column: str, remedy: str) -> None:
        with pytest.raises(UserError, match=rf"^columns={column}: this profile does not have it; .*{remedy}"):
            DRY.to_frame("calls", [column])

    def test_every_column_is_documented(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "profile.md").read_text()
        first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
        documented = {name.strip() for cell in first for name in cell.split(",")}
        assert set(COLUMNS) <= documented


def test_every_view_is_a_value_of_the_option() -> None:
    assert list(VIEWS) == list(config.VIEWS)


def test_an_unknown_view_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^Unknown view 'leafs'. Did you mean leaves\?"):
        TIMED.to_frame("leafs")


def test_a_view_or_a_depth_of_another_kind_is_an_error() -> None:
    with pytest.raises(UserError, match=r"^Unknown view \"\['calls'\]\""):
        TIMED.to_frame(["calls"])  # type: ignore[arg-type]
    for wrong in ("x", -1, True):
        with pytest.raises(UserError, match=r"^depth=.* is not possible: give an integer of at least 0"):
            TIMED.to_frame("tree", depth=wrong)  # type: ignore[arg-type]
