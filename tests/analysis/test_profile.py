from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from microbench import config
from microbench.analysis.calls import Costs, Layer, Row, merged, rows_of
from microbench.analysis.columns import COLUMNS, chosen, usual
from microbench.analysis.limits import limits
from microbench.analysis.profile import VIEWS, Profile
from microbench.errors import UserError
from microbench.records.peaks import Peaks
from microbench.records.record import Call, Kind

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
    index = None if kind is Kind.CONTAINER else order
    layer = Layer(name, index, order, depth, kind, type_, "(1, 4)", "(1, 4)", "float32")
    costs = Costs(
        params,
        flops,
        flops,
        mem,
        mem,
        lat=lat,
        net_lat=lat if net is None else net,
        mem_alloc=8,
        mem_peak=order,
    )
    return Row(layer, costs)


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
PAPER = Profile([replace(each, costs=replace(each.costs, **UNTIMED)) for each in ROWS], "net")


def seen(profile: Profile, view: str, *names: str) -> list[tuple[Any, ...]]:
    return list(profile.to_frame(view, names).itertuples(index=False, name=None))


def test_calls_are_each_by_itself_in_their_order() -> None:
    assert seen(TIMED, "calls", "index", "name", "type", "flops", "lat") == [
        (1, "a", "Linear", 100, 4.0),
        (3, "b.c", "Linear", 200, 6.0),
        (4, "b.add", "add", 4, 1.0),
        (5, "b.c", "Linear", 200, 2.5),
        (6, "act", "ReLU", 4, 5.0),
    ]


def test_leaves_are_all_calls_of_a_module_together_and_its_parameters_once() -> None:
    assert seen(TIMED, "leaves", "name", "calls", "params", "flops", "lat", "share") == [
        ("a", 1, 10, 100, 4.0, 4 / 25),
        ("b.c", 2, 20, 400, 8.5, 8.5 / 25),
        ("b.add", 1, 0, 4, 1.0, 1 / 25),
        ("act", 1, 0, 4, 5.0, 5 / 25),
    ]


def test_several_calls_together_show_the_shapes_and_format_that_they_have_in_common_and_no_place() -> None:
    (first, *_), same = TIMED.view("leaves"), TIMED.view("leaves")[1]
    assert (first.layer.index, first.layer.out_shape) == (1, "(1, 4)")
    assert (same.layer.index, same.layer.out_shape, same.layer.dtype) == (None, "(1, 4)", "float32")
    other = [*ROWS[:5], replace(ROWS[5], layer=replace(ROWS[5].layer, out_shape="(2, 4)", dtype="float16"))]
    (found,) = [each for each in Profile(other, "net").view("leaves") if each.layer.name == "b.c"]
    assert (found.layer.in_shape, found.layer.out_shape, found.layer.dtype) == ("(1, 4)", "", "")


def test_printed_it_is_its_calls() -> None:
    head, columns, *rows = str(TIMED).splitlines()
    assert head == "net profile"
    assert columns.split() == usual(TIMED, "calls")
    assert [line.split()[1] for line in rows] == ["a", "b.c", "b.add", "b.c", "act"]


def test_energy_of_what_was_not_counted_is_not_known() -> None:
    bare = [replace(each, costs=replace(each.costs, flops=None, macc=None, mem_r=None)) for each in ROWS]
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


def test_the_tree_ends_where_it_is_deep_enough() -> None:
    assert TIMED.to_frame("tree", ["name"], depth=0)["name"].tolist() == [""]
    assert TIMED.to_frame("tree", ["name"], depth=1)["name"].tolist() == ["", "a", "b", "act"]


def test_types_are_all_calls_of_a_type_together_the_slowest_first() -> None:
    assert seen(TIMED, "types", "type", "calls", "params", "flops", "lat") == [
        ("Linear", 3, 30, 500, 12.5),
        ("ReLU", 1, 0, 4, 5.0),
        ("add", 1, 0, 4, 1.0),
    ]


def test_types_on_paper_are_in_the_order_of_their_arithmetic() -> None:
    assert [each[0] for each in seen(PAPER, "types", "type")] == ["Linear", "add", "ReLU"]


def test_the_root_is_the_whole_model_in_its_untouched_time() -> None:
    assert seen(TIMED, "root", "type", "calls", "params", "flops", "lat", "share") == [
        ("Net", 5, 30, 508, 25.0, 1.0)
    ]


def test_what_is_in_none_of_the_calls_is_the_rest() -> None:
    assert TIMED.rest() is not None
    assert TIMED.rest().costs.lat == 25.0 - (4 + 6 + 1 + 2.5 + 5)
    assert PAPER.rest() is None


