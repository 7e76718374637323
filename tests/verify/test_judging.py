"""Whether an answer counts as the same, and the reason if it does not."""

from __future__ import annotations

from math import inf, isfinite

import pytest

from microbench.config import Config, PrecisionConfig
from microbench.records.record import Check, Correctness
from microbench.verify.errors import Errors
from microbench.verify.judging import Checked, judge


def config(tolerance: float | None = None) -> Config:
    """Outputs may be off by a hundredth, gradients by a tenth."""
    return Config(
        precision=PrecisionConfig("bf16", tolerance=0.01, gradient_tolerance=0.1), tolerance=tolerance
    )


def check(found: Errors, moved: Errors | None = None, tolerance: float | None = None) -> Checked:
    def ask() -> Errors:
        assert moved is not None, "eager fp32 was run again, and need not have been"
        return moved

    return judge(found, ask, config(tolerance))


def test_an_answer_within_the_tolerance_is_the_same_without_further_checks() -> None:
    both = Check(Correctness.SAME, 3.0, 0.01, None, 0.1, 0.01, 0.1)
    assert check(Errors(3.0, 0.01, 0.1)) == Checked(both)
    assert check(Errors(3.0, 0.01, None)) == Checked(Check(Correctness.SAME, 3.0, 0.01, None, None, 0.01))


def test_what_rounding_explains_is_the_same() -> None:
    found = check(Errors(3.0, 0.08, 0.4), Errors(1.0, 0.02, 0.1))
    assert (found.check.answer, found.reason) == (Correctness.SAME, None)
    assert (found.check.tolerance, found.check.gradient_tolerance) == (
        0.08,
        0.4,
    )  # four times as far as rounding moves it


def test_what_rounding_does_not_explain_is_a_mismatch_and_it_is_said_by_how_much() -> None:
    found = check(Errors(3.0, 0.081, 0.05), Errors(1.0, 0.02, 0.1))
    assert found.check.answer == Correctness.MISMATCH
    assert found.reason == "the output is off eager fp32's by 0.081 of its largest value (allowed: 0.08)"
    found = check(Errors(3.0, 0.5, 0.45), Errors(1.0, 0.0, 0.0))
    assert found.reason == (
        "the output is off eager fp32's by 0.5 of its largest value (allowed: 0.01) and "
        "the gradients are off eager fp32's by 0.45 of their norm (allowed: 0.1)"
    )


def test_the_error_of_a_training_step_is_that_of_the_loss() -> None:
    found = judge(Errors(3.0, 0.5, 0.0), lambda: Errors(0.0, 0.0, 0.0), config(), is_loss=True)
    assert found.reason == "the loss is off eager fp32's by 0.5 of its value (allowed: 0.01)"


def test_no_answer_that_is_off_by_more_than_half_is_the_same_however_far_rounding_moves_it() -> None:
    for moved in (0.125, 0.2, 1.0, inf):
        assert check(Errors(3.0, 0.0, 0.5), Errors(0.0, 0.0, moved)).check.answer == Correctness.SAME
    assert check(Errors(3.0, 0.0, 0.51), Errors(0.0, 0.0, 0.125)).check.answer == Correctness.MISMATCH


@pytest.mark.parametrize("error", [0.51, 1.3, inf])
def test_an_answer_that_rounding_moves_too_far_is_unclear(error: float) -> None:
    found = check(Errors(3.0, 0.005, error), Errors(0.0, 0.0, 1.2))
    assert found.check.answer == Correctness.UNCLEAR
    assert found.check.gradient_error == (error if isfinite(error) else None)
    assert found.reason is not None
    assert found.reason.endswith(
        "; but eager fp32's own move by 1.2 when weights and inputs are rounded as in bf16 and random "
        "numbers are drawn again: the check is inconclusive"
    )


def test_a_mismatch_of_one_part_counts_before_what_cannot_be_told_of_the_other() -> None:
    found = check(Errors(3.0, 0.3, 1.3), Errors(0.0, 0.001, 1.2))
    assert found.check.answer == Correctness.MISMATCH
    assert found.reason == "the output is off eager fp32's by 0.3 of its largest value (allowed: 0.01)"


def test_what_is_not_finite_is_said_to_be() -> None:
    found = check(Errors(inf, inf, None), Errors(0.0, 0.0, None))
    assert (found.check.answer, found.check.error_rel) == (Correctness.MISMATCH, None)
    assert found.reason == "the output is not finite, or not zero, where eager fp32's is"


class TestTolerance:
    def test_a_given_one_is_for_outputs_and_gradients(self) -> None:
        found = check(Errors(3.0, 0.3, 0.3), tolerance=0.3).check
        assert (found.answer, found.tolerance, found.gradient_tolerance) == (Correctness.SAME, 0.3, 0.3)

    def test_beyond_a_given_one_nothing_is_allowed(self) -> None:
        found = check(Errors(3.0, 0.002, 0.0), Errors(0.0, 0.01, 0.01), tolerance=0.001)
        assert (found.check.answer, found.check.tolerance) == (Correctness.MISMATCH, 0.001)

    def test_what_cannot_be_told_cannot_be_told_with_one_either(self) -> None:
        assert (
            check(Errors(3.0, 0.0, 1.3), Errors(0.0, 0.0, 1.2), tolerance=0.6).check.answer
            == Correctness.UNCLEAR
        )
