"""What is said of a case's answer, beside eager fp32's."""

from __future__ import annotations

from math import inf
from typing import Any

from microbench.results.cases import CaseResult
from microbench.results.record import Record, Verdict


def error_text(value: float) -> str:
    """An error as a share, such as `3.1e-03`."""
    return f"{value:.1e}"


def error_of(case: CaseResult) -> float | None:
    """The largest relative error, of outputs or of gradients; None for a case that was not compared."""
    checked = case.checked
    if checked.get("answer") not in (Verdict.SAME, Verdict.MISMATCH, Verdict.UNCLEAR):
        return None
    errors = [
        checked["error_rel"],
        *([] if checked["gradient_tolerance"] is None else [checked["gradient_error"]]),
    ]
    return max(inf if error is None else error for error in errors)


def answer_text(case: CaseResult) -> str | None:
    """To what the answer is eager fp32's; None where there is nothing to say, or a remark says it."""
    checked = case.checked
    if checked.get("answer") == Verdict.OFF:
        return "answer: not checked (verify=false)"
    if checked.get("answer") != Verdict.SAME:
        return None
    if not error_of(case):
        return "answer: equal to eager fp32's"
    return f"answer: same as eager fp32's, {', '.join(_parts(checked, is_loss='loss' in case.estimates))}"


def _parts(checked: Record, is_loss: bool) -> list[str]:
    name, of = ("loss", "its value") if is_loss else ("output", "its largest value")
    parts = [_part(name, checked["error_rel"], of, checked["tolerance"])]
    if checked["gradient_error"] is not None:
        of, allowed = "their norm", checked["gradient_tolerance"]
        parts.append(_part("gradients", checked["gradient_error"], of, allowed))
    if (share := checked["top1_agreement"]) is not None:
        parts.append(f"top-1 agrees in {share * 100:.3g} %")
    return parts


def _part(name: str, error: float, of: str, allowed: Any) -> str:
    return f"{name} to {error_text(error)} of {of} (allowed {allowed:.2g})"


def arithmetic(case: CaseResult) -> str | None:
    """What computed it, such as `avx512_bf16`; None for fp32, and where it is not known."""
    first = case.first
    found: str | None = first.get("env_arithmetic")
    return None if first["cfg_precision"] == "fp32" or found == "fp32" else found
