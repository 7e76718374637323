"""A result as rows for other programs: CSV, or one line of JSON each, in SI units."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import msgspec

from microbench.analysis.columns import ALL
from microbench.analysis.profile import profile_of
from microbench.analysis.quantities import Reading
from microbench.records.cases import CaseResult
from microbench.records.naming import varying
from microbench.records.result import Result

TELLING = ("model", "part", "mode", "batch_size")
"""The axes that distinguish a profile from other cases."""


def rows(result: Result) -> list[dict[str, Any]]:
    """Return one row per case and phase, as in `Result.summary`; for profiles, one per entry of their view.

    A single profile's rows do not name its case; among other cases, they do.
    """
    cases = result.cases()
    settings = varying(cases) if len(cases) > 1 else {}
    found: list[dict[str, Any]] = []
    for place, case in enumerate(cases):
        telling = _telling(case) if len(cases) > 1 else {}
        telling |= {f"cfg_{name}": values[place] for name, values in settings.items()}
        profiled = list(_profile_rows(case))
        found += [{**telling, **row} for row in profiled] if profiled else case.rows()
    return found


def reading_row(reading: Reading | None) -> dict[str, Any]:
    """Return the columns of a value with its interval, in its unit; all None without one."""
    return {
        "estimate": reading and reading.value,
        "ci_low": reading and reading.low,
        "ci_high": reading and reading.high,
        "confidence": reading and reading.confidence,
        "rounds": reading and reading.rounds,
    }


def _telling(case: CaseResult) -> dict[str, Any]:
    return {"status": case.status.value} | {f"cfg_{axis}": case.axes[axis] for axis in TELLING}


def _profile_rows(case: CaseResult) -> Iterator[Mapping[str, Any]]:
    profile = profile_of(case)
    if profile is None:
        return
    config = case.config
    struck = all(name.startswith("~") for name in config.columns)
    asked = [*([ALL] if struck else []), *config.columns]
    view = profile.view(config.view, asked, config.depth)
    yield from (row.values for row in (*view.rows, view.overhead) if row is not None)


def write_csv(found: Sequence[Mapping[str, Any]], file: IO[str]) -> None:
    """Write a header and one line per row, if there is any; unknown values are left empty, lists are JSON."""
    if not found:
        return
    names = list(dict.fromkeys(name for row in found for name in row))
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for row in found:
        writer.writerow({name: as_cell(value) for name, value in row.items()})


def as_cell(value: Any) -> Any:
    """Return a value as a cell of CSV has it: lists and dictionaries are JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def write_json(found: Sequence[Mapping[str, Any]], file: IO[str]) -> None:
    """Write one object per line; unknown values are null."""
    for row in found:
        file.write(msgspec.json.encode(row).decode() + "\n")


FORMATS: dict[str, Callable[[Sequence[Mapping[str, Any]], IO[str]], None]] = {
    "--csv": write_csv,
    "--json": write_json,
}
"""The writer of each format, by its flag."""
