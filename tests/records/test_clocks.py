"""What the clocks of a GPU's series say of who takes the time."""

from __future__ import annotations

import pytest
from factory import series_of

from microbench.records import clocks
from microbench.records.record import Series


def stream(seconds: float, clock: str = clocks.EVENTS) -> Series:
    return series_of("inference", [seconds] * 6, clock=clock)


def device(seconds: float) -> Series:
    return series_of(clocks.DEVICE, [seconds] * 6, clock=clocks.BACKLOG)


@pytest.mark.parametrize(
    ("series", "share", "is_bound"),
    [
        ([stream(2.0), device(0.5)], 0.25, False),
        ([stream(2.0), device(1.9)], 0.95, True),
        ([stream(2.0)], None, False),
        ([stream(2.0, clocks.STEP), device(1.9)], None, False),
        ([stream(2.0, clocks.BACKLOG)], None, True),
        ([stream(2.0, "perf_counter_ns")], None, False),
        ([stream(0.0), device(0.0)], None, False),
        ([], None, False),
    ],
)
def test_the_device_is_busy_for_its_share_of_the_streams_time(
    series: list[Series], share: float | None, is_bound: bool
) -> None:
    assert clocks.device_share(series) == share
    assert clocks.is_bound_by_device(series) is is_bound


def test_every_clock_of_a_gpu_has_a_figure() -> None:
    known = {clocks.EVENTS, clocks.BACKLOG, clocks.STEP, clocks.PHASE, clocks.LAUNCH}
    assert set(clocks.FIGURES) == known
    assert len(set(clocks.FIGURES.values())) == len(known)
