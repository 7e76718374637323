"""Tables that others have published: their figures, and which of them a measured case is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from microbench import registry
from microbench.config import PLAIN
from microbench.records.cases import CaseResult
from microbench.records.settings import as_given, settings_of

FOLDER = Path(__file__).parents[1] / "reference"
"""The tables that the package has."""

OF_THE_USER = ("own", "given", "exported")
"""Sources of workloads whose names say nothing of what a published table calls so."""

BUILT_BY: Mapping[str, Any] = {"args": [], "kwargs": {}, "call_kwargs": {}}
"""Options of `model` that make another workload of one that has a name, with their defaults."""


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
        path: its CSV file.
        figures: its figures.
        quantities: our phase by quantity, followed by what is measured of it if that is not its time.
        baseline: what ratios are relative to: a field of the figures, and its value; None if it
            has no ratios.
        variants: the settings of each variant, if they differ from plain eager's; a list contains
            alternatives.
        workloads: our models by workload, if their names differ; None if there is none.
        requires: the settings that a case must have to be compared in a quantity.
        notes: what else to know before comparing.
    """

    name: str
    path: Path
    figures: Sequence[Figure]
    quantities: Mapping[str, str]
    baseline: tuple[str, str] | None = None
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workloads: Mapping[str, str | None] = field(default_factory=dict)
    requires: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def source(self) -> str:
        """Who published it."""
        return self.figures[0].source

    def model(self, workload: str) -> str | None:
        """Return our model of a workload; None if there is none."""
        return self.workloads.get(workload, workload)

    def models(self) -> list[str]:
        """Return our models of its workloads, in its order."""
        return list(dict.fromkeys(filter(None, (self.model(each.workload) for each in self.figures))))

    def variant(self, case: CaseResult) -> str | None:
        """Return the published variant that a case is run as; None if there is none."""
        given = settings_of(case)
        found = (name for name, wanted in self.variants.items() if _holds({**PLAIN, **wanted}, given))
        return next(found, None)

    def has(self, case: CaseResult) -> bool:
        """Return whether it has a case's model, whole and built as its name says.

        A user's own module is what a table of the package calls by the same name only by chance.
        """
        model = case.config.model
        if model.part is not None or (self.path.parent == FOLDER and model.source in OF_THE_USER):
            return False
        built = _built(model.name).items()
        return model.name in self._models and all(getattr(model, key) == value for key, value in built)

    def published(self, case: CaseResult, quantity: str) -> list[Figure]:
        """Return the figures of a case's quantity: one per device and software that has it."""
        variant, shape = self.variant(case), shape_of_item(case)
        if not self.has(case) or not _holds(self.requires.get(quantity, {}), settings_of(case)):
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
        """Return a figure's ratio to the baseline's; None if that was not published, or is no ratio."""
        if self.baseline is None:
            return None
        part, name = self.baseline
        base = self._values.get(replace(figure, value=0.0, **{part: name}))  # type: ignore[arg-type]
        return ratio_to(figure.value, base, part, figure.unit == "1/s")

    @cached_property
    def _values(self) -> Mapping[Figure, float]:
        """The values of the figures, by their other fields; another unit than the figure's has no ratio."""
        return {replace(figure, value=0.0): figure.value for figure in self.figures}

    @cached_property
    def _models(self) -> frozenset[str]:
        return frozenset(self.models())


def ratio_to(found: float, base: float | None, part: str, is_rate: bool) -> float | None:
    """Return how many times faster, or smaller, than a variant; otherwise, how many times the baseline.

    None if there is no baseline, or one of both is 0.
    """
    if not found or not base:
        return None
    return base / found if part == "variant" and not is_rate else found / base


def shape_of_item(case: CaseResult) -> str:
    """Return the shape of one item: given, or that of an input that the model decided; empty if unknown."""
    return str(case.axes["input_shape"] or (case.first.outcome.inputs or "").partition("x")[2])


def _holds(wanted: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """Return whether settings are as wanted; a group's setting is its option's name."""

    def is_one_of(key: str, values: Any) -> bool:
        allowed = values if isinstance(values, list) else [values]
        value = given.get(f"{key}.name", given.get(key))
        return as_given(value) in map(as_given, allowed)

    return all(is_one_of(key, values) for key, values in wanted.items())


@cache
def _built(model: str) -> Mapping[str, Any]:
    """Return how the model of a name is built: as its YAML file says, if it has one of ours."""
    library, _, name = model.rpartition("/")
    path = registry.files(f"model/{library}" if library else "model").get(name)
    values = {} if path is None else yaml.safe_load(path.read_text("utf-8"))
    return {key: values.get(key, default) for key, default in BUILT_BY.items()}
