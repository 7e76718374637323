"""A model's layers compared with the model: how often each is called, and its time alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from microbench.analysis.case import Interval, intervals
from microbench.analysis.warnings import Failure, Warned, failures
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import differences, varying
from microbench.records.record import DistinctLayer, Status, WarningCode
from microbench.records.settings import computed, is_configuration, work_labels, work_of

PART = "model.part"
IS_PART = ("part", PART)  # both names of the axis


@dataclass(frozen=True)
class LayerTime:
    """The total time of a model's calls of a layer in one configuration.

    Attributes:
        status: how its case ended; None if there is none yet.
        phases: the time of one call, by phase.
        seconds: the time of all calls, in the compared phases; None if one of these is unknown.
        half_width: the interval's half-width in seconds; None if one of the phases has no interval.
        relative_half_width: the same as a share of the time.
        share: the share of the whole model's time; None if either is unknown.
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
        layer: the layer, and how often the model calls it.
        times: the time of the calls in each configuration.
        fastest: the place of the fastest configuration; None without a choice.
    """

    layer: DistinctLayer
    times: Sequence[LayerTime]
    fastest: int | None


@dataclass(frozen=True)
class Total:
    """The sum of all layers and the whole model: seconds, and their ratio; None if unknown."""

    layers: float | None
    whole: float | None
    ratio: float | None


@dataclass(frozen=True)
class LeftOut:
    """Layers of a type that are not measured: why, how often the model calls them, and their cases."""

    type: str
    reason: str
    calls: int
    cases: Sequence[CaseResult]


@dataclass(frozen=True)
class ModelLayers:
    """A model and its layers.

    Attributes:
        name: what distinguishes it from the others of the run.
        cases: its own, and those of its layers.
        phases: the phases compared: those in which a model's time is that of its layers; empty if none was
            measured. Loss and update are the model's alone.
        configurations: the names of the configurations: one, without a name, or several.
        rows: the layers that were measured, sorted by their time in the first configuration, longest first.
        totals: one per configuration; with a single one, one per phase and one for all phases together.
        missing: for each configuration, how many of the rows have no time in it.
        left_out: layers that were skipped in every configuration.
        failed: how many other layers have no time in any configuration.
    """

    name: str
    cases: Sequence[CaseResult]
    phases: Sequence[str]
    configurations: Sequence[str]
    rows: Sequence[LayerRow]
    totals: Sequence[Total]
    missing: Sequence[int]
    left_out: Sequence[LeftOut]
    failed: int


@dataclass(frozen=True)
class LayersReport:
    """Models and their layers.

    Attributes:
        models: at least one.
        intervals: the kinds of intervals that the times have.
        failures: the cases that failed, except those left out.
        warnings: one row per kind, with its text for the first case that has it.
    """

    models: Sequence[ModelLayers]
    intervals: Sequence[Interval]
    failures: Sequence[Failure]
    warnings: Sequence[Warned]


def is_layer(case: CaseResult) -> bool:
    """Return whether a case is a layer that was found by taking a model apart."""
    return case.spec.layer is not None


def layers_report(cases: Sequence[CaseResult]) -> tuple[LayersReport | None, list[CaseResult]]:
    """Return the report on models and their layers, and the cases that are not in it."""
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in cases:
        groups.setdefault(_what(case), []).append(case)
    apart = [group for group in groups.values() if any(map(is_layer, group))]
    if not apart:
        return None, list(cases)
    names = work_labels([group[0] for group in apart], but=IS_PART)
    models = [_model(name, group) for name, group in zip(names, apart, strict=True)]
    taken = [case for model in models for case in model.cases]
    skipped = {id(case) for model in models for each in model.left_out for case in each.cases}
    failed = failures([case for case in taken if id(case) not in skipped])
    shown = set(map(id, taken))
    rest = [case for case in cases if id(case) not in shown]
    return LayersReport(models, intervals(taken), failed, _warnings(taken)), rest


Layer = tuple[DistinctLayer, Sequence[CaseResult | None]]
"""A layer of a model, and its case in each configuration; None if there is none yet."""


def _model(name: str, group: Sequence[CaseResult]) -> ModelLayers:
    estimates = (each for case in group for each in case.estimates.values())
    phases = tuple(dict.fromkeys(each.phase for each in estimates if each.of_layers))
    alike: dict[frozenset[tuple[str, str]], list[CaseResult]] = {}
    for case in group:
        alike.setdefault(_how(case), []).append(case)
    found = {(case.config.model.part, _how(case)): case for case in group if is_layer(case)}
    known = {each.part: each for case in found.values() if (each := case.spec.layer) is not None}
    layers: list[Layer] = [
        (layer, [found.get((layer.part, how)) for how in alike])
        for layer in sorted(known.values(), key=lambda each: each.index)
    ]
    wholes = [_whole(cases) for cases in alike.values()]
    times = [_time(whole, phases) for whole in wholes]
    spent = {layer.part: _spent(layer, cases, phases) for layer, cases in layers}
    measured = sorted((each for each in layers if spent[each[0].part]), key=lambda each: -spent[each[0].part])
    rest = [each for each in layers if not spent[each[0].part]]
    rows = [_row(*each, times, phases) for each in measured]
    of_rows = [case for _, cases in (*measured, *rest) for case in cases]
    skipped = [(layer, all_of) for layer, cases in rest if (all_of := _skipped(cases))]
    return ModelLayers(
        name,
        [case for case in (*wholes, *of_rows) if case is not None],
        phases,
        _configurations([cases[0] for cases in alike.values()]),
        rows,
        _totals(measured, wholes, phases),
        [sum(row.times[place].seconds is None for row in rows) for place, _ in enumerate(wholes)],
        _left_out(skipped),
        len(rest) - len(skipped),
    )


def _spent(layer: DistinctLayer, cases: Sequence[CaseResult | None], phases: Sequence[str]) -> float:
    """Return a layer's time in the first configuration that has one; 0 if none has."""
    times = (_time(case, phases) for case in cases)
    return layer.count * next((time for time in times if time is not None), 0.0)