def test_without_functions_their_time_is_in_the_rest_and_their_arithmetic_nowhere() -> None:
    modules = Profile(ROWS, "net", seconds=25.0, functions=False)
    assert "add" not in modules.to_frame("calls", ["type"])["type"].tolist()
    assert modules.total.costs.flops == 504
    assert modules.rest() is not None
    assert modules.rest().costs.lat == 25.0 - (4 + 6 + 2.5 + 5)


class TestLimits:
    """PEAKS: 100 FLOP/s, 10 B/s, 0.5 s a call; the calls read and write 40 or 20 bytes."""

    def test_a_call_is_bound_by_what_takes_longest_at_best(self) -> None:
        (memory,) = [limits([each], PEAKS) for each in ROWS if each.layer.name == "a"]
        assert (memory.bound, memory.ceiling, memory.reached) == ("memory", 100 / 40 * 10, 4 / 4)
        compute = limits([row(0, "x", Kind.MODULE, "Linear", 0, 0, 1000, 20, 20.0)], PEAKS)
        assert (compute.bound, compute.ceiling, compute.reached) == ("compute", 100.0, 10 / 20)
        overhead = limits([row(0, "x", Kind.FUNCTION, "view", 0, 0, 0, 0, 5.0)], PEAKS)
        assert (overhead.bound, overhead.ceiling, overhead.reached) == ("overhead", 0.0, 0.5 / 5)

    def test_several_calls_take_the_sum_of_their_least_times_and_have_the_bound_of_most_of_it(self) -> None:
        calls = [
            row(0, "x", Kind.MODULE, "Linear", 0, 0, 1000, 20, 20.0),  # 10 s at best, of arithmetic
            row(1, "y", Kind.MODULE, "Linear", 0, 0, 10, 20, 20.0),  # 4 s at best, of memory
        ]
        found = limits(calls, PEAKS)
        assert (found.bound, found.reached, found.ceiling) == ("compute", 14 / 40, 1010 / 14)

    def test_a_number_format_without_a_peak_has_no_bound(self) -> None:
        layer = Layer("x", 0, 0, 0, Kind.MODULE, "Linear", dtype="float64")
        found = limits([Row(layer, Costs(0, 10, 10, 10, 10, lat=1.0, net_lat=1.0))], PEAKS)
        assert (found.bound, found.reached) == (None, None)

    def test_several_calls_have_no_bound_where_those_without_a_peak_take_most_of_the_time(self) -> None:
        layer = Layer("x", 0, 0, 0, Kind.MODULE, "Linear", dtype="float64")
        unknown = Row(layer, Costs(0, 10, 10, 10, 10, lat=30.0, net_lat=30.0))
        known = row(1, "y", Kind.MODULE, "Linear", 0, 0, 1000, 20, 20.0)
        found = limits([unknown, known], PEAKS)
        assert (found.bound, found.reached, found.ceiling) == (None, None, None)
        assert limits([unknown, known, known], PEAKS).bound == "compute"

    def test_without_peaks_there_are_none(self) -> None:
        assert limits(ROWS, None).bound is None


class TestColumns:
    @pytest.mark.parametrize("view", VIEWS)
    @pytest.mark.parametrize("profile", [TIMED, PAPER])
    def test_every_view_shows_columns_that_its_profile_can_fill(self, profile: Profile, view: str) -> None:
        shown = usual(profile, view)
        assert shown
        assert "lat" in shown or profile is PAPER
        frame = profile.to_frame(view, [])
        assert frame.columns.tolist() == shown
        assert not frame.isna().all().any(), frame

    def test_those_asked_for_stand_in_their_order(self) -> None:
        assert chosen(TIMED, "calls", ["lat", "name"]) == ["lat", "name"]

    def test_a_tilde_strikes_one_of_the_usual_ones(self) -> None:
        assert chosen(TIMED, "calls", ["~flops"]) == [
            name for name in usual(TIMED, "calls") if name != "flops"
        ]

    def test_a_tilde_strikes_one_of_all(self) -> None:
        every = chosen(TIMED, "calls", ["all"])
        assert chosen(TIMED, "calls", ["all", "~lat"]) == [name for name in every if name != "lat"]
        assert set(every) == set(COLUMNS) - {"backward"}

    @pytest.mark.parametrize("asked", [["name", "~name"], ["~all"], ["all", "~all"], "flops,~flops"])
    def test_nothing_left_to_show_is_a_mistake(self, asked: Any) -> None:
        with pytest.raises(UserError, match=r"^columns=\[.*\] leaves no column to show\.$"):
            TIMED.to_frame("calls", asked)

    def test_they_are_a_list_or_a_text(self) -> None:
        assert TIMED.to_frame("calls", "name, flops").columns.tolist() == ["name", "flops"]
        for wrong in (3, [1]):
            with pytest.raises(UserError, match=r"^columns=.* is not possible: give names, such as"):
                TIMED.to_frame("calls", wrong)  # type: ignore[arg-type]

    def test_one_that_does_not_exist_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match=r"^Unknown column 'floops'. Did you mean flops"):
            TIMED.to_frame("calls", ["floops"])

    @pytest.mark.parametrize(
        ("column", "remedy"),
        [("lat", "timing=true"), ("mem_peak", "memory=true"), ("backward", "mode.training=true")],
    )
    def test_one_that_the_profile_cannot_fill_says_what_fills_it(self, column: str, remedy: str) -> None:
        with pytest.raises(UserError, match=rf"^columns={column}: this profile does not have it; .*{remedy}"):
            PAPER.to_frame("calls", [column])

    def test_every_column_says_what_it_is(self) -> None:
        assert all(each.meaning for each in COLUMNS.values())


