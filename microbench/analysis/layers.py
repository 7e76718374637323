"""A model's layers beside the model: how often each is called, and what it takes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from microbench.analysis.case import Interval, intervals
from microbench.analysis.warnings import Failure, Warned, failures
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import labels, varying
from microbench.records.record import DistinctLayer, Status, WarningCode
from microbench.records.settings import is_configuration, without, work_of

PART = "model.part"
IS_PART = ("part", PART)  # the axis that it is, too


@dataclass(frozen=True)
class LayerTime:
    """What a model's calls of a layer take together in one configuration.

    Attributes:
        status: how its case ended; None where there is none yet.
        phases: what one call takes, by phase.
        seconds: of all calls, in the phases that are compared; None where one of these is not known.
        half_width: half the interval's width in seconds; None where one of the phases has no interval.
        relative_half_width: the same as a share of the time.
        share: of the whole model's time; None where either is not known.
    """

    status: Status | None = None
    phases: Sequence[Estimate] = ()
    seconds: float | None = None
    half_width: float | None = None
    relative_half_width: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class LayerRow:
    """A layer of a model.

    Attributes:
        layer: which one, and how often the model calls it.
        times: what the calls take in each configuration.
        fastest: the place of the configuration in which they take the least; None without a choice.
    """

    layer: DistinctLayer
    times: Sequence[LayerTime]
    fastest: int | None


@dataclass(frozen=True)
class Total:
    """All layers beside the whole model: seconds, and their ratio; None where they are not known."""

    layers: float | None
    whole: float | None
    ratio: float | None


@dataclass(frozen=True)
class LeftOut:
    """Layers of a type that are not to be measured: why, and how often the model calls them."""

    type: str
    reason: str
    calls: int


@dataclass(frozen=True)
class ModelLayers:
    """A model beside its layers.

    Attributes:
        name: what tells it from the others of the run.
        case: the first of its cases.
        phases: those that are compared: in which a model's time is that of its layers; none where none was
            measured. Loss and update are the model's alone.
        configurations: what the configurations are called: one, with no name, or several.
        rows: the layers that were measured, the one on which the first configuration spends the most first.
        totals: of each configuration; of a single one, in each phase and in all of them together.
        missing: for each configuration, how many of the rows have no time in it.
        left_out: what was skipped in every configuration.
    """

    name: str
    case: CaseResult
    phases: Sequence[str]
    configurations: Sequence[str]
    rows: Sequence[LayerRow]
    totals: Sequence[Total]
    missing: Sequence[int]
    left_out: Sequence[LeftOut]


@dataclass(frozen=True)
class LayersReport:
    """Models beside their layers.

    Attributes:
        models: at least one.
        intervals: which intervals the times have.
        failures: what did not end well, without what was left out.
        warnings: a row a kind, with what it says of the first case that has it.
    """

    models: Sequence[ModelLayers]
    intervals: Sequence[Interval]
    failures: Sequence[Failure]
    warnings: Sequence[Warned]


def is_layer(case: CaseResult) -> bool:
    """Whether a case is a layer that was found by taking a model apart."""
    return case.spec.layer is not None


def layers_report(cases: Sequence[CaseResult]) -> tuple[LayersReport | None, list[CaseResult]]:
    """Find models beside their layers, and the cases that are in none of these."""
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in cases:
        groups.setdefault(_what(case), []).append(case)
    found = [_model(group) for group in groups.values() if any(map(is_layer, group))]
    if not found:
        return None, list(cases)
    taken = [case for model in found for case in model.cases]
    left_out = {id(case) for model in found for _, cases in model.skipped for case in cases}
    report = LayersReport(
        [_report(model, name) for model, name in zip(found, _names(found), strict=True)],
        intervals(taken),
        failures([case for case in taken if id(case) not in left_out]),
        _warnings(taken),
    )
    shown = set(map(id, taken))
    return report, [case for case in cases if id(case) not in shown]


Layer = tuple[DistinctLayer, Sequence[CaseResult | None]]
"""A layer of a model, and its case in each configuration; None where there is none yet."""


@dataclass(frozen=True)
class _Model:
    """The cases of a model and its layers.

    Attributes:
        firsts: the first case of each configuration.
        phases: those that are compared.
        wholes: the model's own case in each configuration; None where there is none yet.
        measured: the layers that any configuration has measured.
        rest: the others, in the order of the model.
    """

    firsts: Sequence[CaseResult]
    phases: Sequence[str]
    wholes: Sequence[CaseResult | None]
    measured: Sequence[Layer]
    rest: Sequence[Layer]

    @property
    def skipped(self) -> list[Layer]:
        """The layers that every configuration has skipped."""
        return [row for row in self.rest if all(case and case.status == "skipped" for case in row[1])]

    @property
    def cases(self) -> list[CaseResult]:
        """The model's own cases, and those of its layers."""
        rows = [case for _, cases in (*self.measured, *self.rest) for case in cases]
        return [case for case in (*self.wholes, *rows) if case is not None]