def _row(
    layer: DistinctLayer,
    cases: Sequence[CaseResult | None],
    wholes: Sequence[float | None],
    phases: Sequence[str],
) -> LayerRow:
    times = [_layer_time(layer.count, *each, phases) for each in zip(cases, wholes, strict=True)]
    seconds = [each.seconds for each in times]
    known = [each for each in seconds if each is not None]
    return LayerRow(layer, times, seconds.index(min(known)) if len(known) > 1 else None)


def _layer_time(count: int, case: CaseResult | None, whole: float | None, phases: Sequence[str]) -> LayerTime:
    time = _time(case, phases)
    if case is None or time is None:
        return LayerTime(None if case is None else case.status)
    estimates = [case.estimates[phase] for phase in phases]
    widths = [each.half_width for each in estimates if each.half_width is not None]
    half_width = sum(widths) if len(widths) == len(phases) else None
    return LayerTime(
        case.status,
        estimates,
        count * time,
        None if half_width is None else count * half_width,
        half_width / time if half_width is not None and time else None,
        count * time / whole if whole else None,
    )


def _totals(
    layers: Sequence[Layer], wholes: Sequence[CaseResult | None], phases: Sequence[str]
) -> list[Total]:
    """Sum the layers' times by configuration, or by phase if there is only one; each counts once per call."""
    by_phase = [(0, each) for each in (*((phase,) for phase in phases), phases)]
    found = []
    for place, some in by_phase if len(wholes) == 1 else [(place, phases) for place, _ in enumerate(wholes)]:
        times = [(layer.count, _time(cases[place], some)) for layer, cases in layers]
        known = [count * time for count, time in times if time is not None]
        total, whole = sum(known) if known else None, _time(wholes[place], some)
        found.append(Total(total, whole, total / whole if total is not None and whole else None))
    return found


def _skipped(cases: Sequence[CaseResult | None]) -> list[CaseResult]:
    """Return a layer's cases if every configuration has skipped it; otherwise none."""
    found = [case for case in cases if case is not None and case.status == "skipped"]
    return found if len(found) == len(cases) else []


def _left_out(layers: Sequence[tuple[DistinctLayer, Sequence[CaseResult]]]) -> list[LeftOut]:
    """Group layers that were skipped, by type and reason."""
    found: dict[tuple[str, str], LeftOut] = {}
    for layer, cases in layers:
        what = layer.type, cases[0].first.outcome.error or ""
        before = found.get(what, LeftOut(*what, 0, ()))
        found[what] = LeftOut(*what, before.calls + layer.count, (*before.cases, *cases))
    return list(found.values())


def _time(case: CaseResult | None, phases: Sequence[str]) -> float | None:
    """Return the sum of some phases' medians in seconds; None if one is unknown, or there are none."""
    if case is None or not phases or not all(phase in case.estimates for phase in phases):
        return None
    return sum(case.estimates[phase].median for phase in phases)


def _what(case: CaseResult) -> Hashable:
    """Return what a model and its layers have in common, in any configuration."""
    return case.run.id, case.machine.host_id, computed(case, but=[PART])


def _how(case: CaseResult) -> frozenset[tuple[str, str]]:
    """Return the configuration of a case."""
    return frozenset(item for item in work_of(case).items() if is_configuration(item[0]))


def _whole(cases: Sequence[CaseResult]) -> CaseResult | None:
    """Find a model's own case in a configuration: the one right before its layers, if there are several."""
    first = next((place for place, case in enumerate(cases) if is_layer(case)), len(cases))
    return next((case for case in reversed(cases[:first]) if case.config.model.part is None), None)


def _configurations(firsts: Sequence[CaseResult]) -> list[str]:
    """Name configurations, given a case of each, by the setting that varies, or by all that do."""
    settings = [values for name, values in varying(firsts).items() if name not in IS_PART]
    return list(settings[0]) if len(settings) == 1 else differences(firsts, IS_PART)


def _warnings(cases: Sequence[CaseResult]) -> list[Warned]:
    """Return one row per kind of warning: the cases that have it, and its text for the first of them."""
    found: dict[WarningCode, list[tuple[str, str]]] = {}
    for case in cases:
        for code, messages in case.warnings.items():
            name = case.config.model.part or case.config.model.name
            found.setdefault(code, []).append((name, messages[0]))
    return [
        Warned(code, told[0][1], None, [name for name, _ in told], len(cases)) for code, told in found.items()
    ]
