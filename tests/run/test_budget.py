"""How many rounds a budget buys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeClock

from microbench.records.peaks import Peaks
from microbench.records.record import Measured
from microbench.run import runner
from microbench.run.budget import Budget
from microbench.run.runner import Run

from .support import OK, Scripted, Take, cases


def rounds_of(seconds: float | None, takes: list[float]) -> int:
    """How many of at most so many rounds are begun, each of which takes so long."""
    clock = FakeClock()
    budget = Budget(seconds, clock.now)
    for number, each in enumerate(takes):
        if not budget.allows(number):
            return number
        clock.advance(each)
    return len(takes)


@pytest.mark.parametrize(
    ("seconds", "takes", "rounds"),
    [
        (None, [1e6] * 6, 6),
        (60.0, [8.0] * 6, 6),
        (60.0, [16.0] * 6, 3),
        (60.0, [16.0, 25.0, 16.0, 16.0], 2),  # a third may take as long as the second
        (60.0, [26.0, 10.0, 10.0], 2),
        (60.0, [50.0] * 6, 2),
        (-5.0, [50.0] * 6, 2),
    ],
)
def test_a_round_is_begun_that_is_likely_to_end_in_time_and_two_are_in_any_case(
    seconds: float | None, takes: list[float], rounds: int
) -> None:
    assert rounds_of(seconds, takes) == rounds


@pytest.mark.parametrize(("schedule", "rounds"), [("interleaved", [0, 0, 1, 1, 2, 2]), ("sequential", None)])
def test_both_cases_of_a_run_have_the_rounds_that_its_budget_buys(
    schedule: str, rounds: list[int] | None, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One case after the other, the last would have none."""
    clock, runs = FakeClock(), list[Run]()

    def measured(batch: int, times: int) -> Measured:
        clock.advance(5.0)
        return OK

    monkeypatch.setattr(runner, "Budget", lambda seconds: Budget(seconds, clock.now))
    measure = Run.measure
    monkeypatch.setattr(Run, "measure", lambda self: runs.append(self) or measure(self))
    planned = cases(1, 2, schedule=schedule, **{"measure.rounds": 6})
    result = take(planned, Scripted(measured), budget=35.0)
    (run,) = runs
    if rounds is None:
        assert (len(result.records), run.note) == (12, None)
    else:
        assert [record.round for record in result.records] == rounds
        assert run.note == ("3 of 6 rounds: more would take too long. measure.rounds=6 measures them all")
    assert result.ok


def test_peaks_that_were_measured_before_the_run_are_in_its_records(take: Take) -> None:
    (case,) = cases(1)
    peaks = Peaks(fp32=1e9, bf16=None, fp32_by="conv", bf16_by="", bandwidths=((1, 1e9),), call_seconds=1e-6)
    (record,) = take([replace(case, peaks=peaks)], Scripted()).records
    assert record.outcome.peaks == peaks
