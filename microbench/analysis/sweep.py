"""The table of a sweep: one row per model and setting, with its cases of all modes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from microbench.analysis.case import (
    Disturbed,
    Interval,
    PhaseTime,
    arithmetic,
    disturbed,
    error_of,
    figure_of,
    idle_share,
    intervals,
    phase_times,
    shown,
)
from microbench.config import reference_name
from microbench.records.cases import CaseResult
from microbench.records.naming import varying
from microbench.records.record import Correctness, Role, Status


@dataclass(frozen=True)
class SweepRow:
    """A model with some settings.

    Attributes:
        key: the model, and the settings' values.
        phases: the phases that its cases of all modes have measured.
        error: the largest error of their answers; None if none was compared.
        arithmetic: the instructions that computed them, if not fp32.
        disturbed: how many of their rounds are left out as disturbed; None if none is.
        idle: the largest share of a step in which the GPU waits for the host; None if short, or unknown.
        statuses: how they ended.
    """

    key: Sequence[str]
    phases: Mapping[str, PhaseTime]
    error: float | None
    arithmetic: Sequence[str]
    disturbed: Disturbed | None
    idle: float | None
    statuses: Sequence[str]


@dataclass(frozen=True)
class Sweep:
    """Several cases side by side.

    Attributes:
        settings: the settings that distinguish them, besides the model.
        rows: at least one.
        phases: the phases to show.
        wholes: those of them that span a step.
        parts: all phases that are a part of one.
        items: what batches consist of.
        intervals: the kinds of intervals that the times have.
        references: what answers were compared with, such as `eager fp32`; nothing if none were.
        has_gradients: whether gradients were, too.
        is_unchecked: whether checking was turned off.
        figures: what their times are, such as `stream time`; nothing on the CPU.
    """

    settings: Sequence[str]
    rows: Sequence[SweepRow]
    phases: Sequence[str]
    wholes: Sequence[str]
    parts: Sequence[str]
    items: str
    intervals: Sequence[Interval]
    references: Sequence[str]
    has_gradients: bool
    is_unchecked: bool
    figures: Sequence[str]


def sweep(cases: Sequence[CaseResult]) -> Sweep:
    """Lay several cases side by side."""
    settings = varying(cases)
    rows = [_row(key[: len(settings) + 1], each) for key, each in _groups(cases, settings).items()]
    phases = list(dict.fromkeys(phase for row in rows for phase in shown(row.phases)))
    roles = {phase: time.estimate.role for row in rows for phase, time in row.phases.items()}
    nouns = {case.item for case in cases if phase_times(case)}
    compared = [case for case in cases if error_of(case) is not None]
    return Sweep(
        list(settings),
        rows,
        phases,
        [phase for phase in phases if roles[phase] is Role.WHOLE],
        [phase for phase, role in roles.items() if role is Role.PART],
        nouns.pop() if len(nouns) == 1 else "items",
        intervals(cases),
        list(dict.fromkeys(reference_name(case.config.model) for case in compared)),
        any(case.check.gradient_error is not None for case in compared),
        any(case.check.answer is Correctness.OFF for case in cases),
        list(dict.fromkeys(filter(None, map(figure_of, cases)))),
    )


def _groups(
    cases: Sequence[CaseResult], settings: Mapping[str, Sequence[str]]
) -> dict[tuple[str, ...], dict[str, CaseResult]]:
    """Group the cases by model and settings, each by its mode; a repeated case starts another group."""
    groups: dict[tuple[str, ...], dict[str, CaseResult]] = {}
    for index, case in enumerate(cases):
        key = (case.config.model.name, *(values[index] for values in settings.values()))
        while case.config.mode.name in groups.get(key, {}):
            key = (*key, "")
        groups.setdefault(key, {})[case.config.mode.name] = case
    return groups


def _row(key: Sequence[str], cases: Mapping[str, CaseResult]) -> SweepRow:
    errors = [error for case in cases.values() if (error := error_of(case)) is not None]
    return SweepRow(
        key,
        {phase: time for case in cases.values() for phase, time in phase_times(case).items()},
        max(errors, default=None),
        list(dict.fromkeys(filter(None, map(arithmetic, cases.values())))),
        disturbed(cases.values()),
        max(filter(None, map(idle_share, cases.values())), default=None),
        list(dict.fromkeys(map(_status, cases.values()))),
    )


def _status(case: CaseResult) -> str:
    """Return how a case ended, or that its time is implausible, and how many of its rounds failed."""
    failed = [each for each in case.failures.values() if each.outcome.status is not Status.INTERRUPTED]
    if case.status is Status.OK and failed:
        return f"ok, {len(failed)} of {len(case.rounds)} rounds failed"
    return case.standing
