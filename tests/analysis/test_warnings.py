"""Failures and warnings as rows: equal ones are one row, and the worst represents its kind."""

from __future__ import annotations

from typing import Any

from factory import told

from microbench.analysis.warnings import Failure, Problems, Warned, every_warning, failures, problems
from microbench.records.cases import cases_of
from microbench.records.record import BenchmarkWarning, RoundRecord, WarningCode


def warned(timed: Any, order: int, *texts: str, rounds: int = 1) -> list[RoundRecord]:
    """Return the records of a case whose first rounds have a warning with these texts."""
    made = timed([0.1] * rounds, order, threads=order + 1)
    warnings = [(BenchmarkWarning(WarningCode.BIMODAL, text),) for text in texts]
    warnings += [()] * (rounds - len(texts))
    return [
        record for each, some in zip(made, warnings, strict=True) for record in told([each], warnings=some)
    ]


def test_rounds_that_failed_in_the_same_way_are_one_row(timed: Any) -> None:
    several = cases_of(timed([0.1, None, None]))
    assert failures(several) == [Failure("", "error", "it broke", (2, 3))]
    cases = cases_of([*timed([None]), *timed([0.1], 1, threads=1)])
    assert failures(cases) == [Failure("dense infer, threads=2", "error", "it broke", None)]
    assert problems([]) == Problems([], [])


def test_a_warning_that_is_equal_in_all_cases_has_no_worst(timed: Any) -> None:
    cases = cases_of([*warned(timed, 0, "slow"), *warned(timed, 1), *warned(timed, 2, "slow")])
    names = ["dense infer, threads=1", "dense infer, threads=3"]
    alike = Warned(WarningCode.BIMODAL, "slow", None, names, 3)
    assert problems(cases).warnings == every_warning(cases) == [alike]


def test_the_worst_case_represents_a_kind_of_warning(timed: Any) -> None:
    one, other = warned(timed, 0, "a", rounds=3), warned(timed, 1, "b", "b", rounds=3)
    cases = cases_of([*one, *other])
    names = ["dense infer, threads=1", "dense infer, threads=2"]
    (found,) = problems(cases).warnings
    assert found == Warned(WarningCode.BIMODAL, "b", (2, 3), names, 2, worst=names[1])
    assert [(each.text, each.rounds, each.cases) for each in every_warning(cases)] == [
        ("a", (1, 3), names[:1]),
        ("b", (2, 3), names[1:]),
    ]
