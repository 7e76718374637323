"""When a way that takes long to prepare has made up for it."""

from __future__ import annotations

from typing import Any

import pytest

from microbench.analysis.break_even import PayOff, calls_to_pay_off, first_answer, pay_off
from microbench.records.cases import CaseResult, cases_of


@pytest.mark.parametrize(
    ("first", "each", "calls"),
    [
        (31.0, 1.0, 61),  # 31 + 60 x 1 = 1 + 60 x 1.5
        (31.25, 1.0, 62),  # 31.25 + 60 > 91, and 31.25 + 61 < 92.5
        (31.0, 0.5, 31),  # 31 + 30 x 0.5 = 1 + 30 x 1.5
        (1.0, 1.0, 1),
        (0.5, 1.0, 1),
        (31.0, 1.5, None),
        (31.0, 2.0, None),
        (0.5, 2.0, None),  # it is ahead for a while, and then never again
    ],
)
def test_calls_are_counted_until_both_have_taken_as_long_in_all(
    first: float, each: float, calls: int | None
) -> None:
    """The other takes one second until its first answer, and 1.5 s for each call after that."""
    assert calls_to_pay_off(first, each, 1.0, 1.5) == calls


def way(timed: Any, inference: list[float], prepare: float, order: int, **settings: Any) -> CaseResult:
    """A case with these rounds, which all prepare for so long, and whose first calls take half a second."""
    same = [1.0] * len(inference)
    phases = {
        "inference": inference,
        "prepare": [prepare * each for each in same],
        "first_call": [0.5 * each for each in same],
    }
    (case,) = cases_of(timed(phases, order, **settings))
    return case


def test_the_first_answer_takes_the_preparation_and_the_first_call(timed: Any) -> None:
    assert first_answer(way(timed, [1.0, 1.0], 2.0, 0)) == 2.5
    (unknown,) = cases_of(timed([1.0]))
    assert first_answer(unknown) is None


SLOW, FAST = [1.5, 1.51, 1.5, 1.49, 1.5, 1.5], [1.0, 1.01, 1.0, 0.99, 1.0, 1.0]


class TestPayOff:
    def test_it_is_beside_eager(self, timed: Any) -> None:
        eager, compiled = way(timed, SLOW, 0.25, 0), way(timed, FAST, 30.0, 1, engine="compile")
        assert pay_off(compiled, [compiled, eager], "inference") == PayOff(61, is_told=True)
        assert pay_off(eager, [compiled, eager], "inference") is None
        assert pay_off(compiled, [compiled], "inference") is None

    def test_a_slower_one_never_pays_off(self, timed: Any) -> None:
        eager, compiled = way(timed, FAST, 0.25, 0), way(timed, SLOW, 30.0, 1, engine="compile")
        assert pay_off(compiled, [compiled, eager], "inference") == PayOff(None, is_told=True)

    def test_what_cannot_be_told_apart_tells_nothing(self, timed: Any) -> None:
        noisy = [0.9, 1.3, 1.0, 1.2, 0.8, 1.1]
        eager, compiled = way(timed, FAST, 0.25, 0), way(timed, noisy, 30.0, 1, engine="compile")
        found = pay_off(compiled, [compiled, eager], "inference")
        assert found is not None
        assert found.is_told is False

    def test_one_round_tells_about_how_many(self, timed: Any) -> None:
        eager, compiled = way(timed, [1.5], 0.0, 0), way(timed, [1.0], 30.0, 1, engine="compile")
        assert pay_off(compiled, [compiled, eager], "inference") == PayOff(61, is_told=None)

    def test_of_several_eager_ones_the_most_alike_counts(self, timed: Any) -> None:
        plain = way(timed, [4.0] * 6, 0.0, 0)
        alike = way(timed, [1.5] * 6, 0.0, 1, precision="bf16")
        compiled = way(timed, [1.0] * 6, 30.0, 2, engine="compile", precision="bf16")
        assert pay_off(compiled, [compiled, plain, alike], "inference") == PayOff(61, is_told=True)

    def test_one_that_does_not_say_how_long_it_prepared_has_none(self, timed: Any) -> None:
        (compiled,) = cases_of(timed(FAST, 1, engine="compile"))
        assert pay_off(compiled, [way(timed, SLOW, 0.0, 0)], "inference") is None