def test_views_are_those_that_can_be_asked_for() -> None:
    assert list(VIEWS) == list(config.VIEWS)


def test_an_unknown_view_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^Unknown view 'leafs'. Did you mean leaves\?"):
        TIMED.to_frame("leafs")


def test_a_view_or_a_depth_of_another_kind_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"^Unknown view \"\['calls'\]\""):
        TIMED.to_frame(["calls"])  # type: ignore[arg-type]
    for wrong in ("x", -1, True):
        with pytest.raises(UserError, match=r"^depth=.* is not possible: give an integer of at least 0"):
            TIMED.to_frame("tree", depth=wrong)  # type: ignore[arg-type]


def call(place: int, kind: Kind, *times: float, **figures: Any) -> Call:
    """A call within the model, which is the call in place 0."""
    what = {
        "name": str(place),
        "index": None if place == 0 else place - 1,
        "depth": min(place, 1),
        "type": "Any",
    }
    return Call(order=place, kind=kind, times=list(times), **what | figures)


def test_times_are_means_over_the_middle_half_of_all_rounds_passes_by_the_models_time() -> None:
    """Of eight passes the middle four take 3 to 6 s; the inner module's times are of the same passes."""
    rounds = [
        [call(0, Kind.CONTAINER, 1.0, 6.0, 3.0, 50.0), call(1, Kind.MODULE, 100.0, 4.0, 1.0, 100.0)],
        [call(0, Kind.CONTAINER, 4.0, 2.0, 5.0, 60.0), call(1, Kind.MODULE, 2.0, 100.0, 3.0, 100.0)],
    ]
    model, inner = rows_of(merged(rounds))
    assert (model.costs.lat, inner.costs.lat) == (4.5, 2.5)
    assert (model.costs.net_lat, inner.costs.net_lat) == (2.0, 2.5)


def test_operators_have_passes_of_their_own() -> None:
    calls = [
        call(0, Kind.CONTAINER, 5.0, 5.0, 5.0, 99.0),
        call(1, Kind.MODULE, 1.0, 1.0, 1.0, 99.0),
        call(2, Kind.FUNCTION, 99.0, 2.0, 2.0, 2.0),
    ]
    model, _, add = rows_of(calls)
    assert add.costs.lat == 2.0
    assert model.costs.net_lat == 5.0 - 1.0 - 2.0


def test_parts_add_up_to_the_whole_however_they_are_delayed() -> None:
    """Each pass delays another of ten calls by 100 s: no median shows it."""
    delays = [[100.0 if place == delayed else 1.0 for delayed in range(10)] for place in range(10)]
    inner = [call(place, Kind.MODULE, *times) for place, times in enumerate(delays, 1)]
    model, *rows = rows_of([call(0, Kind.CONTAINER, *[110.0] * 10), *inner])
    assert model.costs.lat == 110.0
    own = [row.costs.net_lat or 0.0 for row in (model, *rows)]
    assert sum(own) == pytest.approx(110.0)


def test_what_is_counted_is_that_of_the_first_round() -> None:
    first = call(1, Kind.MODULE, 1.0, params=3, flops=7, backward=21)
    (row,) = rows_of(merged([[first], [call(1, Kind.MODULE, 1.0)]]))
    assert row.costs == Costs(params=3, flops=7, backward=21, lat=1.0, net_lat=1.0)
    assert (row.layer.name, row.layer.order, row.layer.type) == ("1", 1, "Any")


def test_a_model_without_calls_has_no_rows() -> None:
    assert rows_of([]) == []
