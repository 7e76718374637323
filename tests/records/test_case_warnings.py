"""The warnings of a case: those of its rounds, and what the rounds say together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from factory import record_of

from microbench.records.cases import WIDE, CaseResult, cases_of
from microbench.records.record import BenchmarkWarning, WarningCode

NEAR, FAR = (1.0, 1.01, 0.99, 1.0, 1.02, 0.98), (1.0, 1.5, 0.7, 1.0, 1.6, 0.6)


def case(
    medians: Sequence[float], phases: Sequence[str] = ("inference",), warned: Sequence[int] = ()
) -> CaseResult:
    """Return a case with these medians of each phase by round, with a warning in some of the rounds."""
    drifts = [(BenchmarkWarning(WarningCode.DRIFT, f"in {number}"),) for number in range(len(medians))]
    records = [
        record_of(
            dict.fromkeys(phases, median),
            round=number,
            warnings=drifts[number] if number in warned else (),
        )
        for number, median in enumerate(medians)
    ]
    (found,) = cases_of(records)
    return found


def test_a_case_whose_rounds_agree_has_none() -> None:
    assert case(NEAR).warnings == {}


@pytest.mark.parametrize("phase", ["inference", "total"])
def test_rounds_that_differ_make_a_wide_interval(phase: str) -> None:
    found = case(FAR, [phase])
    half_width = found.estimates[phase].relative_half_width
    assert half_width is not None
    assert half_width > WIDE
    assert found.warnings == {
        "wide_interval": [
            f"fresh processes differ: {phase} is known to ±{half_width * 100:.0f} % from 6 rounds; raise "
            "measure.rounds, see `microbench doctor`"
        ]
        * 6  # it is of all rounds
    }


def test_a_part_of_a_step_may_differ() -> None:
    assert case(FAR, ["forward"]).warnings == {}


def test_the_interval_within_one_process_says_nothing_of_rounds() -> None:
    assert case([1.0]).warnings == {}


def test_a_rounds_warnings_come_once_each() -> None:
    assert case(NEAR, ["forward", "total"], warned=[1, 4]).warnings == {"drift": ["in 1", "in 4"]}
