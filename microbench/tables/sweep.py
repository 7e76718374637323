"""The table of a sweep: a row a model and setting, a column a phase."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import varying
from microbench.records.record import Correctness, Role
from microbench.tables import phases, units
from microbench.tables.answers import arithmetic, error_of, error_text
from microbench.tables.fitting import JOINT, print_fitting
from microbench.tables.labels import count, items

EXTRAS = ("interval", "error", "rate", "memory", "arithmetic")
"""What is left out on a narrow terminal, the last first."""


@dataclass
class Row:
    """A row: the phases of a model's cases of all modes, each with its case; how these ended, by mode."""

    phases: dict[str, tuple[CaseResult, Estimate]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    cases: list[CaseResult] = field(default_factory=list)

    def add(self, case: CaseResult) -> None:
        """Put a case's phases in, those that do not count too."""
        found = {**case.discarded, **case.estimates}
        self.phases |= {phase: (case, estimate) for phase, estimate in found.items()}
        self.cases.append(case)
        self.statuses[case.config.mode.name] = status(case)

    def estimates(self) -> dict[str, Estimate]:
        """The phases' estimates."""
        return {phase: estimate for phase, (_, estimate) in self.phases.items()}


def status(case: CaseResult) -> str:
    """How a case ended, if its time is implausible, and how many rounds did not end well where others did."""
    if case.status == "ok" and case.failures:
        return f"ok, {len(case.failures)} of {count(len(case.rounds), 'round')} failed"
    return case.standing


def sweep_rows(
    cases: Sequence[CaseResult], settings: Mapping[str, Sequence[str]]
) -> dict[tuple[str, ...], Row]:
    """The rows by model and settings; a second run of the very same case gets a row of its own."""
    rows: dict[tuple[str, ...], Row] = {}
    for index, case in enumerate(cases):
        key = (case.config.model.name, *(values[index] for values in settings.values()))
        while case.config.mode.name in rows.get(key, Row()).statuses:
            key = (*key, "")
        rows.setdefault(key, Row()).add(case)
    return rows


def show_sweep(cases: Sequence[CaseResult], out: Console) -> None:
    """Print a row for each model and setting, with a column a phase, its modes side by side.

    On a narrow terminal the columns that matter least are left out, so that the others stay whole.
    """
    settings = varying(cases)
    rows = sweep_rows(cases, settings)
    variants = [_table(list(settings), rows, EXTRAS[:number]) for number in range(len(EXTRAS), -1, -1)]
    if settings:
        variants.append(_table(list(settings), rows, (), is_joined=True))
    print_fitting(
        out,
        *variants,
        less_wanted=list(
            dict.fromkeys(
                each.phase
                for row in rows.values()
                for each in row.estimates().values()
                if each.role is Role.PART
            )
        ),
    )


def _table(
    settings: Sequence[str],
    rows: Mapping[tuple[str, ...], Row],
    extras: Container[str],
    is_joined: bool = False,
) -> Table:
    """The table with some extras, where joined with the model and the settings in one column of text."""
    columns = list(_columns(rows, extras))
    names = ("model", *settings)
    heads = [JOINT.join(names)] if is_joined else names
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heads[0])
    for name in (*heads[1:], *(name for name, _ in columns)):
        table.add_column(name, justify="right")
    for key, row in rows.items():
        telling = [escape(each) for each in key[: len(names)]]
        table.add_row(*([JOINT.join(telling)] if is_joined else telling), *(cell(row) for _, cell in columns))
    return table


def _columns(
    rows: Mapping[tuple[str, ...], Row], extras: Container[str]
) -> list[tuple[str, Callable[[Row], str]]]:
    """Each column's header, and what a row has there."""
    estimates = [row.estimates() for row in rows.values()]
    shown = list(dict.fromkeys(phase for each in estimates for phase in phases.shown(each)))
    wholes = [
        phase
        for phase in shown
        if any(phase in each and each[phase].role is Role.WHOLE for each in estimates)
    ]
    time = phases.time_and_interval if "interval" in extras else phases.time
    columns = [(phase, _cell(phase, _time(phase, time))) for phase in shown]
    nouns = {items(case) for row in rows.values() for case, _ in row.phases.values()}
    noun = nouns.pop() if len(nouns) == 1 else "items"
    if "rate" in extras:
        columns += [(f"{phase} {noun}/s", _cell(phase, _rate)) for phase in wholes]
    if "memory" in extras:
        columns += [(f"{phase} memory", _cell(phase, _memory)) for phase in wholes]
    for name, write in (("error", _error), ("arithmetic", _arithmetic)):
        if name in extras and any(map(write, rows.values())):
            columns.append((name, write))
    if any(status != "ok" for row in rows.values() for status in row.statuses.values()):
        columns.append(("status", lambda row: ", ".join(dict.fromkeys(row.statuses.values()))))
    return columns


def _cell(phase: str, write: Callable[[CaseResult, Estimate], str]) -> Callable[[Row], str]:
    return lambda row: write(*row.phases[phase]) if phase in row.phases else ""


def _time(phase: str, write: Callable[[Estimate], str]) -> Callable[[CaseResult, Estimate], str]:
    """Writes a phase's time, struck out where the case computes something else than eager fp32."""
    return lambda case, estimate: (
        write(estimate) if phase in case.estimates else phases.struck(write(estimate))
    )


def _rate(case: CaseResult, estimate: Estimate) -> str:
    return phases.rate(case, estimate) if case.estimates else ""


def _error(row: Row) -> str:
    errors = [error for case in row.cases if (error := error_of(case)) is not None]
    return error_text(max(errors)) if errors else ""


def _arithmetic(row: Row) -> str:
    return ", ".join(dict.fromkeys(filter(None, map(arithmetic, row.cases))))


def _memory(case: CaseResult, estimate: Estimate) -> str:
    return "" if case.peak_memory is None else units.memory(case.peak_memory)


def interval_note(cases: Sequence[CaseResult]) -> str | None:
    """What ± means in the table; None where no case has an interval."""
    found: dict[tuple[bool, str], set[int]] = {}
    for estimate in (case.whole for case in cases):
        if estimate is not None and estimate.low is not None:
            found.setdefault((estimate.rounds == 1, phases.level(estimate)), set()).add(estimate.rounds)
    texts = [
        f"the {level} CI " + ("within a single process (measure.rounds=1)" if is_one else _over(rounds))
        for (is_one, level), rounds in sorted(found.items())
    ]
    return f"±: half-width of {', or '.join(texts)}, relative to the median" if texts else None


def error_note(cases: Sequence[CaseResult]) -> str | None:
    """What the error in the table is, or that answers were not checked; None where there is no error."""
    compared = [case for case in cases if error_of(case) is not None]
    if not compared:
        is_off = any(case.check.answer is Correctness.OFF for case in cases)
        return "answers: not checked (verify=false)" if is_off else None
    text = "error: largest difference from eager fp32's outputs, relative to the largest"
    if any(case.check.gradient_error is not None for case in compared):
        text += "; in training also of the gradients, relative to their norm, whichever is larger"
    return text


def _over(rounds: Collection[int]) -> str:
    """Over how many rounds: one number, or the range of several."""
    least, most = min(rounds), max(rounds)
    return f"over {least} rounds" if least == most else f"over {least} to {most} rounds"
