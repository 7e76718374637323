"""A model's layers beside the model: how often each is called, and what it takes alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from microbench.records.cases import CaseResult
from microbench.records.naming import labels, varying
from microbench.records.record import DistinctLayer
from microbench.records.settings import is_configuration, without, work_of

PART = "model.part"


@dataclass(frozen=True)
class Row:
    """A layer of a model.

    Attributes:
        layer: which one.
        cases: its case in each configuration; None where there is none yet.
    """

    layer: DistinctLayer
    cases: Sequence[CaseResult | None]

    @property
    def count(self) -> int:
        """How often the model calls it."""
        return self.layer.count


@dataclass(frozen=True)
class Layerwise:
    """A model beside its layers.

    Attributes:
        name: what tells it from the others of the run.
        phases: those that are compared: in which a model's time is that of its layers; none where none was
            measured. Loss and update are the model's alone.
        ways: what the ways of running it are called: one, with no name, or several.
        wholes: the model's own case in each way; None where there is none yet.
        rows: the layers, the one on which the first way spends the most time first.
        unmeasured: the layers that no way has measured, in the order of the model.
    """

    name: str
    phases: Sequence[str]
    ways: Sequence[str]
    wholes: Sequence[CaseResult | None]
    rows: Sequence[Row]
    unmeasured: Sequence[Row]

    @property
    def cases(self) -> list[CaseResult]:
        """The model's own cases, and those of its layers."""
        rows = [case for row in (*self.rows, *self.unmeasured) for case in row.cases]
        return [case for case in (*self.wholes, *rows) if case is not None]

    def whole(self, way: int, *phases: str) -> float | None:
        """The model's time in seconds, of some phases or of all that are compared."""
        return time_of(self.wholes[way], phases or self.phases)

    def sum(self, way: int, *phases: str) -> float | None:
        """What the layers' times come to, each as often as it is called; None where none is known."""
        times = [time_of(row.cases[way], phases or self.phases) for row in self.rows]
        pairs = zip(self.rows, times, strict=True)
        found = [row.count * time for row, time in pairs if time is not None]
        return sum(found) if found else None

    def missing(self, way: int) -> int:
        """How many layers have no time there that others have."""
        return sum(time_of(row.cases[way], self.phases) is None for row in self.rows)

    def fastest(self, row: Row) -> int | None:
        """The way that takes a layer the least time; None where there is nothing to choose from."""
        times = [time_of(case, self.phases) for case in row.cases]
        known = [time for time in times if time is not None]
        return times.index(min(known)) if len(known) > 1 else None


def time_of(case: CaseResult | None, phases: Sequence[str]) -> float | None:
    """The sum of some phases' medians in seconds; None where one of them is not known, or there are none."""
    if case is None or not phases or not all(phase in case.estimates for phase in phases):
        return None
    return sum(case.estimates[phase].median for phase in phases)


def is_layer(case: CaseResult) -> bool:
    """Whether a case is a layer that was found by taking a model apart."""
    return case.spec.layer is not None


def layerwise(cases: Sequence[CaseResult]) -> tuple[list[Layerwise], list[CaseResult]]:
    """Models beside their layers, and the cases that are neither: all that is in none of these."""
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in cases:
        groups.setdefault(_what(case), []).append(case)
    apart = [group for group in groups.values() if any(map(is_layer, group))]
    names = _names([group[0] for group in apart])
    found = [_layerwise(name, group) for name, group in zip(names, apart, strict=True)]
    taken = {id(case) for each in found for case in each.cases}
    return found, [case for case in cases if id(case) not in taken]


def _what(case: CaseResult) -> Hashable:
    """What is the same for a model and its layers, however they are run."""
    work = work_of(case)
    return case.run.id, case.machine.host_id, without(work, {PART, *filter(is_configuration, work)})


def _how(case: CaseResult) -> frozenset[tuple[str, str]]:
    """The way in which a case is run."""
    work = work_of(case)
    return frozenset(item for item in work.items() if is_configuration(item[0]))


def _layerwise(name: str, group: Sequence[CaseResult]) -> Layerwise:
    hows = list(dict.fromkeys(map(_how, group)))
    layers = [case for case in group if is_layer(case)]
    found = {(case.config.model.part, _how(case)): case for case in layers}
    known = {each.part: each for case in layers if (each := case.spec.layer) is not None}
    rows = [
        Row(layer, [found.get((part, how)) for how in hows])
        for part, layer in sorted(known.items(), key=lambda item: item[1].index)
    ]
    phases = _compared(group)
    spent = {id(row): _spent(row, phases) for row in rows}
    return Layerwise(
        name,
        phases,
        _ways([next(case for case in group if _how(case) == how) for how in hows]),
        [_whole([case for case in group if _how(case) == how]) for how in hows],
        sorted((row for row in rows if spent[id(row)]), key=lambda row: spent[id(row)], reverse=True),
        [row for row in rows if not spent[id(row)]],
    )


def _compared(group: Sequence[CaseResult]) -> tuple[str, ...]:
    """The phases in which a model's time is that of its layers, in the order of the step."""
    estimates = (each for case in group for each in case.estimates.values())
    return tuple(dict.fromkeys(each.phase for each in estimates if each.of_layers))


def _whole(group: Sequence[CaseResult]) -> CaseResult | None:
    """A model's own case among those of one way: that right before its layers, for it may have others."""
    first = next((place for place, case in enumerate(group) if is_layer(case)), len(group))
    wholes = [case for case in group[:first] if case.config.model.part is None]
    return wholes[-1] if wholes else None


def _spent(row: Row, phases: Sequence[str]) -> float:
    """The time that the first way that has one spends on a layer; 0 where none has."""
    times = (time_of(case, phases) for case in row.cases)
    return row.count * next((time for time in times if time is not None), 0.0)


def _ways(first: Sequence[CaseResult]) -> list[str]:
    """What tells ways apart, by a case of each: the value of what varies, or all settings that do."""
    settings = {name: values for name, values in varying(first).items() if not _is_part(name)}
    if len(settings) == 1:
        return list(next(iter(settings.values())))
    return [
        ", ".join(f"{name}={values[index]}" for name, values in settings.items())
        for index, _ in enumerate(first)
    ]


def _names(first: Sequence[CaseResult]) -> list[str]:
    """What each model is called, by a case of each."""
    if not first:
        return []
    settings = varying(first).items()
    return labels(
        first, {name: each for name, each in settings if not _is_part(name) and not is_configuration(name)}
    )


def _is_part(setting: str) -> bool:
    return setting in ("part", PART)