def _model(group: Sequence[CaseResult]) -> _Model:
    estimates = (each for case in group for each in case.estimates.values())
    phases = tuple(dict.fromkeys(each.phase for each in estimates if each.of_layers))
    hows = list(dict.fromkeys(map(_how, group)))
    of_each = [[case for case in group if _how(case) == how] for how in hows]
    found = {(case.config.model.part, _how(case)): case for case in group if is_layer(case)}
    known = {each.part: each for case in found.values() if (each := case.spec.layer) is not None}
    rows: list[Layer] = [
        (layer, [found.get((layer.part, how)) for how in hows])
        for layer in sorted(known.values(), key=lambda each: each.index)
    ]
    spent = {layer.part: _spent(layer, cases, phases) for layer, cases in rows}
    return _Model(
        [cases[0] for cases in of_each],
        phases,
        [_whole(cases) for cases in of_each],
        sorted((each for each in rows if spent[each[0].part]), key=lambda each: -spent[each[0].part]),
        [each for each in rows if not spent[each[0].part]],
    )


def _spent(layer: DistinctLayer, cases: Sequence[CaseResult | None], phases: Sequence[str]) -> float:
    """Compute the time that the first configuration that has one spends on a layer; 0 where none has."""
    times = (_time(case, phases) for case in cases)
    return layer.count * next((time for time in times if time is not None), 0.0)


def _report(model: _Model, name: str) -> ModelLayers:
    rows = [_row(model, *each) for each in model.measured]
    places = range(len(model.wholes))
    if len(places) > 1:
        totals = [_total(model, place, model.phases) for place in places]
    else:
        totals = [_total(model, 0, each) for each in (*((phase,) for phase in model.phases), model.phases)]
    left_out: Counter[tuple[str, str]] = Counter()
    for layer, cases in model.skipped:
        left_out[layer.type, next(case.first.outcome.error or "" for case in cases if case)] += layer.count
    return ModelLayers(
        name,
        model.cases[0],
        model.phases,
        _configurations(model.firsts),
        rows,
        totals,
        [sum(row.times[place].seconds is None for row in rows) for place in places],
        [LeftOut(*what, calls) for what, calls in left_out.items()],
    )


def _row(model: _Model, layer: DistinctLayer, cases: Sequence[CaseResult | None]) -> LayerRow:
    times = [_layer_time(model, layer, case, place) for place, case in enumerate(cases)]
    seconds = [each.seconds for each in times]
    known = [each for each in seconds if each is not None]
    return LayerRow(layer, times, seconds.index(min(known)) if len(known) > 1 else None)


def _layer_time(model: _Model, layer: DistinctLayer, case: CaseResult | None, place: int) -> LayerTime:
    time, whole = _time(case, model.phases), _time(model.wholes[place], model.phases)
    if case is None or time is None:
        return LayerTime(None if case is None else case.status)
    phases = [case.estimates[phase] for phase in model.phases]
    widths = [each.half_width for each in phases if each.half_width is not None]
    half_width = sum(widths) if len(widths) == len(phases) else None
    return LayerTime(
        case.status,
        phases,
        layer.count * time,
        None if half_width is None else layer.count * half_width,
        half_width / time if half_width is not None and time else None,
        layer.count * time / whole if whole else None,
    )


def _total(model: _Model, place: int, phases: Sequence[str]) -> Total:
    """Add up some phases of all layers, each as often as it is called, beside the whole model."""
    times = [(layer.count, _time(cases[place], phases)) for layer, cases in model.measured]
    known = [count * time for count, time in times if time is not None]
    layers, whole = sum(known) if known else None, _time(model.wholes[place], phases)
    return Total(layers, whole, layers / whole if layers is not None and whole else None)


def _time(case: CaseResult | None, phases: Sequence[str]) -> float | None:
    """Add some phases' medians up, in seconds; None where one of them is not known, or there are none."""
    if case is None or not phases or not all(phase in case.estimates for phase in phases):
        return None
    return sum(case.estimates[phase].median for phase in phases)


def _what(case: CaseResult) -> Hashable:
    """Return what is the same for a model and its layers, however they are run."""
    work = work_of(case)
    return case.run.id, case.machine.host_id, without(work, {PART, *filter(is_configuration, work)})


def _how(case: CaseResult) -> frozenset[tuple[str, str]]:
    """Return the configuration of a case."""
    return frozenset(item for item in work_of(case).items() if is_configuration(item[0]))


def _whole(cases: Sequence[CaseResult]) -> CaseResult | None:
    """Find a model's own case in a configuration: that right before its layers, as it may have others."""
    first = next((place for place, case in enumerate(cases) if is_layer(case)), len(cases))
    return next((case for case in reversed(cases[:first]) if case.config.model.part is None), None)


def _configurations(firsts: Sequence[CaseResult]) -> list[str]:
    """Name configurations, by a case of each: the value of what varies, or all settings that do."""
    settings = {name: values for name, values in varying(firsts).items() if name not in IS_PART}
    if len(settings) == 1:
        return list(next(iter(settings.values())))
    return [
        ", ".join(f"{name}={values[place]}" for name, values in settings.items())
        for place, _ in enumerate(firsts)
    ]


def _names(found: Sequence[_Model]) -> list[str]:
    """Name each model."""
    cases = [model.firsts[0] for model in found]
    telling = {
        name: values
        for name, values in varying(cases).items()
        if name not in IS_PART and not is_configuration(name)
    }
    return labels(cases, telling)


def _warnings(cases: Sequence[CaseResult]) -> list[Warned]:
    """Find for each kind of warning which cases have it, and what it says of the first of them."""
    found: dict[WarningCode, list[tuple[str, str]]] = {}
    for case in cases:
        for code, messages in case.warnings.items():
            name = case.config.model.part or case.config.model.name
            found.setdefault(code, []).append((name, messages[0]))
    return [
        Warned(code, told[0][1], None, [name for name, _ in told], len(cases)) for code, told in found.items()
    ]
