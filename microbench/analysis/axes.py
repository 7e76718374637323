"""The axes that a table can be laid out by: settings of cases, and facts of where they ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from microbench.errors import UserError, unknown
from microbench.records.cases import CaseResult
from microbench.records.naming import PART
from microbench.records.settings import as_given, compared, is_work, settings_of, varying_keys

HOST, GPU_UUID, CASE = "host", "gpu_uuid", "case"

FACTS: Mapping[str, Callable[[CaseResult], object]] = {
    HOST: lambda case: case.machine.host_id,
    "cpu": lambda case: case.machine.cpu,
    "gpu": lambda case: case.machine.gpu,
    GPU_UUID: lambda case: case.machine.gpu_uuid,
    "os": lambda case: case.machine.os,
    "torch": lambda case: case.machine.torch,
    "python": lambda case: case.machine.python,
    "library": lambda case: case.first.outcome.process.engine,
    "microbench": lambda case: case.machine.microbench,
    "git": lambda case: case.machine.git,
    "date": lambda case: date_of(case),
    "run": lambda case: case.run.id,
    CASE: lambda case: case.spec.id,
}
"""The axes that are no settings, by name."""


def date_of(case: CaseResult) -> str:
    """Return the day, in UTC, on which a case's first round began."""
    return min(each.started_at for each in case.rounds.values())[:10]


def value_on(case: CaseResult, axis: str) -> str:
    """Return a case's value of an axis, a fact or a dotted key, as it is written on a command line."""
    if axis in case.axes:
        return as_given(case.axes[axis])
    if axis in FACTS:
        return as_given(FACTS[axis](case))
    return as_given(settings_of(case).get(axis))


def check_axes(names: Iterable[str], cases: Sequence[CaseResult]) -> None:
    """Reject a name that is no axis of these cases.

    Raises:
        UserError: it is none; says which axes vary.
    """
    known = dict.fromkeys((*cases[0].axes, *FACTS, *(key for case in cases for key in settings_of(case))))
    for name in names:
        if name not in known:
            vary = ", ".join(telling(cases)) or "none, there is one case"
            raise UserError(f"{unknown('axis', name, known)} These vary: {vary}.")


def telling(cases: Sequence[CaseResult]) -> list[str]:
    """Return the axes that tell cases apart: model, part, mode, settings that vary, host and GPU.

    If these do not, other settings of the work follow, and in the end what identifies the case.
    """
    found = [axis for axis in ("model", PART, "mode") if _varies(cases, axis)]
    found += [name for name in compared(cases) if name != PART]
    found += [HOST] if _varies(cases, HOST) else []
    found += [GPU_UUID] if _splits(cases, (CASE, HOST), GPU_UUID) else []
    ids = {case.spec.id for case in cases}
    for more in (*varying_keys([settings_of(case) for case in cases]), CASE):
        apart = len({(case.spec.id, *_key(case, found)) for case in cases})
        if len({_key(case, found) for case in cases}) == apart or len(ids) == 1:
            break
        if (more == CASE or is_work(more)) and _splits(cases, found, more):
            found.append(more)
    return found


def _key(case: CaseResult, axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(value_on(case, axis) for axis in axes)


def _splits(cases: Sequence[CaseResult], axes: Sequence[str], more: str) -> bool:
    return len({_key(case, [*axes, more]) for case in cases}) > len({_key(case, axes) for case in cases})


def _varies(cases: Sequence[CaseResult], axis: str) -> bool:
    return len({value_on(case, axis) for case in cases}) > 1


def in_order(values: Iterable[str]) -> list[str]:
    """Return the distinct values of an axis in order: numbers by size, others as they came."""
    found = list(dict.fromkeys(values))
    return sorted(found, key=int) if all(each.isdecimal() for each in found) else found
