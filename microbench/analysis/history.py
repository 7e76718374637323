"""The history of cases over many runs: the trend by date, and the steps in it, with what changed there."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from microbench.analysis.axes import check_axes, telling, value_on
from microbench.analysis.confounders import facts_apart
from microbench.analysis.pairing import Pair
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
    why_unknown,
)
from microbench.analysis.selection import having, with_quantity
from microbench.analysis.verdict import Verdict, judge
from microbench.config import MARGIN
from microbench.errors import UserError, unknown
from microbench.records.cases import CaseResult
from microbench.records.naming import PART, labels
from microbench.records.settings import as_given
from microbench.stats.ratio import Ratio, unpaired
from microbench.stats.steps import LEAST, Step, resemblance, steps

OF_MACHINE = {
    "torchvision": "torchvision",
    "OS": "os",
    "GPU driver": "gpu_driver",
    "CUDA": "cuda",
    "cuDNN": "cudnn",
    "usable CPUs": "usable_cpus",
    "CPU quota": "cpu_quota",
    "frequency governor": "governor",
    "turbo": "turbo",
    "transparent huge pages": "thp",
}
OF_PROCESS = {"library": "engine", "CPUs of the process": "cpus"}
"""Facts that may change between runs on a host, besides those that comparisons warn of, and their fields."""


@dataclass(frozen=True)
class Request:
    """Which history to show.

    Attributes:
        value: the quantity: see `quantities.METRICS`.
        where: by axis, the values of the cases to show; all if empty.
        margin: the share by which a ratio may differ from 1 and still count as the same.
    """

    value: str = STEP
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    margin: float = MARGIN


@dataclass(frozen=True)
class Point:
    """A run in a history.

    Attributes:
        case: the case as this run measured it.
        reading: its value; None if there is none that counts.
        standing: how it ended, or that its time is implausible.
        unknown: why there is no value although it ended well; None otherwise.
        changed: the facts that differ from the run before: both values by name.
    """

    case: CaseResult
    reading: Reading | None
    standing: str
    unknown: str | None
    changed: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Change:
    """A step between two runs, or the comparison of two successive ones.

    Attributes:
        before: the place among the history's points of the last run before it.
        after: that of the first run after it.
        is_step: whether it is a step in the sequence of runs; otherwise, rounds of the two were compared.
        runs: how many runs the levels before and after it have.
        ratio: the value after it over that before.
        low: lower end of its 95 % CI; None if there are too few rounds.
        high: upper end.
        p: the probability of so large a change if there is none; for a comparison, adjusted for their number.
        verdict: on the runs after it.
        reason: why it is inconclusive.
        changed: the facts that differ between the two runs: both values by name.
    """

    before: int
    after: int
    is_step: bool
    runs: tuple[int, int]
    ratio: float
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict
    reason: str | None
    changed: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Track:
    """A case on a host over its runs.

    Attributes:
        name: what distinguishes it from the others.
        quantity: the quantity's name; for the whole step, its phase.
        unit: the quantity's unit.
        is_rate: whether more is better.
        points: its runs in order of time; at least one.
        changes: its steps in order; with fewer than six runs, the comparisons of successive runs.
        is_searched: whether it has enough runs to search for steps.
        resemblance: the correlation of successive runs' deviations, if significant: steps may be chance.
    """

    name: str
    quantity: str
    unit: str
    is_rate: bool
    points: Sequence[Point]
    changes: Sequence[Change]
    is_searched: bool
    resemblance: float | None = None

    @property
    def latest(self) -> Change | None:
        """Its last step, or the comparison of its last two runs; None if there is none."""
        return self.changes[-1] if self.changes else None


@dataclass(frozen=True)
class Event:
    """The changes of several cases between the same two runs.

    Attributes:
        before: the last run before them, as one of the cases has it.
        after: the first run after them.
        changes: the changes, each with its case.
        changed: the facts that differ between the two runs: both values by name.
        cases: the number of cases that both runs measured.
    """

    before: CaseResult
    after: CaseResult
    changes: Sequence[tuple[Track, Change]]
    changed: Mapping[str, tuple[str, str]]
    cases: int


@dataclass(frozen=True)
class History:
    """Cases over many runs.

    Attributes:
        tracks: at least one.
        events: the steps, and the comparisons of successive runs that found a difference, in order of time.
        runs: the number of runs.
        dates: when the first and the last of them began, in UTC.
        margin: the share by which a ratio may differ from 1 and still count as the same.
    """

    tracks: Sequence[Track]
    events: Sequence[Event]
    runs: int
    dates: tuple[str, str]
    margin: float


def history(cases: Sequence[CaseResult], request: Request) -> History:
    """Return the history of cases that several runs have measured.

    Args:
        cases: at least one.
        request: what to show.

    Raises:
        UserError: an axis or the value does not exist, no case is left, or none was measured by two runs.
    """
    check_axes(request.where, cases)
    left = having(cases, request.where)
    (quantity,) = quantities(left, [request.value])
    if quantity.better is Better.NEITHER or quantity.name == SPEEDUP:
        raise UserError(f"{quantity.name} has no history: show a time, throughput, memory or energy.")
    left = with_quantity(left, quantity)
    groups = [each for each in _groups(left) if len(each) > 1]
    if not groups:
        raise UserError(
            f"There is no history: no case was measured by two runs on one host ({len(left)} cases)."
        )
    tracks = [_track(group, quantity) for group in groups]
    names = _names([group[-1] for group in groups])
    values = [_measured(track.points, quantity) for track in tracks]
    changes, resembling = _changes(tracks, values, quantity, request.margin)
    runs = sorted({each.case.run.id: _began(each.case) for track in tracks for each in track.points}.values())
    found = [
        replace(track, name=name, changes=each, resemblance=resembling.get(place))
        for place, (track, name, each) in enumerate(zip(tracks, names, changes, strict=True))
    ]
    return History(
        found,
        _events(found),
        len(runs),
        (runs[0], runs[-1]),
        request.margin,
    )


def _groups(cases: Sequence[CaseResult]) -> list[list[CaseResult]]:
    """Group the cases by what they measure and the host, one of each run, in order of time."""
    found: dict[Hashable, dict[str, CaseResult]] = {}
    for case in cases:
        found.setdefault((case.spec.id, case.machine.host_id), {}).setdefault(case.run.id, case)
    return [sorted(each.values(), key=_began) for each in found.values()]


def _began(case: CaseResult) -> str:
    return min(each.started_at for each in case.rounds.values())


def time_of(since: str, cases: Sequence[CaseResult]) -> datetime:
    """Return when a run began, given its id, or the time that a date means, in UTC.

    Raises:
        UserError: it is neither a run of these cases nor a date.
    """
    began: dict[str, list[str]] = {}
    for case in cases:
        began.setdefault(case.run.id, []).append(_began(case))
    try:
        found = datetime.fromisoformat(min(began.get(since, [since])))
    except ValueError as error:
        text = unknown("run", since, began, see="microbench history PATH --runs")
        raise UserError(f"{text} Or give a date, such as 2026-01-31.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def is_since(track: Track, change: Change, since: datetime) -> bool:
    """Return whether the first run after a change began at a time or later."""
    return datetime.fromisoformat(_began(track.points[change.after].case)) >= since


def _events(tracks: Sequence[Track]) -> list[Event]:
    """Group what is to be told of by the two runs between which it happened."""
    found: dict[tuple[str, ...], list[tuple[Track, Change]]] = {}
    for track in tracks:
        for change in track.changes:
            if change.is_step or change.verdict in (Verdict.SLOWER, Verdict.FASTER):
                ends = (track.points[change.before].case, track.points[change.after].case)
                key = _began(ends[1])[:10], *(each.run.id for each in ends), ends[1].machine.host_id
                found.setdefault(key, []).append((track, change))
    return [_event(each, tracks) for _, each in sorted(found.items(), key=lambda item: item[0])]


def _event(changes: Sequence[tuple[Track, Change]], tracks: Sequence[Track]) -> Event:
    track, change = changes[0]
    before, after = track.points[change.before].case, track.points[change.after].case
    runs = {(each.run.id, each.machine.host_id) for each in (before, after)}
    both = [
        each
        for each in tracks
        if runs <= {(p.case.run.id, p.case.machine.host_id) for p in each.points if p.reading is not None}
    ]
    changed = {name: each for _, change in changes for name, each in change.changed.items()}
    return Event(before, after, changes, changed, len(both))


def _names(cases: Sequence[CaseResult]) -> list[str]:
    """Return what distinguishes each case from the others."""
    axes = [axis for axis in telling(cases) if axis not in ("model", PART, "mode")]
    return labels(cases, {axis: [value_on(case, axis) for case in cases] for axis in axes})


def _track(group: Sequence[CaseResult], quantity: Quantity) -> Track:
    latest = group[-1]
    points = [
        Point(
            case,
            reading(case, quantity),
            case.standing,
            why_unknown(case, quantity),
            {} if before is None else apart(before, case),
        )
        for before, case in zip([None, *group], group, strict=False)
    ]
    phases = [quantity.phase(case) for case in group] if quantity.name == STEP else []
    values = _measured(points, quantity)
    return Track(
        "",
        next(filter(None, reversed(phases)), quantity.name),
        quantity.unit(latest),
        quantity.better is Better.HIGHER,
        points,
        [],
        len(values) >= LEAST,
    )


def apart(before: CaseResult, after: CaseResult) -> dict[str, tuple[str, str]]:
    """Return the facts that differ between two runs of the same case: both values by name."""
    found = facts_apart(Pair(before, after, "", ""), None)
    a, b = _more_facts(before), _more_facts(after)
    return found | {name: (a[name], b[name]) for name in a if a[name] != b[name]}


def _more_facts(case: CaseResult) -> dict[str, str]:
    machine, process = case.machine, case.first.outcome.process
    return {
        **{name: as_given(getattr(machine, key)) for name, key in OF_MACHINE.items()},
        **{name: as_given(getattr(process, key)) for name, key in OF_PROCESS.items()},
    }


def _measured(points: Sequence[Point], quantity: Quantity) -> dict[int, float]:
    """Return the logarithm of each run's cost, by its place: the mean over its rounds, as ratios have it."""
    found = {}
    for place, each in enumerate(points):
        if each.reading is not None and is_comparable(each.case, quantity):
            values = by_round(each.case, quantity).values()
            found[place] = math.fsum(map(math.log, values)) / len(values)
    return found


