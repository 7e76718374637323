"""The values of a table: which cases, which quantities, and their ratios to a baseline."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from microbench.analysis.axes import FACTS, HOST, check_axes, value_on
from microbench.analysis.confounders import warnings_of
from microbench.analysis.latest import latest
from microbench.analysis.pairing import NOT_OF_A_ROUND, Pair, following
from microbench.analysis.quantities import (
    SPEEDUP,
    STEP,
    Better,
    Quantity,
    Reading,
    by_round,
    is_comparable,
    quantities,
    ratios,
    reading,
    why_no_tail,
    why_unknown,
)
from microbench.analysis.verdict import Judgement, Verdict, judge_beside
from microbench.config import MARGIN
from microbench.errors import NothingToCompareError, UserError, unknown
from microbench.records.cases import CaseResult
from microbench.records.record import Status
from microbench.records.settings import (
    keys_by,
    settings_of,
    values_by,
    without,
)
from microbench.stats.median import CONFIDENCE
from microbench.stats.ratio import Ratio

VALUE = "value"  # the axis of several quantities in one table


@dataclass(frozen=True)
class Request:
    """What a table is to show.

    Attributes:
        rows: the axes of the rows; empty for those that suit the cases.
        columns: the axes of the columns, likewise.
        values: the names of the quantities; see `quantities.METRICS`.
        where: by axis, the values of the cases to show; all if empty.
        baseline: by axis, the values of the cases that ratios are relative to; empty for no ratios.
        margin: the share by which a ratio may differ from 1 and still count as the same.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    values: Sequence[str] = (STEP,)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    baseline: Mapping[str, str] = field(default_factory=dict)
    margin: float = MARGIN


@dataclass(frozen=True)
class OverBaseline:
    """A value over its baseline's.

    Attributes:
        value: the ratio, the geometric mean over rounds.
        low: lower end of its 95 % CI; None with a single round.
        high: upper end.
        verdict: on the times or costs of the two.
    """

    value: float
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Entry:
    """A value of a case before it has a place: see `Cell`."""

    case: CaseResult
    quantity: Quantity
    reading: Reading | None
    over: OverBaseline | None = None
    baseline: CaseResult | None = None
    texts: tuple[str, ...] = ()  # of its footnotes

    @property
    def is_baseline(self) -> bool:
        """Whether ratios are relative to it."""
        return self.baseline is self.case


@dataclass(frozen=True)
class Selection:
    """The values to lay out, which the layout does not change."""

    entries: Sequence[Entry]
    request: Request
    remarks: Sequence[str]

    @property
    def cases(self) -> list[CaseResult]:
        """The cases that have values, each once."""
        return list({id(each.case): each.case for each in self.entries}.values())


def select(cases: Sequence[CaseResult], request: Request) -> Selection:
    """Choose the cases and find the values to show.

    Args:
        cases: at least one; of a case that several runs measured, one counts: see `latest`.
        request: what to show.

    Raises:
        UserError: an axis, a value or a baseline does not exist, no case is left, or values have several
            units.
    """
    named = [*request.rows, *request.columns, *request.where]
    check_axes([name for name in named if name != VALUE], cases)
    left, remarks = having(cases, request.where), list[str]()
    counted = latest(left, _facts(request))
    known, notes = [each.case for each in counted], {id(each.case): each.note for each in counted}
    found = quantities(known, request.values)
    kept = {(id(case), each.name) for each in found for case in with_quantity(known, each)}
    if not kept:
        phases = dict.fromkeys(phase for case in known for phase in case.estimates)
        raise UserError(
            f"No case measured {' or '.join(request.values)}. Measured: {', '.join(phases) or 'nothing'}."
        )
    for each in found:
        is_rare = not each.is_time or each.percent is not None
        if is_rare and all(reading(case, each) is None for case in known):
            whys = (why_unknown(case, each) for case in known if each.percent is not None)
            why = next(filter(None, whys), None)
            raise UserError(f"No case has a value of {each.name}{f': {why}' if why else ''}.")
    entries = [
        Entry(case, each, reading(case, each), texts=tuple(_texts(case, each, notes[id(case)])))
        for case in known
        for each in found
        if (id(case), each.name) in kept
    ]
    shown = {each.case.config.mode.name for each in entries}
    modes = dict.fromkeys(case.config.mode.name for case in known)
    if lacking := [mode for mode in modes if mode not in shown]:
        remarks.append(f"left out, without {' or '.join(request.values)}: mode={','.join(lacking)}")
    if request.baseline or any(each.name == SPEEDUP for each in found):
        entries = _over_baseline(entries, request)
    return Selection(entries, request, remarks)


