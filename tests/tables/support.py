"""Shared by these tests: the phases of a case, and how printed tables are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import BenchmarkWarning, RoundRecord, WarningCode

MakeCase = Callable[..., list[RoundRecord]]
Rendered = Callable[..., list[str]]
Interval = tuple[float, float | None]
"""A median and its interval's half-width, in seconds."""

TRAIN: Mapping[str, Interval] = {
    "forward": (0.010, 0.0003),
    "loss": (0.001, 0.0003),
    "backward": (0.020, 0.0003),
    "update": (0.005, 0.0003),
    "total": (0.040, 0.0003),
}
INFER: Mapping[str, Interval] = {"inference": (0.008, 0.0004)}
DRIFTS = BenchmarkWarning(WarningCode.DRIFT, "it drifts; wait")


def case_of(*records: RoundRecord) -> CaseResult:
    """Return the only case of some records."""
    (case,) = cases_of(records)
    return case


def cases(*made: Sequence[RoundRecord]) -> list[CaseResult]:
    """Return the cases of some records."""
    return cases_of([record for records in made for record in records])


def over_rounds(
    make_case: MakeCase, *times: float, phase: str = "inference", **settings: Any
) -> list[RoundRecord]:
    """Return the records of a case, one round per time in seconds."""
    return [
        record
        for number, time in enumerate(times)
        for record in make_case(
            {phase: (time, time / 100)}, mode="infer", round=number, rounds=len(times), **settings
        )
    ]


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def rows(lines: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return a table's rows by their first cell, each cell by its column's name; columns align right."""
    names = [(found[0], found.end()) for found in re.finditer(r"\S+(?: \S+)*", lines[0])]
    table: dict[str, dict[str, str]] = {}
    for line in lines[1:]:
        found = {cell.end(): cell[0] for cell in re.finditer(r"\S+(?: \S+)*", line)}
        table[cells(line)[0]] = {name: found.get(end, "") for name, end in names[1:]}
    return table
