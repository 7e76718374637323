from __future__ import annotations

from typing import Any

import msgspec
import pytest
from factory import call_of
from msgspec.structs import replace

from microbench.analysis.calls import Row
from microbench.analysis.roofline import Bound, limits, roof
from microbench.records.peaks import Peaks
from microbench.records.record import Kind

KIB, GIGA = 2**10, 1e9
PEAKS = Peaks(
    fp32=100 * GIGA,
    bf16=400 * GIGA,
    fp32_by="conv3x3",
    bf16_by="product",
    bandwidths=((256 * KIB, 80 * GIGA), (1024 * KIB, 40 * GIGA), (65536 * KIB, 10 * GIGA)),
    call_seconds=2e-6,
)


def call(flops: int, size: int, seconds: float, dtype: str = "float32") -> Row:
    costs = {"flops": flops, "mem_r": size, "mem_w": 0, "lat": seconds, "net_lat": seconds}
    return call_of(0, "x", Kind.MODULE, "X", 0, dtype=dtype, **costs)


def reached(flops: int, size: int, seconds: float, dtype: str = "float32") -> float | None:
    return limits([call(flops, size, seconds, dtype)], PEAKS).reached


def test_bandwidth_is_interpolated_over_the_logarithm_of_the_bytes() -> None:
    assert PEAKS.bandwidth(256 * KIB) == 80 * GIGA
    assert PEAKS.bandwidth(512 * KIB) == pytest.approx(60 * GIGA)
    assert PEAKS.bandwidth(1024 * KIB) == 40 * GIGA
    assert PEAKS.bandwidth(8192 * KIB) == pytest.approx(25 * GIGA)  # halfway from 2^10 to 2^16 KiB


@pytest.mark.parametrize(("size", "rate"), [(0, 80), (1, 80), (65536 * KIB, 10), (2**40, 10)])
def test_bandwidth_beyond_the_measured_sizes_is_that_of_the_last(size: int, rate: float) -> None:
    assert PEAKS.bandwidth(size) == rate * GIGA


@pytest.mark.parametrize(
    ("dtype", "peak"),
    [
        ("float32", 100),
        ("bfloat16", 400),
        ("float16", 400),
        ("int64", 100),
        ("bool", 100),
    ],
)
def test_a_number_format_has_the_peak_that_was_measured_for_it(dtype: str, peak: float) -> None:
    assert PEAKS.arithmetic(dtype) == peak * GIGA


def test_a_call_of_many_operations_per_byte_is_bound_by_arithmetic() -> None:
    found = roof(10**9, 10**6, "float32", PEAKS)
    assert found.ceiling == 100 * GIGA
    assert found.bound is Bound.COMPUTE
    assert found.least[Bound.COMPUTE] == pytest.approx(0.01)
    assert reached(10**9, 10**6, 0.02) == pytest.approx(0.5)


def test_a_call_of_few_operations_per_byte_is_bound_by_memory() -> None:
    size = 2**27
    found = roof(size // 8, size, "float32", PEAKS)
    assert found.ceiling == pytest.approx(0.125 * 10 * GIGA)
    assert found.bound is Bound.MEMORY
    seconds = 4 * size / (10 * GIGA)
    assert reached(size // 8, size, seconds) == pytest.approx(0.25)
    assert size / 8 / seconds / found.ceiling == pytest.approx(0.25)  # the same share of FLOP/s


def test_a_call_whose_bytes_fit_in_a_cache_has_that_caches_bandwidth() -> None:
    small, large = roof(2**10, 2**18, "float32", PEAKS), roof(2**18, 2**26, "float32", PEAKS)
    assert (small.ceiling, large.ceiling) == (pytest.approx(80 * GIGA / 256), pytest.approx(10 * GIGA / 256))


def test_a_number_format_with_faster_arithmetic_is_bound_by_memory_earlier() -> None:
    assert roof(10**9, 2**26, "float32", PEAKS).bound is Bound.COMPUTE
    assert roof(10**9, 2**26, "bfloat16", PEAKS).bound is Bound.MEMORY


def test_a_small_call_is_bound_by_overhead() -> None:
    found = roof(1000, 8000, "float32", PEAKS)
    assert found.bound is Bound.OVERHEAD
    assert reached(1000, 8000, 8e-6) == pytest.approx(0.25)


def test_a_copy_does_no_arithmetic_and_is_bound_by_memory() -> None:
    found = roof(0, 2**26, "float32", PEAKS)
    assert (found.ceiling, found.bound) == (0.0, Bound.MEMORY)
    assert found.least[Bound.COMPUTE] == 0.0


def test_a_view_moves_nothing_and_is_bound_by_overhead() -> None:
    found = roof(0, 0, "float32", PEAKS)
    assert (found.ceiling, found.bound) == (0.0, Bound.OVERHEAD)
    assert found.least == {Bound.OVERHEAD: 2e-6, Bound.COMPUTE: 0.0, Bound.MEMORY: 0.0}


def test_arithmetic_without_bytes_has_the_peak_as_its_ceiling() -> None:
    found = roof(10**9, 0, "float32", PEAKS)
    assert (found.ceiling, found.bound) == (100 * GIGA, Bound.COMPUTE)


def test_a_format_whose_peak_was_not_measured_has_no_bound() -> None:
    found = roof(10**6, 10**6, "float64", PEAKS)
    assert (found.ceiling, found.bound) == (None, None)
    assert Bound.COMPUTE not in found.least
    assert reached(10**6, 10**6, 1.0, "float64") is None
    assert roof(0, 2**26, "float64", PEAKS).bound is Bound.MEMORY  # irrelevant without arithmetic


def test_a_call_has_no_bound_without_a_measured_bandwidth() -> None:
    found = roof(10**6, 10**6, "float32", replace(PEAKS, bandwidths=()))
    assert (found.ceiling, found.bound) == (None, None)


def test_a_call_faster_than_the_peaks_reaches_more_than_1_and_one_without_time_nothing() -> None:
    assert reached(10**9, 10**6, 0.005) == pytest.approx(2.0)
    assert reached(10**9, 10**6, 0.0) is None


class TestLimits:
    """Limits of calls on a machine with 100 FLOP/s and 10 B/s, on which a call takes at least 0.5 s."""

    PEAKS = Peaks(100.0, 400.0, "mm", "mm", ((1, 10.0),), 0.5)
    COMPUTE = call(1000, 40, 20.0)  # 10 s at best
    MEMORY = call(10, 40, 20.0)  # 4 s at best

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (call(100, 40, 4.0), ("memory", 100 / 40 * 10, 4 / 4)),
            (COMPUTE, ("compute", 100.0, 10 / 20)),
            (call(0, 0, 5.0), ("overhead", 0.0, 0.5 / 5)),
        ],
    )
    def test_a_call_is_bound_by_what_takes_longest_at_best(self, row: Row, expected: object) -> None:
        found = limits([row], self.PEAKS)
        assert (found.bound, found.ceiling, found.reached) == expected

    def test_several_calls_have_the_sum_of_their_shortest_times_and_the_bound_of_most_of_it(self) -> None:
        found = limits([self.COMPUTE, self.MEMORY], self.PEAKS)
        assert (found.bound, found.reached, found.ceiling) == ("compute", 14 / 40, 1010 / 14)

    def test_a_number_format_without_a_peak_has_no_bound(self) -> None:
        found = limits([call(10, 20, 1.0, "float64")], self.PEAKS)
        assert (found.bound, found.reached) == (None, None)

    def test_several_calls_have_no_bound_if_those_without_a_peak_take_most_of_the_time(self) -> None:
        unknown = call(10, 20, 30.0, "float64")
        found = limits([unknown, self.COMPUTE], self.PEAKS)
        assert (found.bound, found.reached, found.ceiling) == (None, None, None)
        assert limits([unknown, self.COMPUTE, self.COMPUTE], self.PEAKS).bound == "compute"

    def test_calls_have_no_limits_without_peaks(self) -> None:
        assert limits([self.COMPUTE], None).bound is None


