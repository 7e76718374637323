"""A run's results beside the figures of one published table, as its preset shows them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from microbench.analysis.published_tables import Table, ratio_to
from microbench.config import PLAIN
from microbench.records.cases import CaseResult
from microbench.records.settings import meant, without, work_of

WHOLE_OF_MODE = {"train": "total"}
"""The phase shown for a failed case, by mode; in other modes it is inference."""


@dataclass(frozen=True)
class Cell:
    """A figure, in SI units, and its ratio to the baseline's; None if there is no such figure."""

    value: float
    ratio: float | None


@dataclass(frozen=True)
class Row:
    """One quantity of one case.

    Attributes:
        case: the case.
        variant: how it is run, by the table's name; None if it is not a variant of the table.
        quantity: what is measured, by our name.
        measured: our figure; None if the case failed.
        published: the table's figures, by device and software.
    """

    case: CaseResult
    variant: str | None
    quantity: str
    measured: Cell | None
    published: Mapping[tuple[str, str], Cell]


def rows(cases: Sequence[CaseResult], table: Table) -> list[Row]:
    """Return one row per quantity of the table that a case has, or one for a failed case.

    Rows of the same model and batch are adjacent.
    """
    bases = Bases(cases, table)
    works = list(dict.fromkeys(map(_name, cases)))
    return [
        Row(case, table.variant(case), here, bases.cell(case, here), _published(case, there, table))
        for case in sorted(cases, key=lambda case: works.index(_name(case)))
        for there, here in table.quantities.items()
        if _is_of(case, here)
    ]


def flat(row: Row) -> list[dict[str, Any]]:
    """Return a row as mappings, one per published figure; if there is none, one without."""
    own = {
        "model": row.case.config.model.name,
        "batch_size": row.case.config.batch_size,
        "variant": row.variant,
        "case_id": row.case.spec.id,
        "status": row.case.status.value,
        "quantity": row.quantity,
        **_columns("measured", row.measured),
    }
    return [
        own | {"device": device, "software": software, **_columns("published", cell)}
        for (device, software), cell in row.published.items()
    ] or [own | {"device": None, "software": None, **_columns("published", None)}]


def _columns(name: str, cell: Cell | None) -> dict[str, float | None]:
    return {name: cell.value if cell else None, f"{name}_ratio": cell.ratio if cell else None}


def _name(case: CaseResult) -> tuple[str, int]:
    return case.config.model.name, case.config.batch_size


def _is_of(case: CaseResult, quantity: str) -> bool:
    """Return whether a case measured a quantity, or would have if it had not failed."""
    if case.whole is None:
        return quantity == WHOLE_OF_MODE.get(case.config.mode.name, "inference")
    return value(case, quantity) is not None


def value(case: CaseResult, quantity: str) -> float | None:
    """Return a quantity of a case: a phase's time in seconds, its rate in 1/s, or its memory in bytes.

    A rate counts the items of a call, such as tokens. `memory` is the peak of the process or the allocator,
    `GPU memory` what the process takes on the GPU without CUDA's context. None if it was not measured.
    """
    phase, _, what = quantity.partition(" ")
    estimate = case.estimates.get(phase)
    if estimate is None:
        return None
    if what == "memory":
        return case.peak_memory
    if what == "GPU memory":
        return case.gpu_memory
    if what:
        return case.throughput(estimate)
    return estimate.median


def _published(case: CaseResult, quantity: str, table: Table) -> dict[tuple[str, str], Cell]:
    found = table.published(case, quantity)
    return {figure.origin: Cell(figure.value, table.ratio(figure)) for figure in found}


class Bases:
    """The baselines of the ratios of a run's cases.

    Args:
        cases: the cases.
        table: a table that has a baseline.
    """

    def __init__(self, cases: Sequence[CaseResult], table: Table) -> None:
        self._table = table
        self._part, self._name = table.baseline or ("", "")
        self._cases: dict[Hashable, list[CaseResult]] = {}
        for case in cases:
            self._cases.setdefault(self._key(case), []).append(case)

    def cell(self, case: CaseResult, quantity: str) -> Cell | None:
        """Return a quantity of a case, and its ratio; None if it was not measured."""
        found = value(case, quantity)
        if found is None:
            return None
        base = self.of(case, quantity)
        there = None if base is None else value(*base)
        return Cell(found, ratio_to(found, there, self._part, quantity.endswith("/s")))

    def of(self, case: CaseResult, quantity: str) -> tuple[CaseResult, str] | None:
        """Return what a case's quantity is relative to: a case, preferably of the same run, and its quantity.

        None if that was not measured, or has another unit.
        """
        of = self._table.quantities.get(self._name) if self._part == "quantity" else quantity
        if not self._part or of is None or of.partition(" ")[2] != quantity.partition(" ")[2]:
            return None
        alike = [each for each in self._cases.get(self._key(case, self._name), ()) if value(each, of)]
        found = min(alike, key=lambda each: (each is not case, each.run.id != case.run.id), default=None)
        return None if found is None else (found, of)

    def _key(self, case: CaseResult, name: str | None = None) -> Hashable:
        """Return what a case has in common with its baseline, under the baseline's `name` if one is given.

        Variants differ in plain eager's settings, and phases in their mode.
        """
        work = work_of(case)
        other = {"workload": ("model",)}.get(self._part, ())
        left_out = {key for each in (*PLAIN, "mode", *other) for key in meant(each, work)}
        own = {"variant": self._table.variant(case), "workload": case.config.model.name}
        if name is not None and self._part in own:
            own[self._part] = self._table.model(name) if self._part == "workload" else name
        return case.machine.host_id, *own.values(), without(work, left_out)
