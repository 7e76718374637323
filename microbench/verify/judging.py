"""The verdict on an answer: the same, different, or unclear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from microbench.config import Config, reference_name
from microbench.records.record import BenchmarkWarning, Check, Correctness, Outcome, Status, WarningCode
from microbench.verify.errors import Errors

SLACK = 4.0
"""The tolerance as a multiple of how far rounding moves eager fp32's answer: the latter is found by rounding
only weights and inputs, whereas a lower precision rounds every layer's output."""

CLEAR = 0.5
"""An error, as a share, that no answer may exceed and still count as the same."""


@dataclass(frozen=True)
class _Part:
    """A part of an answer.

    Attributes:
        name: its name.
        of: the quantity that errors are shares of.
        error: its error.
        tolerance: the error that is always allowed.
        moved: how far rounding moves eager fp32's; None if not determined.
        is_strict: the tolerance was given for this case: nothing beyond it is allowed.
    """

    name: str
    of: str
    error: float
    tolerance: float
    moved: float | None
    is_strict: bool

    @property
    def allowed(self) -> float:
        """The allowed error."""
        if self.moved is None or self.is_strict:
            return self.tolerance
        return max(self.tolerance, min(SLACK * self.moved, CLEAR))

    @property
    def verdict(self) -> Correctness:
        """Same or different; unclear if rounding moves eager fp32's own too far."""
        if self.error <= self.allowed:
            return Correctness.SAME
        return Correctness.UNCLEAR if SLACK * (self.moved or 0.0) > CLEAR else Correctness.MISMATCH

    def told(self, reference: str) -> str:
        """Return a text on its error, relative to the answer of a reference."""
        if math.isinf(self.error):
            return f"{self.name} not finite, or not zero, where {reference}'s is"
        return f"{self.name} off {reference}'s by {self.error:.2g} of {self.of} (allowed: {self.allowed:.2g})"


@dataclass(frozen=True)
class Checked:
    """A check with its reasons in words.

    Attributes:
        check: what was found.
        reason: what is off; None if nothing is.
        implausible: why the case's time is implausibly short; None if it is not.
    """

    check: Check
    reason: str | None = None
    implausible: str | None = None

    def applied(self, outcome: Outcome) -> Outcome:
        """Return an outcome with this check: a different answer makes it fail, however fast it was."""
        if self.check.answer is Correctness.MISMATCH:
            return replace(outcome, status=Status.MISMATCH, error=self.reason, check=self.check)
        said = {WarningCode.UNVERIFIED: self.reason, WarningCode.IMPLAUSIBLE: self.implausible}
        doubts = [BenchmarkWarning(code, text) for code, text in said.items() if text is not None]
        return replace(outcome, check=self.check, warnings=(*outcome.warnings, *doubts))


def judge(
    found: Errors,
    moved: Callable[[], Errors],
    config: Config,
    agreement: float | None = None,
    is_loss: bool = False,
) -> Checked:
    """Judge an answer.

    Args:
        found: its errors.
        moved: returns how far rounding moves eager fp32's own answer; called only if `found` exceeds what the
            precision, or the case, allows.
        config: the case's configuration.
        agreement: see `Check.top1_agreement`.
        is_loss: whether the output is a loss.
    """
    parts = _parts(found, None, config, is_loss)
    if any(part.verdict is not Correctness.SAME for part in parts):
        parts = _parts(found, moved(), config, is_loss)
    verdicts = [part.verdict for part in parts]
    worst = next(
        (each for each in (Correctness.MISMATCH, Correctness.UNCLEAR) if each in verdicts), Correctness.SAME
    )
    check = Check(
        answer=worst,
        error_abs=_finite(found.absolute),
        error_rel=_finite(found.relative),
        top1_agreement=agreement,
        gradient_error=_finite(found.gradients),
        tolerance=parts[0].allowed,
        gradient_tolerance=parts[1].allowed if len(parts) > 1 else None,
    )
    return Checked(check, _reason(worst, [part for part in parts if part.verdict is worst], config))


def _finite(error: float | None) -> float | None:
    """Return an error; None if it is infinite."""
    return error if error is not None and math.isfinite(error) else None


def _parts(found: Errors, moved: Errors | None, config: Config, is_loss: bool) -> list[_Part]:
    precision, given = config.precision, config.tolerance
    name, of = ("the loss is", "its value") if is_loss else ("the output is", "its largest value")
    is_strict, shift = given is not None, None if moved is None else moved.relative
    parts = [_Part(name, of, found.relative, given or precision.tolerance, shift, is_strict)]
    if found.gradients is not None:
        allowed, shift = given or precision.gradient_tolerance, None if moved is None else moved.gradients
        parts.append(_Part("the gradients are", "their norm", found.gradients, allowed, shift, is_strict))
    return parts


def _reason(verdict: Correctness, parts: Sequence[_Part], config: Config) -> str | None:
    """Return what is off, and why an unclear answer is unclear."""
    if verdict is Correctness.SAME:
        return None
    reference = reference_name(config.model)
    told = " and ".join(part.told(reference) for part in parts)
    if verdict is Correctness.MISMATCH:
        return told
    moves = " and ".join(f"{part.moved:.2g}" for part in parts)
    return (
        f"{told}; but {reference}'s own move by {moves} when weights and inputs are rounded as in "
        f"{config.precision.name} and random numbers are drawn again: the check is inconclusive"
    )
