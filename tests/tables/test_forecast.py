from __future__ import annotations

from typing import Any

import pytest
from factory import configured

from microbench.analysis.forecast import Basis, CaseForecast, Forecast
from microbench.tables import units
from microbench.tables.fitting import printed
from microbench.tables.forecast import rows, show_forecast


def case(seconds: float | None, basis: Basis = Basis.RECORDS, **more: Any) -> CaseForecast:
    fields = {"rounds": 6, "measured": 0, "known": 6, "known_from": "2026-05-04T03:02:01.000+00:00"} | more
    if basis is not Basis.RECORDS:
        fields["known_from"] = None
    return CaseForecast(
        "0123", configured(), ["seed=1"], "microbench …", seconds=seconds, basis=basis, **fields
    )


def lines(*cases: CaseForecast, measured: int = 0, budget: float | None = None) -> list[str]:
    return printed(lambda out: show_forecast(Forecast(cases, measured, budget), out)).splitlines()


def test_each_case_is_a_row_with_what_its_estimate_is_from() -> None:
    head, _, known, limited, *_ = lines(case(42.0), case(30.0, Basis.BUDGET))
    assert head == "2 cases, 12 rounds; nothing is measured now"
    assert known.split("  ")[0] == "dense infer, batch 8, eager, cpu, seed=1"
    assert known.endswith("about 42 s  6 rounds of 2026-05-04")
    assert limited.endswith("at most about 30 s  measure.budget")


@pytest.mark.parametrize(
    ("cases", "total"),
    [
        ([case(42.0), case(18.0)], "in all: about 60 s"),
        ([case(42.0), case(30.0, Basis.BUDGET)], "in all: about 42 s to 72 s"),
        ([case(60.0, Basis.LIMITS)] * 3, "in all: at most about 3 min"),
        ([case(0.0, measured=6)], "in all: everything has been measured"),
        (
            [case(30.0, Basis.BUDGET, stands_for_layers=True)],
            "in all: not known, because a model has to be t",
        ),
    ],
)
def test_the_total_says_whether_it_is_a_limit(cases: list[CaseForecast], total: str) -> None:
    assert any(line.startswith(total) for line in lines(*cases))


def test_notes_say_what_the_limits_leave_out() -> None:
    assert len(lines(case(42.0))) == 4
    assert lines(case(3.0, Basis.BUDGET))[-1].startswith("a case whose step takes seconds exceeds its budget")
    assert lines(case(3.0, Basis.LIMITS))[-1].startswith("measure.budget=null: starting")


def test_rounds_measured_before_are_counted() -> None:
    head, _, part, whole, *_ = lines(case(8.0, measured=4), case(0.0, measured=6), measured=10)
    assert head == "2 cases, 12 rounds, 10 rounds measured before; nothing is measured now"
    assert "6, 4 measured  about 8 s" in part
    assert "6, 6 measured       none" in whole


def test_layers_have_their_time_each() -> None:
    head, _, row, *_ = lines(case(30.0, Basis.BUDGET, stands_for_layers=True))
    assert head == "1 case, each with one more for every layer; nothing is measured now"
    assert "6 each  at most about 30 s each" in row


def test_a_search_lists_what_it_may_try_without_times() -> None:
    found = lines(*[case(None, Basis.SEARCH, rounds=None)] * 3, budget=300.0)
    assert found[0] == "a search: plain eager, and 2 configurations to try; nothing is measured now"
    assert found[1].strip() == "case"
    assert found[-1] == "in all: about 5 min at most (experiment.budget)"


def test_rows_are_in_seconds() -> None:
    (row,) = rows(Forecast([case(42.0, measured=2)], 2))
    assert {"case_id": "0123", "seconds": 42.0, "estimated_from": "records"}.items() <= row.items()
    assert (row["rounds"], row["rounds_measured"], row["cfg_engine"]) == (6, 2, "eager")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "1 s"),
        (8.4, "8 s"),
        (99.4, "99 s"),
        (99.6, "1.7 min"),
        (120, "2 min"),
        (5940, "99 min"),
        (6000, "1.7 h"),
        (1e6, "278 h"),
    ],
)
def test_a_duration_has_about_two_digits(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text
