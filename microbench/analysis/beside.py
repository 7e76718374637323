"""Cases beside the published figures that agree with them in model, batch, input shape, variant and phase.

Times of another machine say little about this one. What carries over is a comparison: a table's own ratio,
such as compiled over eager, here and there, and the ratio of these two.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from microbench.analysis.absences import counts
from microbench.analysis.charts import is_timed
from microbench.analysis.latest import LATEST, latest
from microbench.analysis.pairing import listed
from microbench.analysis.published import Bases, value
from microbench.analysis.published_tables import Figure, Table, ratio_to, shape_of_item
from microbench.analysis.verdict import contrasts
from microbench.errors import UserError
from microbench.records.cases import CaseResult
from microbench.stats.ratio import Ratio


@dataclass(frozen=True)
class Known:
    """A number, and the ends of its interval, which are None where it is unknown.

    That of a ratio is its 95 % CI; that of a figure has the level that its rounds allow: `Row.confidence`.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def over(self, other: float) -> Known:
        """Return it divided by a number above 0 that has no interval."""
        low, high = (None if end is None else end / other for end in (self.low, self.high))
        return Known(self.value / other, low, high)


@dataclass(frozen=True)
class Row:
    """A quantity of a case beside a published figure of it.

    Attributes:
        case: the case.
        quantity: what is measured, by our name.
        unit: of both figures: s, 1/s or B.
        measured: our figure; None if it does not count.
        figure: the published one.
        ratio: ours over the published one.
        measured_ratio: our figure's ratio to that of the table's baseline, measured on the same machine; None
            for the baseline itself, and if that was not measured.
        published_ratio: the published figure's ratio to the published baseline; None for that itself.
        ratio_of_ratios: the measured ratio over the published one: 1 if the comparison carries over. Its
            interval is that of the measured one, because none was published.
    """

    case: CaseResult
    quantity: str
    unit: str
    measured: Known | None
    figure: Figure
    ratio: Known | None
    measured_ratio: Known | None
    published_ratio: float | None
    ratio_of_ratios: Known | None

    @property
    def confidence(self) -> float | None:
        """The level of our figure's interval; None without one."""
        if self.measured is None or self.measured.low is None:
            return None
        return self.case.estimates[_phase(self.quantity)].confidence


@dataclass(frozen=True)
class Section:
    """A published table, and the cases beside its figures.

    Attributes:
        table: the table.
        rows: its rows; those of a device and software are adjacent.
        remarks: what else to know: what was published at other batches or shapes only, and what lacks a
            baseline.
    """

    table: Table
    rows: Sequence[Row]
    remarks: Sequence[str]


def beside(cases: Sequence[CaseResult], tables: Sequence[Table]) -> list[Section]:
    """Return each table that has a figure of a case, with these cases; at least one.

    Of a case that several runs measured, one counts: see `latest`.

    Raises:
        UserError: no figure agrees with any case; says what was published of their models.
    """
    counted = [each for each in latest(cases) if is_timed(each.case)]
    timed, repeated = [each.case for each in counted], [each.case for each in counted if each.runs > 1]
    found = [(table, list(_rows(timed, table))) for table in tables]
    sections = [Section(table, rows, _remarks(timed, table, rows, repeated)) for table, rows in found if rows]
    if sections:
        return sections
    near = [f"{text} ({table.name})" for table in tables for text in _elsewhere(timed, table, ())]
    told = listed(near) if near else "none of their models is in a table. See `microbench list published`"
    raise UserError(f"No published figure agrees with these cases: {told}.")


def _rows(cases: Sequence[CaseResult], table: Table) -> Iterator[Row]:
    """Yield the rows of a table by device and software."""
    found = [
        (case, here, figure)
        for case in cases
        for there, here in table.quantities.items()
        if not counts(case) or value(case, here) is not None
        for figure in table.published(case, there)
    ]
    ratios = _measured_ratios([(case, here) for case, here, _ in found], cases, table)
    origins = list(dict.fromkeys(figure.origin for _, _, figure in found))
    rows = [
        _row(case, here, figure, ratio, table)
        for (case, here, figure), ratio in zip(found, ratios, strict=True)
    ]
    yield from sorted(rows, key=lambda row: origins.index(row.figure.origin))


