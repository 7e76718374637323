"""Figures that others have published, and which of them a measured case is compared with.

A table is two files in `microbench/reference/`: a CSV with the figures as published, and a YAML
that maps their names to ours.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from microbench.config import PLAIN
from microbench.errors import unknown
from microbench.records.cases import CaseResult
from microbench.records.settings import as_given, meant, settings_of, without, work_of

FOLDER = Path(__file__).parents[1] / "reference"

UNITS = {
    "s": (1.0, "s"),
    "ms": (1e-3, "s"),
    "images/s": (1.0, "1/s"),
    "KB": (1024.0, "B"),
    "pJ": (1e-12, "J"),
    "count": (1.0, "1"),
    "FLOP": (1.0, "FLOP"),
    "FLOP/s": (1.0, "FLOP/s"),
}
"""The factor to the SI unit, and that unit, by published unit."""

WHOLE_OF_MODE = {"train": "total"}
"""The phase shown for a failed case, by mode; in other modes it is inference."""


@dataclass(frozen=True)
class Figure:
    """A published figure, with the names of its table.

    Attributes:
        source: who published it.
        device: what it was measured on.
        software: the software; empty if not stated.
        workload: what was computed.
        variant: how it was run.
        batch_size: items in a batch.
        input_shape: the shape of one item, such as 3x224x224; empty if not stated.
        quantity: what was measured.
        value: the figure, in `unit`.
        unit: s, 1/s, B, J, FLOP, FLOP/s, or 1 for a number.
    """

    source: str
    device: str
    software: str
    workload: str
    variant: str
    batch_size: int
    input_shape: str
    quantity: str
    value: float
    unit: str

    @property
    def origin(self) -> tuple[str, str]:
        """The device and the software."""
        return self.device, self.software


@dataclass(frozen=True)
class Table:
    """A published table, with the mapping of its names to ours.

    Attributes:
        name: the table's name.
        figures: its figures.
        baseline: what ratios are relative to: a field of the figures, and its value.
        workloads: our models by workload, if their names differ; None if there is none.
        requires: the settings that a case must have to be compared in a quantity.
        variants: the settings of each variant, if they differ from plain eager's; a list contains
            alternatives.
        quantities: our phase by quantity, followed by what is measured of it if that is not its time.
        notes: what else to know before comparing.
    """

    name: str
    figures: Sequence[Figure]
    baseline: tuple[str, str]
    variants: Mapping[str, Mapping[str, Any]]
    quantities: Mapping[str, str]
    workloads: Mapping[str, str | None] = field(default_factory=dict)
    requires: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def model(self, workload: str) -> str | None:
        """Return our model of a workload; None if there is none."""
        return self.workloads.get(workload, workload)

    def variant(self, case: CaseResult) -> str | None:
        """Return the published variant that a case is run as; None if there is none."""
        given = settings_of(case)
        found = (name for name, wanted in self.variants.items() if _holds({**PLAIN, **wanted}, given))
        return next(found, None)

    def published(self, case: CaseResult, quantity: str) -> list[Figure]:
        """Return the figures of a case's quantity: one per device and software that has it."""
        variant, shape = self.variant(case), case.axes["input_shape"] or _shape_of_item(case)
        if not _holds(self.requires.get(quantity, {}), settings_of(case)):
            return []
        return [
            figure
            for figure in self.figures
            if figure.variant == variant
            and figure.quantity == quantity
            and self.model(figure.workload) == case.config.model.name
            and figure.batch_size == case.config.batch_size
            and figure.input_shape in ("", shape)
        ]

    def ratio(self, figure: Figure) -> float | None:
        """Return a figure's ratio to the baseline's; None if that was not published."""
        part, name = self.baseline
        base = self._values.get(replace(figure, value=0.0, **{part: name}))  # type: ignore[arg-type]
        return _ratio(figure.value, base, part, figure.unit == "1/s")

    @cached_property
    def _values(self) -> Mapping[Figure, float]:
        """The values of the figures, by their other fields."""
        return {replace(figure, value=0.0): figure.value for figure in self.figures}


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


def names() -> list[str]:
    """Return the names of all tables."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def load(name: str) -> Table:
    """Load a table by its name.

    Raises:
        UserError: there is no such table.
    """
    if name not in names():
        raise unknown("experiment.reference", name, names())
    meaning = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    (baseline,) = meaning.pop("baseline").items()
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return Table(name, tuple(map(_figure, csv.DictReader(file))), baseline, **meaning)


def _figure(row: Mapping[str, str]) -> Figure:
    factor, unit = UNITS[row["unit"]]
    typed = {"batch_size": int(row["batch_size"]), "value": float(row["value"]) * factor, "unit": unit}
    return Figure(**{**row, **typed})  # type: ignore[arg-type]


def _holds(wanted: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """Return whether settings are as wanted; a group's setting is its option's name."""

    def is_one_of(key: str, values: Any) -> bool:
        allowed = values if isinstance(values, list) else [values]
        value = given.get(f"{key}.name", given.get(key))
        return as_given(value) in map(as_given, allowed)

    return all(is_one_of(key, values) for key, values in wanted.items())


def rows(cases: Sequence[CaseResult], table: Table) -> list[Row]:
    """Return one row per quantity of the table that a case has, or one for a failed case.

    Rows of the same model and batch are adjacent.
    """
    bases = _Bases(cases, table)
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


class _Bases:
    """The baselines of the ratios of a run's cases."""

    def __init__(self, cases: Sequence[CaseResult], table: Table) -> None:
        self._table = table
        self._part, self._name = table.baseline
        self._cases: dict[Hashable, list[CaseResult]] = {}
        for case in cases:
            self._cases.setdefault(self._key(case), []).append(case)

    def cell(self, case: CaseResult, quantity: str) -> Cell | None:
        """Return a quantity of a case, and its ratio; None if it was not measured."""
        found = value(case, quantity)
        if found is None:
            return None
        of = self._table.quantities[self._name] if self._part == "quantity" else quantity
        alike = self._cases.get(self._key(case, self._name), ())
        base = next(filter(None, (value(other, of) for other in alike)), None)
        return Cell(found, _ratio(found, base, self._part, quantity.endswith("/s")))

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


def _shape_of_item(case: CaseResult) -> str:
    """Return the shape of one item of an input that the model itself decided; empty if it is unknown."""
    return (case.first.outcome.inputs or "").partition("x")[2]


def _ratio(found: float, base: float | None, part: str, is_rate: bool) -> float | None:
    """Return how many times faster, or smaller, than a variant; otherwise, how many times the baseline."""
    if not found or not base:
        return None
    return base / found if part == "variant" and not is_rate else found / base
