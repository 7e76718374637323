"""What a GPU's readings say of the samples: each warning is planted, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from microbench.measure.gpu import (
    REASONS,
    clocks,
    gpu_warnings,
    shares,
    throttled_samples,
    throttling,
)
from microbench.records.record import GpuReadings, GpuTimeline, WarningCode

MHZ = 1e6
IDLE, APPLICATION_CLOCKS = 0x1, 0x2


def timeline(*reasons: int, clock: list[float] | None = None) -> GpuTimeline:
    """Readings every tenth of a second."""
    return GpuTimeline(
        seconds=[place / 10 for place in range(len(reasons))],
        sm_clock=[each * MHZ for each in (clock or [1980.0] * len(reasons))],
        reasons=list(reasons),
    )


def found(told: GpuTimeline, **more: Any) -> GpuReadings:
    known = clocks(told)
    return GpuReadings(
        reasons=shares(told), timeline=told, sm_clock_min=min(known), sm_clock_max=max(known), **more
    )


def warned(readings: GpuReadings) -> dict[WarningCode, str]:
    return {each.code: each.message for each in gpu_warnings(readings)}


def test_a_gpu_that_was_left_alone_has_no_warnings() -> None:
    assert warned(GpuReadings()) == {}
    quiet = found(timeline(0, IDLE, APPLICATION_CLOCKS), others=0, memory_moved=2**20, busy_before=0.05)
    assert warned(quiet) == {}


@pytest.mark.parametrize("name", ["sw_thermal", "hw_thermal", "hw_slowdown", "hw_power_brake"])
def test_heat_and_hardware_count_in_any_reading(name: str) -> None:
    told = timeline(0, REASONS[name], *[0] * 98, clock=[1980, 1485, *[1980] * 98])
    text = warned(found(told))[WarningCode.GPU_THROTTLED]
    assert f"({name}, 1 % of the readings)" in text
    assert "1485 MHz instead of 1980 MHz, 25 % less" in text


@pytest.mark.parametrize(("capped", "is_told"), [(1, False), (2, True)])
def test_the_power_limit_counts_from_a_tenth_of_the_readings(capped: int, is_told: bool) -> None:
    told = timeline(*[REASONS["sw_power_cap"]] * capped, *[0] * (10 - capped))
    assert (WarningCode.GPU_THROTTLED in warned(found(told))) is is_told
    assert throttling(shares(told)) == (["sw_power_cap"] if is_told else [])


def test_where_all_readings_are_throttled_the_loss_is_against_the_highest_clock() -> None:
    told = timeline(*[REASONS["sw_power_cap"]] * 4, clock=[1500.0] * 4)
    assert "1500 MHz instead of 2000 MHz, 25 % less" in str(warned(found(told, sm_clock_limit=2000 * MHZ)))
    assert "instead of" not in str(warned(found(told)))


@pytest.mark.parametrize(("low", "is_told"), [(1930.0, False), (1900.0, True)])
def test_a_clock_that_moves_by_more_than_three_percent_is_told(low: float, is_told: bool) -> None:
    told = timeline(0, 0, 0, clock=[1980, low, 1980])
    assert (WarningCode.GPU_CLOCK_MOVED in warned(found(told))) is is_told


def test_the_clock_of_an_idle_gpu_is_none_of_the_works() -> None:
    assert clocks(timeline(0, IDLE, 0, clock=[1980, 345, 1980])) == [1980 * MHZ] * 2
    assert clocks(timeline(IDLE, IDLE, clock=[345, 345])) == [345 * MHZ] * 2  # nothing else is known


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"others": 1}, "1 other process used the GPU"),
        ({"others": 2, "memory_moved": 64 * 2**20}, "2 other processes used the GPU and its memory in use"),
        ({"memory_moved": 64 * 2**20}, "changed by 64 MiB by itself"),
    ],
)
def test_a_gpu_that_others_use_is_told(fields: dict[str, int], text: str) -> None:
    assert text in warned(GpuReadings(**fields))[WarningCode.GPU_SHARED]


def test_a_gpu_that_was_at_work_before_is_told() -> None:
    assert "87 % of the time before" in warned(GpuReadings(busy_before=0.87))[WarningCode.GPU_NOT_IDLE]


HOT = REASONS["sw_thermal"]


@pytest.mark.parametrize(
    ("reasons", "counts", "marked"),
    [
        ([0, 0, 0], [(0.0, 0), (0.2, 20)], []),
        # The reading at 0.1 s stands for 0.0 to 0.2 s.
        ([0, HOT, 0, 0, 0], [(0.0, 0), (0.4, 40)], [(0, 19)]),
        ([0, 0, 0, 0, HOT], [(0.0, 0), (0.4, 40)], [(30, 39)]),
        ([0, HOT, HOT, 0, 0], [(0.0, 0), (0.4, 40)], [(0, 29)]),
        ([HOT, 0, 0, 0, HOT], [(0.0, 0), (0.4, 40)], [(0, 9), (30, 39)]),
        # Samples that are reported in two parts, the second ten times as fast.
        ([0, 0, 0, HOT, 0], [(0.0, 0), (0.2, 2), (0.4, 22)], [(2, 21)]),
        # A sample that takes longer than the time between readings.
        ([0, HOT, 0, 0, 0, 0], [(0.0, 0), (0.5, 1)], [(0, 0)]),
        ([0, HOT, 0], [], []),
        ([0, HOT, 0], [(0.0, 0), (0.2, 0)], []),
    ],
)
def test_samples_beside_a_throttled_reading_are_marked(
    reasons: list[int], counts: list[tuple[float, int]], marked: list[tuple[int, int]]
) -> None:
    assert throttled_samples(timeline(*reasons), ["sw_thermal"], counts) == marked