def test_the_better_of_two_measurements_of_each_peak_counts() -> None:
    other = Peaks(
        fp32=90 * GIGA,
        bf16=500 * GIGA,
        fp32_by="matmul",
        bf16_by="linear",
        bandwidths=((256 * KIB, 90 * GIGA), (1024 * KIB, 30 * GIGA), (2048 * KIB, 20 * GIGA)),
        call_seconds=1e-6,
    )
    both = Peaks(
        fp32=100 * GIGA,
        bf16=500 * GIGA,
        fp32_by="conv3x3",
        bf16_by="linear",
        bandwidths=(
            (256 * KIB, 90 * GIGA),
            (1024 * KIB, 40 * GIGA),
            (2048 * KIB, 20 * GIGA),
            (65536 * KIB, 10 * GIGA),
        ),
        call_seconds=1e-6,
    )
    assert PEAKS.best(other) == other.best(PEAKS) == both
    assert PEAKS.best(PEAKS) == PEAKS


def test_peaks_that_neither_measured_are_unknown() -> None:
    without = replace(PEAKS, bf16=None, bf16_by="")
    assert without.best(without) == without
    assert without.best(PEAKS) == PEAKS


SLOW = replace(PEAKS, bf16=None, bf16_by="", emulated=(("bfloat16", 2 * GIGA), ("float16", GIGA)))


def test_a_format_emulated_in_fp32_is_no_faster_than_fp32() -> None:
    assert SLOW.arithmetic("bfloat16") == SLOW.arithmetic("float16") == SLOW.arithmetic("float32")
    assert replace(SLOW, emulated=SLOW.emulated[:1]).arithmetic("float16") is None


def test_a_format_that_was_slow_in_both_measurements_is_emulated() -> None:
    quicker = replace(SLOW, emulated=(("float16", 3 * GIGA),))
    assert SLOW.best(quicker).emulated == quicker.best(SLOW).emulated == (("float16", 3 * GIGA),)
    assert SLOW.best(PEAKS) == PEAKS


def test_a_disturbance_of_one_of_two_may_have_affected_the_better() -> None:
    disturbed = replace(PEAKS, disturbed=True)
    assert PEAKS.best(disturbed) == disturbed.best(PEAKS) == disturbed


def plain(**fields: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(PEAKS), **fields}


@pytest.mark.parametrize("peaks", [PEAKS, SLOW])
def test_peaks_survive_a_round_trip_through_json(peaks: Peaks) -> None:
    assert msgspec.json.decode(msgspec.json.encode(peaks), type=Peaks) == peaks


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        plain(fp32="fast"),
        plain(fp32=-1.0),
        plain(call_seconds=None),
        plain(bandwidths=[[1]]),
        plain(bandwidths=3),
        plain(bandwidths=[[1024, float("nan")]]),
    ],
)
def test_other_json_is_rejected(broken: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(broken, Peaks)