def _facts(request: Request) -> list[str]:
    """Return the facts that a table is laid out by."""
    return [name for name in (*request.rows, *request.columns) if name in FACTS]


def having(cases: Sequence[CaseResult], where: Mapping[str, Sequence[str]]) -> list[CaseResult]:
    """Return the cases that have one of the given values on each axis.

    Raises:
        UserError: there is no such axis, no case has such a value, or none has all of them.
    """
    check_axes(where, cases)
    for axis, values in where.items():
        known = dict.fromkeys(value_on(case, axis) for case in cases)
        for value in values:
            if value not in known:
                raise unknown(axis, value, known)
    found = [case for case in cases if all(value_on(case, axis) in each for axis, each in where.items())]
    if not found:
        told = ", ".join(f"{axis}={value}" for axis, values in where.items() for value in values)
        raise UserError(f"No case has {told} together; each value occurs in another case.")
    return found


def with_quantity(cases: Sequence[CaseResult], quantity: Quantity) -> list[CaseResult]:
    """Return the cases that have a quantity, or failed before they could: for a time, their mode decides."""
    modes: dict[str, list[CaseResult]] = {}
    for case in cases:
        modes.setdefault(case.config.mode.name, []).append(case)
    kept = {mode for mode, alike in modes.items() if not quantity.is_time or _may_have(alike, quantity)}
    return [case for case in cases if case.config.mode.name in kept]


def _may_have(alike: Sequence[CaseResult], quantity: Quantity) -> bool:
    """Return whether any case of a mode has a quantity, or none was measured, so that nobody knows."""
    measured = [each for each in alike if each.estimates or each.discarded]
    return not measured or any(
        quantity.phase(each) in {**each.estimates, **each.discarded} for each in measured
    )


def _texts(case: CaseResult, quantity: Quantity, note: str | None) -> Iterator[str]:
    """Yield the footnotes of a case's value, except its warnings."""
    failed = [each for each in case.failures.values() if each.outcome.status is not Status.INTERRUPTED]
    if case.standing != "ok":
        yield f"{case.standing}: {case.reason or 'no reason recorded'}"
    elif failed:
        first = failed[0].outcome
        yield f"{len(failed)} of {len(case.rounds)} rounds failed: {first.status}: {first.error}"
    if (why := why_unknown(case, quantity)) is not None:
        yield f"unknown: {why}"
    if note is not None:
        yield note
    if case.left_out and quantity.is_time:
        yield f"{case.left_out} of {len(case.measured_rounds)} rounds left out as disturbed"
    phase = quantity.phase(case)
    if quantity.percent is not None and phase in case.estimates and case.standing == "ok":
        why = why_no_tail([case], phase or "", quantity.percent)
        yield from () if why is None else (f"no verdict: {why}",)


def _over_baseline(entries: Sequence[Entry], request: Request) -> list[Entry]:
    """Add each value's ratio to that of its baseline.

    Raises:
        UserError: there is no such baseline, or a quantity has no ratios.
    """
    if not request.baseline:
        raise UserError(f"{SPEEDUP} is relative to a baseline: give it, such as --baseline engine=eager.")
    for each in entries:
        if each.quantity.better is Better.NEITHER:
            raise UserError(f"{each.quantity.name} has no ratios: leave out the baseline.")
    cases = list({id(each.case): each.case for each in entries}.values())
    base_of = dict(zip(map(id, cases), baselines(cases, request.baseline, _facts(request)), strict=True))
    pairs = [(each, base_of[id(each.case)]) for each in entries]
    compared = {
        place: (base, each.case, each.quantity)
        for place, (each, base) in enumerate(pairs)
        if base is not None and base is not each.case and _are_comparable(base, each)
    }
    overs = ratios(list(compared.values()))
    verdicts = judge_beside([(base, case) for base, case, _ in compared.values()], overs, request.margin)
    found = dict(zip(compared, zip(overs, verdicts, strict=True), strict=True))
    return [_beside(each, base, request, *found.get(place, ())) for place, (each, base) in enumerate(pairs)]


def _are_comparable(base: CaseResult, entry: Entry) -> bool:
    return _are_of_one_phase(base, entry) and all(
        is_comparable(case, entry.quantity) for case in (base, entry.case)
    )


def _are_of_one_phase(base: CaseResult, entry: Entry) -> bool:
    """Return whether a baseline's time is of the same phase: training's whole step is not inference's."""
    quantity = entry.quantity
    return not quantity.is_time or quantity.phase(base) == quantity.phase(entry.case)