def _row(case: CaseResult, quantity: str, figure: Figure, ratio: Known | None, table: Table) -> Row:
    measured = _measured(case, quantity) if counts(case) else None
    is_base = table.baseline is None or getattr(figure, table.baseline[0]) == table.baseline[1]
    published = None if is_base else table.ratio(figure)
    own = None if is_base or measured is None else ratio
    return Row(
        case,
        quantity,
        figure.unit,
        measured,
        figure,
        None if measured is None else measured.over(figure.value),
        own,
        published,
        None if own is None or published is None else own.over(published),
    )


def _measured(case: CaseResult, quantity: str) -> Known | None:
    """Return a case's quantity with its interval; a rate's is that of its time, turned round."""
    found, estimate = value(case, quantity), case.estimates[quantity.partition(" ")[0]]
    if found is None:
        return None
    ends = estimate.low, estimate.high
    if quantity == estimate.phase:
        return Known(found, *ends)
    if not quantity.endswith("/s") or not estimate.low or not estimate.high:
        return Known(found)
    return Known(found, found * estimate.median / estimate.high, found * estimate.median / estimate.low)


def _measured_ratios(
    found: Sequence[tuple[CaseResult, str]], cases: Sequence[CaseResult], table: Table
) -> list[Known | None]:
    """Return the ratio of each case's quantity to that of the table's baseline; None without one.

    Ratios of times and rates are geometric means over rounds, as in every comparison; ratios of memory have
    no interval.
    """
    part = (table.baseline or ("",))[0]
    bases = Bases([case for case in cases if counts(case)], table)
    pairs = [(case, quantity, bases.of(case, quantity)) for case, quantity in found]
    times: dict[Hashable, tuple[CaseResult, CaseResult, tuple[str, str]]] = {
        _key(case, quantity, base): (base[0], case, (_phase(base[1]), _phase(quantity)))
        for case, quantity, base in pairs
        if base is not None and _are_of_times(case, quantity, *base)
    }
    ratios = dict(zip(times, (each.ratio for each in contrasts(list(times.values()))), strict=True))
    return [
        None
        if base is None or not counts(case)
        else _of_times(ratios[key], case, base[0], quantity, part)
        if (key := _key(case, quantity, base)) in ratios
        else _of_values(case, quantity, base, part)
        for case, quantity, base in pairs
    ]


def _key(case: CaseResult, quantity: str, base: tuple[CaseResult, str] | None) -> Hashable:
    """Return what the times of a case and its baseline are known by: its rate has the same ones."""
    return id(case), _phase(quantity), base and (id(base[0]), _phase(base[1]))


def _phase(quantity: str) -> str:
    return quantity.partition(" ")[0]


def _are_of_times(case: CaseResult, quantity: str, base: CaseResult, of: str) -> bool:
    """Return whether a ratio is of times or rates, which rounds have, and not too short for their clock."""
    sides = ((case, _phase(quantity)), (base, _phase(of)))
    return not quantity.endswith("memory") and all(each.estimates[name].is_comparable for each, name in sides)


def _of_times(ratio: Ratio, case: CaseResult, base: CaseResult, quantity: str, part: str) -> Known:
    """Return a table's ratio, given the case's time over its baseline's."""
    low, high = ratio.interval or (None, None)
    if part != "variant" and not quantity.endswith("/s"):
        return Known(ratio.value, low, high)
    items = case.first.items / base.first.items if quantity.endswith("/s") else 1.0
    low, high = (None if not end else items / end for end in (high, low))
    return Known(items / ratio.value, low, high)


def _of_values(case: CaseResult, quantity: str, base: tuple[CaseResult, str], part: str) -> Known | None:
    found, there = value(case, quantity), value(*base)
    ratio = None if found is None else ratio_to(found, there, part, quantity.endswith("/s"))
    return None if ratio is None else Known(ratio)