def _changes(
    tracks: Sequence[Track], values: Sequence[Mapping[int, float]], quantity: Quantity, margin: float
) -> tuple[list[list[Change]], dict[int, float | None]]:
    """Return the steps of the tracks that are searched, and the comparisons of the others' runs.

    With them, by a track's place, how much the runs of those that are searched resemble each other.
    """
    searched = [place for place, track in enumerate(tracks) if track.is_searched]
    found = steps([list(values[place].values()) for place in searched])
    stepped = {
        place: [_of_step(each, tracks[place], values[place], margin) for each in some]
        for place, some in zip(searched, found, strict=True)
    }
    pairs = [
        (place, before, after)
        for place, track in enumerate(tracks)
        if not track.is_searched
        for before, after in zip(values[place], list(values[place])[1:], strict=False)
    ]
    compared = _compared(pairs, tracks, quantity, margin)
    resembling = {
        place: resemblance(list(values[place].values()), some)
        for place, some in zip(searched, found, strict=True)
    }
    return [stepped.get(place, compared.get(place, [])) for place in range(len(tracks))], resembling


def _of_step(step: Step, track: Track, values: Mapping[int, float], margin: float) -> Change:
    """Return a step with the ratio of the runs after it over those before, up to the neighbouring steps."""
    places, logs = list(values), list(values.values())
    before, after = ([math.exp(each - logs[0]) for each in logs[slice(*ends)]] for ends in step.sides)
    ratio = unpaired(before, after)
    low, high = ratio.interval or (None, None)
    verdict = Verdict.SLOWER if ratio.log > 0 else Verdict.FASTER
    if low is not None and high is not None and 1 / (1 + margin) <= low and high <= 1 + margin:
        verdict = Verdict.SAME
    last, first = places[step.place - 1], places[step.place]
    changed = apart(track.points[last].case, track.points[first].case)
    sizes = len(before), len(after)
    return Change(last, first, True, sizes, *_value(ratio, track), step.p, verdict, None, changed)


def _value(ratio: Ratio, track: Track) -> tuple[float, float | None, float | None]:
    """Return the ratio of the values with its ends, from that of their costs."""
    low, high = ratio.interval or (None, None)
    if not track.is_rate:
        return ratio.value, low, high
    return 1 / ratio.value, high and 1 / high, low and 1 / low


def _compared(
    pairs: Sequence[tuple[int, int, int]], tracks: Sequence[Track], quantity: Quantity, margin: float
) -> dict[int, list[Change]]:
    """Return the comparisons of successive runs by their track, all judged together."""
    cases = [(tracks[place].points[a].case, tracks[place].points[b].case) for place, a, b in pairs]
    overs = ratios([(a, b, quantity) for a, b in cases])
    found: dict[int, list[Change]] = {}
    for (place, before, after), (a, b), ratio, judged in zip(
        pairs, cases, overs, judge(overs, margin), strict=True
    ):
        value = _value(ratio, tracks[place])
        verdict = judged.verdict, judged.reason, apart(a, b)
        change = Change(before, after, False, (1, 1), *value, judged.p_adjusted, *verdict)
        found.setdefault(place, []).append(change)
    return found