def _beside(
    entry: Entry,
    base: CaseResult | None,
    request: Request,
    over: Ratio | None = None,
    judged: Judgement | None = None,
) -> Entry:
    """Return a value with its ratio to the baseline, or with a footnote that says why it has none."""
    is_speedup = entry.quantity.name == SPEEDUP
    if base is entry.case:
        one = entry.reading and Reading(1.0, rounds=entry.reading.rounds)
        return replace(entry, baseline=base, reading=one if is_speedup else entry.reading)
    if base is not None and over is not None and judged is not None:
        doubts = warnings_of(Pair(base, entry.case, "the baseline", "this"), next(iter(request.baseline)))
        shown = _shown(over, entry.quantity, judged)
        rounds = None if entry.reading is None else entry.reading.rounds
        speedup = Reading(shown.value, shown.low, shown.high, CONFIDENCE, rounds)
        value = speedup if is_speedup else entry.reading
        return replace(entry, over=shown, baseline=base, reading=value, texts=(*entry.texts, *doubts))
    if entry.reading is None:
        return entry
    told = ",".join(f"{name}={value}" for name, value in request.baseline.items())
    why = f"no case with {told} agrees in everything else"
    if base is not None:
        why = _why_incomparable(base, entry)
    value = None if is_speedup else entry.reading
    return replace(entry, reading=value, texts=(*entry.texts, f"no ratio: {why}"))


def _why_incomparable(base: CaseResult, entry: Entry) -> str:
    """Return why there is no ratio of a value to its baseline's."""
    quantity = entry.quantity
    if not _are_of_one_phase(base, entry):
        return f"the baseline measured {quantity.phase(base)}"
    whose, case = ("this case", entry.case) if is_comparable(base, quantity) else ("the baseline", base)
    if case.standing != "ok":
        return f"{whose} has no value that counts ({case.standing})"
    return (
        f"{whose} has a round with {quantity.name} 0" if by_round(case, quantity) else f"{whose} has no value"
    )


def _shown(found: Ratio, quantity: Quantity, verdict: Judgement) -> OverBaseline:
    """Return the ratio of the values from that of their costs, which for a rate is its inverse."""
    low, high = found.interval or (None, None)
    if quantity.better is Better.LOWER:
        return OverBaseline(found.value, low, high, verdict.verdict)
    low, high = (None if not end else 1 / end for end in (high, low))
    return OverBaseline(1 / found.value, low, high, verdict.verdict)


def _values_by(
    cases: Sequence[CaseResult], name: str, value: str, facts: Sequence[str], is_only: bool
) -> tuple[list[str], set[str]]:
    """Return each case's value of a setting or fact, and the settings in which baselines may differ."""
    if name in FACTS:
        if name not in facts:
            raise UserError(f"--baseline {name}={value} needs {name} among --rows or --columns.")
        return [value_on(case, name) for case in cases], set()
    try:
        keys = keys_by(cases, name)
    except NothingToCompareError as error:
        if not is_only and value_on(cases[0], name) == value:
            return [value] * len(cases), set()
        raise UserError(f"There is no baseline {name}={value}. {error}") from error
    values = values_by(cases, name, keys)
    return values, {name, *keys, *following(cases, name, values)}


def baselines(
    cases: Sequence[CaseResult], given: Mapping[str, str], facts: Sequence[str]
) -> list[CaseResult | None]:
    """Return the baseline of each case: the one that has the given settings and agrees in everything else.

    One on the same GPU is preferred.

    Args:
        cases: at least one.
        given: the baseline's values, by axis, fact or dotted key.
        facts: the facts that cases are told apart by.

    Raises:
        UserError: a setting does not exist or does not vary, or no case has the value.
    """
    hidden, is_base = set(NOT_OF_A_ROUND), [True] * len(cases)
    for name, value in given.items():
        values, own = _values_by(cases, name, value, facts, len(given) == 1)
        if value not in values:
            raise unknown(f"baseline of {name}", value, dict.fromkeys(values))
        hidden |= own
        is_base = [each and other == value for each, other in zip(is_base, values, strict=True)]
    others = [HOST, *(name for name in facts if name not in given)]
    rests = [
        (*(value_on(case, name) for name in others if name not in given), without(settings_of(case), hidden))
        for case in cases
    ]
    found: dict[Hashable, CaseResult] = {}
    for case, rest, is_one in zip(cases, rests, is_base, strict=True):
        if is_one:
            found.setdefault(rest, case)
            found.setdefault((rest, case.machine.gpu_uuid), case)
    if not found:
        told = ",".join(f"{name}={value}" for name, value in given.items())
        raise UserError(f"There is no baseline {told}: no case has all of it.")
    return [
        found.get((rest, case.machine.gpu_uuid), found.get(rest))
        for case, rest in zip(cases, rests, strict=True)
    ]
