"""What is said of a case's answer, beside eager fp32's."""

from __future__ import annotations

from math import inf

from microbench.records.cases import CaseResult
from microbench.records.record import Check, Correctness


def error_text(value: float) -> str:
    """An error as a share, such as `3.1e-03`."""
    return f"{value:.1e}"


def error_of(case: CaseResult) -> float | None:
    """The largest relative error, of outputs or of gradients; None for a case that was not compared."""
    check = case.check
    if check.answer not in (Correctness.SAME, Correctness.MISMATCH, Correctness.UNCLEAR):
        return None
    errors = [check.error_rel, *([] if check.gradient_tolerance is None else [check.gradient_error])]
    return max(inf if error is None else error for error in errors)


def answer_text(case: CaseResult) -> str | None:
    """To what the answer is eager fp32's; None where there is nothing to say, or a remark says it."""
    if case.check.answer is Correctness.OFF:
        return "answer: not checked (verify=false)"
    if case.check.answer is not Correctness.SAME:
        return None
    if not error_of(case):
        return "answer: equal to eager fp32's"
    return f"answer: same as eager fp32's, {', '.join(_parts(case.check, is_loss='loss' in case.estimates))}"


def _parts(check: Check, is_loss: bool) -> list[str]:
    name, of = ("loss", "its value") if is_loss else ("output", "its largest value")
    parts = []
    if check.error_rel is not None and check.tolerance is not None:
        parts.append(_part(name, check.error_rel, of, check.tolerance))
    if check.gradient_error is not None and check.gradient_tolerance is not None:
        parts.append(_part("gradients", check.gradient_error, "their norm", check.gradient_tolerance))
    if (share := check.top1_agreement) is not None:
        parts.append(f"top-1 agrees in {share * 100:.3g} %")
    return parts


def _part(name: str, error: float, of: str, allowed: float) -> str:
    return f"{name} to {error_text(error)} of {of} (allowed {allowed:.2g})"


def arithmetic(case: CaseResult) -> str | None:
    """What computed it, such as `avx512_bf16`; None for fp32, and where it is not known."""
    found = case.first.outcome.process.arithmetic
    return None if case.config.precision.name == "fp32" or found == "fp32" else found