def _remarks(
    cases: Sequence[CaseResult], table: Table, rows: Sequence[Row], repeated: Sequence[CaseResult]
) -> list[str]:
    """Return what else to know of a table's rows, besides its own notes."""
    found = _elsewhere(cases, table, {_work(row.case) for row in rows})
    shapes = dict.fromkeys(shape_of_item(row.case) for row in rows if not row.figure.input_shape)
    if shapes:
        found.append(f"the input's shape was not published; here: {', '.join(filter(None, shapes))}")
    again = dict.fromkeys(row.case.name for row in rows if any(row.case is each for each in repeated))
    if again:
        found.append(f"{LATEST}: {', '.join(again)}")
    warned = {row.case.name: None for row in rows if row.measured is not None and row.case.warnings}
    if warned:
        found.append(f"measured with warnings (microbench show PATH --warnings): {', '.join(warned)}")
    alone = dict.fromkeys(
        row.case.name
        for row in rows
        if row.measured is not None and row.published_ratio is not None and row.measured_ratio is None
    )
    if alone and table.baseline is not None:
        part, name = table.baseline
        what = table.quantities.get(name, name) if part == "quantity" else name
        found.append(f"no ratio here without {what}, measured in the same way: {', '.join(alone)}")
    return found


def _elsewhere(cases: Sequence[CaseResult], table: Table, shown: Container[Hashable]) -> list[str]:
    """Return which works have no figure although their models were published, and how these were."""
    found: dict[str, dict[str, None]] = {}
    for case in cases:
        figures = [each for each in table.figures if table.model(each.workload) == case.config.model.name]
        if _work(case) not in shown and figures and table.has(case):
            found.setdefault(_why_none(case, figures), {})[case.name] = None
    return [f"{', '.join(models)}: {why}" for why, models in found.items()]


def _work(case: CaseResult) -> Hashable:
    return case.config.model.name, case.config.batch_size, shape_of_item(case)


def _why_none(case: CaseResult, figures: Sequence[Figure]) -> str:
    """Return in what a case differs from all published figures of its model."""
    batches = sorted({each.batch_size for each in figures})
    shapes = sorted({each.input_shape for each in figures})
    if case.config.batch_size not in batches:
        return f"published at batch {', '.join(map(str, batches))}, not {case.config.batch_size}"
    if "" not in shapes and shape_of_item(case) not in shapes:
        return f"published with inputs of {', '.join(shapes)}, not {shape_of_item(case)}"
    config = case.config
    way = f"{config.mode.name}, {config.engine.name} {config.precision.name}, {config.layout}"
    return f"not published at batch {config.batch_size} as {way}"


def flat(section: Section) -> list[dict[str, Any]]:
    """Return a section as rows of plain values, in SI units."""
    return [_flat(section.table, row) for row in section.rows]


def _flat(table: Table, row: Row) -> dict[str, Any]:
    part, name = table.baseline or (None, None)
    machine = row.case.machine
    return {
        "table": table.name,
        "source": row.figure.source,
        "model": row.case.config.model.name,
        "batch_size": row.case.config.batch_size,
        "input_shape": shape_of_item(row.case),
        "variant": row.figure.variant,
        "case_id": row.case.spec.id,
        "status": row.case.standing,
        "quantity": row.quantity,
        "unit": row.unit,
        "published": row.figure.value,
        "published_device": row.figure.device,
        "published_software": row.figure.software or None,
        "measured_device": machine.gpu or machine.cpu,
        "measured_software": f"torch {machine.torch}",
        **_ends("measured", row.measured),
        "confidence": row.confidence,
        **_ends("ratio", row.ratio),
        "baseline": None if part is None else f"{part}={name}",
        "published_ratio": row.published_ratio,
        **_ends("measured_ratio", row.measured_ratio),
        **_ends("ratio_of_ratios", row.ratio_of_ratios),
    }


def _ends(name: str, found: Known | None) -> Mapping[str, float | None]:
    columns = (name, f"{name}_ci_low", f"{name}_ci_high")
    return dict.fromkeys(columns) if found is None else dict(zip(columns, astuple(found), strict=True))
