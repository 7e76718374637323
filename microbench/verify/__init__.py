"""IS IT RIGHT: whether a configuration computes what eager fp32 computes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import inf

from microbench.config import Config, reference_name
from microbench.devices import Device
from microbench.engines import Answer, Program
from microbench.modes import Mode
from microbench.records.record import Check, Correctness
from microbench.verify.errors import Errors, errors_of, shapes_differ, top1_agreement
from microbench.verify.judging import Checked, judge
from microbench.verify.plausible import implausible
from microbench.verify.reference import Reference, answer_of, is_reference, rounding

NOTHING = "its output contains no number, so there is nothing to compare: the check is inconclusive"


def verify(
    config: Config,
    device: Device,
    mode: Mode,
    program: Program,
    seconds: float | None = None,
    first: float | None = None,
) -> Checked:
    """Compare what a program computes with what eager fp32 computes of the same weights and inputs.

    In training that is the loss, or a layer's outputs, and all gradients of one step. Dropout is off in both.
    If they are too far apart, eager fp32 is run once more, to learn how far rounding alone, or other random
    numbers, move its own answer.

    Args:
        config: the case.
        device: where it ran.
        mode: the mode that it was measured in.
        program: the program that was measured.
        seconds: seconds per call; None if not measured.
        first: seconds of the first call: of eager fp32, the only call that certainly did the work, because
            later ones may reuse its answer.

    Returns:
        The errors, their tolerances and the verdict; and if the time is implausibly short, why.
    """
    if not config.verify:
        return Checked(Check(answer=Correctness.OFF))
    reference = Reference(config, device, mode)
    if is_reference(config):
        return _with_plausibility(Checked(Check(answer=Correctness.REFERENCE)), reference, seconds, first)
    wanted, eager = reference.timed_answer(restoring=program)
    checked = _compared(config, mode, program, reference, wanted)
    if checked.check.answer is Correctness.MISMATCH:
        return checked
    return _with_plausibility(checked, reference, seconds, eager)


def _with_plausibility(
    checked: Checked, reference: Reference, seconds: float | None, work: float | None
) -> Checked:
    """Add to a check why the time is implausible, if it is; `work`: seconds that surely sufficed."""
    if seconds is None or work is None:
        return checked
    config, device, training = reference.config, reference.device, reference.mode.TRAINING
    with suppress(Exception):  # if that is unknown, such as for lack of memory, the answer still stands
        reason = implausible(config, device, training, seconds, work, reference.seconds)
        return replace(checked, implausible=reason)
    return checked


def _compared(config: Config, mode: Mode, program: Program, reference: Reference, wanted: Answer) -> Checked:
    found = answer_of(mode, program, config.seed)
    if reason := shapes_differ(found, wanted, reference_name(config.model)):
        return _of_other_shapes(reason, found, wanted, reference)
    if not any(each.numel() for each in (*wanted.outputs, *wanted.gradients)):
        return Checked(Check(answer=Correctness.UNCLEAR), NOTHING)

    def moved() -> Errors:
        rounded = reference.answer(nudge=rounding(config.precision), draw=1)
        if shapes_differ(rounded, wanted) is None:
            return errors_of(rounded, wanted)
        return Errors(inf, inf, inf if wanted.gradients else None)

    is_model, are_all = program.workload.objective.is_loss, program.workload.compared is None
    agreement = top1_agreement(found, wanted) if is_model and are_all and not mode.TRAINING else None
    return judge(errors_of(found, wanted), moved, config, agreement, is_loss=is_model and mode.TRAINING)


def _of_other_shapes(reason: str, found: Answer, wanted: Answer, reference: Reference) -> Checked:
    """Return the verdict on an answer of other shapes than eager fp32's.

    It is unclear if rounding alone changes eager fp32's own: where a threshold decides how many numbers there
    are, such as those of a detector's boxes.
    """
    config, same_number = reference.config, len(found.outputs) == len(wanted.outputs)
    mismatch = Checked(Check(answer=Correctness.MISMATCH), reason)
    if config.tolerance is not None or not same_number:
        return mismatch
    rounded = reference.answer(nudge=rounding(config.precision), draw=1)
    if shapes_differ(rounded, wanted) is None:
        return mismatch
    told = f"but {reference_name(config.model)}'s change too when weights and inputs are rounded as in"
    why = f"{reason}; {told} {config.precision.name}: the check is inconclusive"
    return Checked(Check(answer=Correctness.UNCLEAR), why)
