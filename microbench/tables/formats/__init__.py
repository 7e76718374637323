"""Formats of other tools: one module each, found by its name.

A module has `encode(found: Timings) -> bytes`; or for flat rows, `encode_rows(rows) -> bytes`; or for a
tracking service, `log(found, uri, experiment) -> str`, which says what it logged where.
"""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec

from microbench.analysis.timings import Timing
from microbench.config import AXES, MISSING
from microbench.errors import UserError, unknown
from microbench.records.cases import CaseResult
from microbench.records.naming import OF_INPUTS, varying
from microbench.records.record import RoundRecord
from microbench.records.settings import as_given, is_work
from microbench.tables.labels import label

IN_LABEL = ("model", "part", "mode", "batch_size", "precision", "engine", "device", "device_index")
"""The axes that a case's label shows."""


def names() -> list[str]:
    """Return the names of the formats, as on the command line."""
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)]


def began(record: RoundRecord) -> datetime:
    """Return when a round began.

    Raises:
        UserError: that is no date.
    """
    try:
        return datetime.fromisoformat(record.started_at)
    except ValueError:
        raise UserError(
            f"The format needs dates, and a record has started_at={record.started_at!r}, which is none in "
            "ISO 8601."
        ) from None


def find(name: str) -> ModuleType:
    """Import the module of a format.

    Raises:
        UserError: there is none of that name.
    """
    if name not in names():
        raise unknown("format", name, names())
    return import_module(f"{__name__}.{name.replace('-', '_')}")


def titles(timings: Sequence[Timing]) -> list[str]:
    """Return a unique title of each timing, such as `resnet18 infer, batch 8, fp32, eager, cpu: inference`.

    It is the same in every export of the case, so that exports can be compared by title: besides the label,
    it has the axes that differ from their defaults. What tells apart cases of this export alone comes last.
    """
    cases = list({id(each.case): each.case for each in timings}.values())
    named = dict(zip(map(id, cases), case_titles(cases), strict=True))
    return [f"{named[id(each.case)]}: {each.phase}" for each in timings]


def case_titles(cases: Sequence[CaseResult]) -> list[str]:
    """Return a unique title of each case, such as `resnet18 infer, batch 8, fp32, eager, cpu`."""
    found = [", ".join([label(case), *_settings(case)]) for case in cases]
    for tell in (_work, _runs, _numbers):
        for name in [name for name, number in Counter(found).items() if number > 1]:
            places = [place for place, each in enumerate(found) if each == name]
            for place, told in zip(places, tell([cases[place] for place in places]), strict=True):
                found[place] = f"{name}, {told}" if told else name
    return found


def _settings(case: CaseResult) -> Iterator[str]:
    """Yield the axes of a case's work that differ from their defaults and that its label does not show."""
    for axis, each in AXES.items():
        is_shown = axis in (*IN_LABEL, *OF_INPUTS) or each.is_resolved or each.default == MISSING
        if each.is_work and not is_shown and case.axes[axis] != each.default:
            yield f"{axis}={as_given(case.axes[axis])}"


def _work(cases: Sequence[CaseResult]) -> list[str]:
    """Return the settings of each case's work in which it differs from the others."""
    settings = {name: values for name, values in varying(cases).items() if is_work(name)}
    return [
        ", ".join(f"{name}={as_given(values[place])}" for name, values in settings.items())
        for place, _ in enumerate(cases)
    ]


def _runs(cases: Sequence[CaseResult]) -> list[str]:
    ids = [case.run.id for case in cases]
    return ids if len({*ids}) > 1 else [""] * len(ids)


def _numbers(cases: Sequence[CaseResult]) -> list[str]:
    return [str(place) for place, _ in enumerate(cases, start=1)]


def known(**values: Any) -> dict[str, Any]:
    """Return the values that are known."""
    return {name: value for name, value in values.items() if value is not None}


def json_of(found: Any) -> bytes:
    """Encode a document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def texts(values: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Return the known values as texts, as they are written on the command line."""
    return {name: as_given(value) for name, value in values if value is not None}
