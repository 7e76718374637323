from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import asdict, replace

from microbench.analysis.calls import Row, merged, rows_of
from microbench.records.record import Call, Kind


def call(place: int, kind: Kind, *times: float, **figures: Any) -> Call:
    """Return a call within the model, which is the call in place 0."""
    what = {
        "name": str(place),
        "index": None if place == 0 else place - 1,
        "depth": min(place, 1),
        "type": "Any",
    }
    return Call(order=place, kind=kind, times=list(times), **what | figures)


def test_times_are_means_over_the_middle_half_of_all_rounds_passes_by_the_models_time() -> None:
    """The middle four of eight passes take 3 to 6 s; the inner module's times are from the same passes."""
    rounds = [
        [call(0, Kind.CONTAINER, 1.0, 6.0, 3.0, 50.0), call(1, Kind.MODULE, 100.0, 4.0, 1.0, 100.0)],
        [call(0, Kind.CONTAINER, 4.0, 2.0, 5.0, 60.0), call(1, Kind.MODULE, 2.0, 100.0, 3.0, 100.0)],
    ]
    model, inner = rows_of(merged(rounds))
    assert (model.lat, inner.lat) == (4.5, 2.5)
    assert (model.net_lat, inner.net_lat) == (2.0, 2.5)


def test_operators_have_passes_of_their_own() -> None:
    calls = [
        call(0, Kind.CONTAINER, 5.0, 5.0, 5.0, 99.0),
        call(1, Kind.MODULE, 1.0, 1.0, 1.0, 99.0),
        call(2, Kind.FUNCTION, 99.0, 2.0, 2.0, 2.0),
    ]
    model, _, add = rows_of(calls)
    assert add.lat == 2.0
    assert model.net_lat == 5.0 - 1.0 - 2.0


def test_parts_add_up_to_the_whole_however_they_are_delayed() -> None:
    """Each pass delays a different one of ten calls by 100 s: no median shows it."""
    delays = [[100.0 if place == delayed else 1.0 for delayed in range(10)] for place in range(10)]
    inner = [call(place, Kind.MODULE, *times) for place, times in enumerate(delays, 1)]
    model, *rows = rows_of([call(0, Kind.CONTAINER, *[110.0] * 10), *inner])
    assert model.lat == 110.0
    own = [row.net_lat or 0.0 for row in (model, *rows)]
    assert sum(own) == pytest.approx(110.0)


def test_counts_are_those_of_the_first_round() -> None:
    first = call(1, Kind.MODULE, 1.0, params=3, flops=7, backward=21)
    (row,) = rows_of(merged([[first], [call(1, Kind.MODULE, 1.0)]]))
    assert row == Row(**asdict(replace(first, times=[])), lat=1.0, net_lat=1.0)
    assert (row.params, row.flops, row.backward) == (3, 7, 21)


def test_a_model_without_calls_has_no_rows() -> None:
    assert rows_of([]) == []
