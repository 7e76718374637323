from __future__ import annotations

import math

import pytest

from microbench.tables import units


@pytest.mark.parametrize(
    ("seconds", "half_width", "text"),
    [
        # The first digit of the half-width is the last one shown …
        (0.0206123, 0.00031, "20.6 ms"),
        (0.0206123, 0.00099, "20.6 ms"),
        (0.0206123, 0.0031, "21 ms"),
        (0.0206123, 0.00003, "20.61 ms"),
        (0.0206123, 0.0002, "20.6 ms"),
        # … and the second one too where the first is a 1.
        (0.0206123, 0.00019, "20.61 ms"),
        (0.0206123, 0.0001, "20.61 ms"),
        (0.0206123, 0.0013, "20.6 ms"),
        (0.0206123, 0.012, "21 ms"),  # no decimals below none
        # No more than five significant digits, however narrow the interval.
        (0.0206123, 1e-12, "20.612 ms"),
        (1.23456789, 1e-9, "1.2346 s"),
        # Three significant digits without an interval, or with one of no width.
        (0.0206123, None, "20.6 ms"),
        (0.0206123, 0.0, "20.6 ms"),
        (0.0206123, math.inf, "20.6 ms"),
        (1.0, None, "1.00 s"),
        (123.4, None, "123 s"),
        (1234.5, None, "1234 s"),
    ],
)
def test_a_time_has_the_digits_that_its_interval_supports(
    seconds: float, half_width: float | None, text: str
) -> None:
    assert units.time(seconds, half_width) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.3, "12.3 s"),
        (1.0, "1.00 s"),
        (0.5, "500 ms"),
        (1e-3, "1.00 ms"),
        (0.000456, "456 µs"),
        (20.26e-6, "20.3 µs"),
        (1e-6, "1.00 µs"),
        (20.75e-9, "20.8 ns"),
        (1e-9, "1.00 ns"),
        (0.5e-9, "0.500 ns"),
        (0.0, "0 ns"),
    ],
)
def test_a_time_has_the_largest_unit_of_which_it_is_at_least_one(seconds: float, text: str) -> None:
    assert units.time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9996, "1.00 s"), (0.9996e-3, "1.00 ms"), (999.6e-9, "1.00 µs")]
)
def test_a_time_that_rounds_up_to_the_next_unit_has_that_unit(seconds: float, text: str) -> None:
    assert units.time(seconds) == text


@pytest.mark.parametrize(
    ("low", "high", "median", "text"),
    [
        (0.0203, 0.0209, 0.0206, "20.3 – 20.9 ms"),
        (0.02, 0.03, 0.025, "20 – 30 ms"),
        (0.99e-3, 1.02e-3, 1.0e-3, "0.990 – 1.020 ms"),  # half-width 0.015: two digits of it
        (0.95e-3, 1.05e-3, 0.99e-3, "950 – 1050 µs"),  # the median's unit for both ends
        (1.5, 1.5, 1.5, "1.50 – 1.50 s"),
        (0.3e-3, 8.2e-3, 8e-3, "0.3 – 8 ms"),  # an end that is not 0 does not read as 0
        (0.042e-3, 9e-3, 8e-3, "0.04 – 9 ms"),
        (0.0, 8e-3, 8e-3, "0 – 8 ms"),
    ],
)
def test_an_interval_has_the_unit_and_digits_of_its_median(
    low: float, high: float, median: float, text: str
) -> None:
    assert units.interval(low, high, median) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0004, "0.04 %"),
        (0.0009, "0.09 %"),
        (0.009, "0.90 %"),
        (0.0123, "1.2 %"),
        (0.05, "5.0 %"),
        (0.123, "12 %"),
        (1.5, "150 %"),
        (0.0, "0.00 %"),
    ],
)
def test_a_share_has_two_significant_digits_and_at_most_two_decimals(value: float, text: str) -> None:
    assert units.share(value) == text


@pytest.mark.parametrize(
    ("value", "relative_half_width", "text"),
    [
        (387.6, None, "388"),
        (387.6, 0.01, "388"),
        (387.64, 0.001, "387.6"),
        (12.345, None, "12.3"),
        (12.345, 0.1, "12.3"),  # ±1.2: the second digit too
        (12.345, 0.3, "12"),
        (0.1234, None, "0.123"),
        (98765.4, None, "98,765"),
        (1234567.0, 0.01, "1,234,567"),
    ],
)
def test_a_rate_has_the_digits_that_its_interval_supports(
    value: float, relative_half_width: float | None, text: str
) -> None:
    assert units.rate(value, relative_half_width) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 * 2**10, "100 KiB"),
        (2**20 - 2**10, "1023 KiB"),
        (5 * 2**19, "2.5 MiB"),
        (2**30, "1.00 GiB"),
        (2254857830, "2.10 GiB"),
        (2**40, "1024.00 GiB"),
    ],
)
def test_memory_has_a_binary_unit(size: float, text: str) -> None:
    assert units.memory(size) == text
