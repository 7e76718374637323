from __future__ import annotations

from dataclasses import replace

import pytest

from microbench.analysis.tails import TailRow, Tails
from microbench.stats.percentiles import MOST_ROUNDS, Percentile
from microbench.stats.rounds import OverRounds
from microbench.tables.fitting import printed
from microbench.tables.tails import needs, show_tails

P99 = Percentile(99.0, 2.1e-3, 2.01e-3, 2.6e-3, 1000, 500.0)
ROW = TailRow("", "inference", P99, None)
ONE_PROCESS = "over all calls: of one process, which says nothing of how processes differ"


def shown(*rows: TailRow, rounds: tuple[int, int] = (6, 6), calls: tuple[int, int] = (1, 1)) -> list[str]:
    """Return the printed lines, with the cells of a row two spaces apart at least."""
    return printed(lambda out: show_tails(Tails(rows, rounds, calls), out)).splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_percentile_has_its_time_and_its_interval() -> None:
    header, row, note = shown(ROW)
    assert cells(header) == ["phase", "percentile", "over all calls", "95 % CI"]
    assert cells(row) == ["inference", "p99", "2.10 ms", "2.01 – 2.60 ms"]
    assert note == "over all calls: of 6 rounds with the same weight each"


def test_short_times_are_in_microseconds() -> None:
    short = Percentile(99.9, 35.41e-6, 34.2e-6, 51.3e-6, 1000, 500.0)
    assert cells(shown(replace(ROW, over_calls=short))[1])[2:] == ["35.4 µs", "34.2 – 51.3 µs"]


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [
        (2.1e-3, 2.01e-3, None, ["2.10 ms", "≥ 2.01 ms", "needs about 240 more samples"]),
        (None, 2.01e-3, None, ["≥ 2.01 ms", "needs about 240 more samples"]),
        (2.1e-3, None, 2.2e-3, ["2.10 ms", "≤ 2.20 ms", "needs about 240 more samples"]),
        (2.1e-3, None, None, ["2.10 ms", "none", "needs about 240 more samples"]),
        (None, None, None, ["none", "needs about 240 more samples"]),
    ],
)
def test_an_end_that_is_missing_is_said_to_be_missing(
    value: float | None, low: float | None, high: float | None, told: list[str]
) -> None:
    found = Percentile(99.0, value, low, high, 1000, 50.0, more_samples=241)
    lines = shown(replace(ROW, over_calls=found), ROW)
    assert cells(lines[0])[-1] == "for both ends"
    assert cells(lines[1])[2:] == told
    assert cells(lines[2])[-1] == "2.01 – 2.60 ms"


def test_what_both_ends_take() -> None:
    assert needs(P99) == ""
    assert needs(replace(P99, more_samples=5744)) == "needs about 5,700 more samples"
    assert needs(replace(P99, more_rounds=1)) == "needs about 1 more round"
    assert needs(replace(P99, more_rounds=MOST_ROUNDS)) == "needs >1000 more rounds"


def test_a_typical_process_answers_another_question_in_columns_of_its_own() -> None:
    typical = OverRounds(1.9e-3, 1.8e-3, 2.0e-3, 0.75, 0.1)
    header, row, _, note = shown(replace(ROW, typical=typical), ROW, rounds=(3, 4))
    assert cells(header)[-2:] == ["typical process", "75 % CI"]
    assert cells(row)[-2:] == ["1.90 ms", "1.80 – 2.00 ms"]
    assert note == (
        "over all calls: of 3 to 4 rounds with the same weight each; typical process: median of the rounds' "
        "percentiles"
    )


def test_cases_and_phases_are_named_once() -> None:
    rows = [replace(ROW, case=case) for case in ("dense infer", "dense infer", "relu infer")]
    _, first, second, third, _ = shown(*rows)
    assert cells(first)[:3] == ["dense infer", "inference", "p99"]
    assert cells(second)[:1] == ["p99"]
    assert cells(third)[:3] == ["relu infer", "inference", "p99"]


def test_means_over_calls_and_a_single_process_are_called_that() -> None:
    *_, note, merged = shown(ROW, rounds=(1, 1), calls=(12, 16))
    assert note == ONE_PROCESS
    assert merged == (
        "a sample is the mean of 12 to 16 calls, so these are not percentiles of single calls: "
        "measure.percentile=99 times each call by itself"
    )


def test_no_samples_have_no_percentiles() -> None:
    assert printed(lambda out: show_tails(None, out)).startswith("percentiles: none, because no phase")
