"""What the charts of a report draw: typed rows, computed from cases; whoever draws them computes nothing.

A chart is a sequence of panels, of which a page shows one at a time. All values are in SI units: seconds,
bytes, items/s, FLOP/s. Only times that count are drawn: cases that failed, compute something else or have an
implausible time are in none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from microbench.analysis import published as reference
from microbench.analysis import published_files
from microbench.analysis.accuracy import weights_of
from microbench.analysis.latest import latest
from microbench.analysis.layers import is_layer
from microbench.analysis.profile import Profile, ViewRow, profile_of
from microbench.analysis.published_tables import Table
from microbench.analysis.ranking import alternatives, is_measured
from microbench.analysis.verdict import Verdict, contrasts, judge_beside
from microbench.config import PLAIN, PROFILE
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import labels, varying
from microbench.records.peaks import Peaks
from microbench.records.record import DOCTOR, Kind, Role
from microbench.records.settings import computed, is_configuration, meant, settings_of, work_of

NAMED_FIRST = ("engine", "precision")  # of a configuration's name, whether they vary or not
LEAST_OWN = 0.005  # of the model: a container's own time below it is not drawn
OWN = "own time"
"""The name of a node that stands for the time of a module that is in none of its calls."""


@dataclass(frozen=True)
class Time:
    """The time of a case's phase, over its rounds.

    Attributes:
        key: the case: see `key_of`.
        seconds: the median.
        low: lower end of its interval; None without one.
        high: upper end.
        rounds: how many rounds it rests on.
    """

    key: str
    seconds: float
    low: float | None
    high: float | None
    rounds: int

    @property
    def half_width(self) -> float | None:
        """Half-width of the interval in seconds."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class LatencyLine:
    """A configuration's time by batch size: as many times as sizes, in ascending order."""

    configuration: str
    batch_sizes: Sequence[int]
    times: Sequence[Time]


@dataclass(frozen=True)
class LatencyPanel:
    """The time of a work's whole step against its batch size."""

    name: str
    phase: str
    lines: Sequence[LatencyLine]


@dataclass(frozen=True)
class PhaseBar:
    """The parts of a case's step: by phase, the median in seconds; and the measured time of the whole."""

    name: str
    parts: Mapping[str, float]
    total: Time


@dataclass(frozen=True)
class PhasesPanel:
    """Cases of one batch size, and the phases that any of them has."""

    name: str
    phases: Sequence[str]
    bars: Sequence[PhaseBar]


@dataclass(frozen=True)
class SpeedupBar:
    """A configuration against the baseline of its work.

    Attributes:
        key: the case.
        configuration: its name.
        speedup: the baseline's time over its own, the geometric mean over rounds: above 1, it is faster.
        low: lower end of its 95 % CI; None with one round.
        high: upper end.
        verdict: on the configuration; faster, slower, same or inconclusive.
        reason: why it is inconclusive.
    """

    key: str
    configuration: str
    speedup: float
    low: float | None
    high: float | None
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True)
class SpeedupGroup:
    """The configurations of one work against its baseline."""

    work: str
    baseline: str
    bars: Sequence[SpeedupBar]


@dataclass(frozen=True)
class SpeedupPanel:
    """The works of one mode."""

    name: str
    groups: Sequence[SpeedupGroup]


@dataclass(frozen=True)
class MemoryPoint:
    """A case's throughput in items/s, with its interval, and its peak memory in bytes."""

    key: str
    batch_size: int
    throughput: float
    low: float | None
    high: float | None
    memory: float


@dataclass(frozen=True)
class MemoryLine:
    """A configuration's points, by ascending batch size."""

    configuration: str
    points: Sequence[MemoryPoint]


@dataclass(frozen=True)
class MemoryPanel:
    """A work's throughput against its peak memory; `item` is what the throughput counts."""

    name: str
    item: str
    lines: Sequence[MemoryLine]


@dataclass(frozen=True)
class AccuracyPoint:
    """A model's fastest configuration, and the published accuracy of its weights.

    Attributes:
        model: the model.
        configuration: the configuration that is fastest here.
        weights: the weights' name in torchvision.
        top1: their accuracy on ImageNet in percent, as published; the measured module has random weights.
        time: its inference.
        is_on_frontier: whether no other model is at least as accurate and at least as fast (by the medians),
            and better in one of the two.
    """

    model: str
    configuration: str
    weights: str
    top1: float
    time: Time
    is_on_frontier: bool


@dataclass(frozen=True)
class AccuracyPanel:
    """The models that were measured with one batch size, from the fastest."""

    name: str
    points: Sequence[AccuracyPoint]


@dataclass(frozen=True)
class RooflinePoint:
    """The calls of a type, a layer, or the whole model, as measured.

    Attributes:
        name: its name.
        type: its class; empty for the whole model.
        intensity: FLOP per byte.
        rate: FLOP/s.
        share: of the model's time.
        bound: what limits it; None if unknown.
    """

    name: str
    type: str
    intensity: float
    rate: float
    share: float | None
    bound: str | None


@dataclass(frozen=True)
class RooflinePanel:
    """A profile's calls under the machine's measured peaks.

    Attributes:
        name: the profile's case.
        peaks: FLOP/s by precision.
        bandwidths: B/s by the bytes that a call moves, ascending: the last is that of the memory.
        points: the leaf modules and operators, each with all its calls; the whole model comes last.
    """

    name: str
    peaks: Mapping[str, float]
    bandwidths: Sequence[tuple[int, float]]
    points: Sequence[RooflinePoint]


@dataclass(frozen=True)
class LayerNode:
    """A call within a model, in the order in which calls begin.

    Attributes:
        name: its name without its caller's.
        type: its class, or the operator's name.
        level: how many of the nodes before it are around it.
        value: its time in seconds with all calls within it; the FLOPs of a dry run.
        share: of the model's.
    """

    name: str
    type: str
    level: int
    value: float
    share: float | None


@dataclass(frozen=True)
class LayersPanel:
    """A model's calls; `unit` is s, or FLOP for a dry run."""

    name: str
    unit: str
    nodes: Sequence[LayerNode]


@dataclass(frozen=True)
class PublishedPoint:
    """A figure of one's own beside a published one, in the panel's unit.

    `variant` is how it is run by the table's name, and `configuration` by ours.
    """

    key: str
    model: str
    batch_size: int
    variant: str
    configuration: str
    measured: float
    published: float
    device: str
    software: str


@dataclass(frozen=True)
class PublishedPanel:
    """A published table's figures of one quantity; `unit` is s, 1/s or B."""

    name: str
    unit: str
    points: Sequence[PublishedPoint]


@dataclass(frozen=True)
class Charts:
    """Every chart of a report; one without panels has no data in these cases.

    `repeated` is the number of measurements that are not drawn because another of the same case counts.
    """

    latency: Sequence[LatencyPanel]
    speedup: Sequence[SpeedupPanel]
    phases: Sequence[PhasesPanel]
    memory: Sequence[MemoryPanel]
    accuracy: Sequence[AccuracyPanel]
    roofline: Sequence[RooflinePanel]
    layers: Sequence[LayersPanel]
    published: Sequence[PublishedPanel]
    repeated: int = 0


def charts(cases: Sequence[CaseResult], tables: Sequence[Table] | None = None) -> Charts:
    """Return every chart of some cases; of a case that several runs measured, one is drawn: see `latest`.

    Args:
        cases: the cases.
        tables: the published tables to draw beside them; by default the package's.
    """
    drawn = [each.case for each in latest(cases)]
    timed = [case for case in drawn if is_timed(case) and is_measured(case)]
    names = dict(zip(map(key_of, timed), configuration_names(timed), strict=True))
    profiles = {
        name: profile
        for name, case in _named(case for case in drawn if case.config.mode.name == PROFILE)
        if (profile := profile_of(case)) is not None
    }
    return Charts(
        list(_latency(timed, names)),
        list(_speedup(timed, names)),
        list(_phases(timed, names)),
        list(_memory(timed, names)),
        list(_accuracy(timed, names)),
        [roof for name, each in profiles.items() if (roof := _roofline(name, each)) is not None],
        [layers for name, each in profiles.items() if (layers := _layers(name, each)) is not None],
        list(_published(timed, names, published_files.ours() if tables is None else tables)),
        sum(map(is_timed, cases)) - sum(map(is_timed, drawn)),
    )


def key_of(case: CaseResult) -> str:
    """Return what identifies a case among those of several runs."""
    return f"{case.run.id}/{case.spec.order}"


def is_timed(case: CaseResult) -> bool:
    """Return whether a case is a measurement of a whole model or layer, and not a profile or a model's part.

    A doctor's run measures the machine.
    """
    return case.config.mode.name != PROFILE and not is_layer(case) and case.run.command != DOCTOR


def configuration_names(cases: Sequence[CaseResult]) -> list[str]:
    """Return each case's configuration: engine and precision, and whatever else of it varies."""
    others = {
        name: values
        for name, values in varying(cases).items()
        if name not in NAMED_FIRST and is_configuration(name)
    }
    return [
        ", ".join(
            [
                f"{case.config.engine.name} {case.config.precision.name}",
                *(f"{name}={values[index]}" for name, values in others.items()),
            ]
        )
        for index, case in enumerate(cases)
    ]


def work_names(cases: Sequence[CaseResult], but: Collection[str] = ()) -> list[str]:
    """Return what each case computes: model, mode, batch, what else of the work varies, and on which host."""
    settings = {
        name: values
        for name, values in varying(cases).items()
        if name not in {"batch_size", *but} and not is_configuration(name)
    }
    hosts = len({case.machine.host_id for case in cases}) > 1
    return [
        name
        + ("" if "batch_size" in but else f", batch {case.config.batch_size}")
        + (f", on {case.machine.cpu} ({case.machine.host_id[:6]})" if hosts else "")
        for name, case in zip(labels(cases, settings), cases, strict=True)
    ]


def _named(cases: Iterable[CaseResult]) -> list[tuple[str, CaseResult]]:
    """Return cases with the names of their works and configurations."""
    found = list(cases)
    works, configurations = work_names(found), configuration_names(found)
    return [
        (f"{work}, {configuration}", case)
        for work, configuration, case in zip(works, configurations, found, strict=True)
    ]


def time_of(case: CaseResult, estimate: Estimate) -> Time:
    """Return a case's estimate as it is drawn."""
    return Time(key_of(case), estimate.median, estimate.low, estimate.high, estimate.rounds)


def _whole(case: CaseResult) -> Estimate:
    assert case.whole is not None, "only measured cases are drawn"
    return case.whole


def _by_work(cases: Sequence[CaseResult], but: Collection[str]) -> Iterator[tuple[str, list[CaseResult]]]:
    """Yield the cases that compute the same on one host except for some settings, with their work's name."""
    groups: dict[Hashable, list[CaseResult]] = {}
    for case in cases:
        keys = {key for name in but for key in meant(name, work_of(case))}
        groups.setdefault((case.machine.host_id, computed(case, keys)), []).append(case)
    names = work_names([group[0] for group in groups.values()], but)
    yield from zip(names, groups.values(), strict=True)


def _lines(group: Sequence[CaseResult], names: Mapping[str, str]) -> dict[str, list[CaseResult]]:
    """Return each configuration's cases, by ascending batch size."""
    found: dict[str, list[CaseResult]] = {}
    for case in sorted(group, key=lambda case: case.config.batch_size):
        found.setdefault(names[key_of(case)], []).append(case)
    return found


def _latency(cases: Sequence[CaseResult], names: Mapping[str, str]) -> Iterator[LatencyPanel]:
    for work, group in _by_work(cases, ("batch_size",)):
        if len({case.config.batch_size for case in group}) > 1:
            lines = [
                LatencyLine(
                    name,
                    [case.config.batch_size for case in line],
                    [time_of(case, _whole(case)) for case in line],
                )
                for name, line in _lines(group, names).items()
            ]
            yield LatencyPanel(work, _whole(group[0]).phase, lines)


def _memory(cases: Sequence[CaseResult], names: Mapping[str, str]) -> Iterator[MemoryPanel]:
    for work, group in _by_work(cases, ("batch_size",)):
        lines = [
            MemoryLine(name, points)
            for name, line in _lines(group, names).items()
            if (points := [point for case in line if (point := _memory_point(case)) is not None])
        ]
        if sum(len(line.points) for line in lines) > 1:
            yield MemoryPanel(work, group[0].item, lines)


def _memory_point(case: CaseResult) -> MemoryPoint | None:
    whole, memory = _whole(case), case.peak_memory
    rate = case.throughput(whole)
    if rate is None or not memory:
        return None
    items = rate * whole.median
    low, high = (items / end if end else None for end in (whole.high, whole.low))
    return MemoryPoint(key_of(case), case.config.batch_size, rate, low, high, memory)


def _phases(cases: Sequence[CaseResult], names: Mapping[str, str]) -> Iterator[PhasesPanel]:
    """Yield one panel per batch size, because the times of another have another scale."""
    with_parts = [case for case in cases if any(_parts(case))]
    for size in sorted({case.config.batch_size for case in with_parts}):
        group = [case for case in with_parts if case.config.batch_size == size]
        bars = [
            PhaseBar(
                f"{work}, {names[key_of(case)]}",
                {each.phase: each.median for each in _parts(case)},
                time_of(case, _whole(case)),
            )
            for work, case in zip(work_names(group, ("batch_size",)), group, strict=True)
        ]
        phases = list(dict.fromkeys(phase for bar in bars for phase in bar.parts))
        yield PhasesPanel(f"batch {size}", phases, bars)


def _parts(case: CaseResult) -> list[Estimate]:
    return [each for each in case.estimates.values() if each.role is Role.PART]


def _speedup(cases: Sequence[CaseResult], names: Mapping[str, str]) -> Iterator[SpeedupPanel]:
    """Yield one panel per mode; all verdicts count as comparisons that are shown together."""
    groups = [(baseline_of(group), group) for group in alternatives(cases)]
    pairs = [(base, case, _whole(base).phase) for base, group in groups for case in group if case is not base]
    ratios = [each.ratio for each in contrasts(pairs)]
    verdicts = judge_beside([(base, case) for base, case, _ in pairs], ratios)
    bars: dict[str, list[SpeedupBar]] = {}
    for (base, case, _), ratio, found in zip(pairs, ratios, verdicts, strict=True):
        low, high = ratio.interval or (None, None)
        bar = SpeedupBar(
            key_of(case),
            names[key_of(case)],
            1 / ratio.value,
            1 / high if high else None,
            1 / low if low else None,
            found.verdict,
            found.reason,
        )
        bars.setdefault(key_of(base), []).append(bar)
    works = work_names([base for base, _ in groups])
    for mode in dict.fromkeys(base.config.mode.name for base, _ in groups):
        yield SpeedupPanel(
            mode,
            [
                SpeedupGroup(work, names[key_of(base)], bars[key_of(base)])
                for work, (base, _) in zip(works, groups, strict=True)
                if base.config.mode.name == mode
            ],
        )


def baseline_of(group: Sequence[CaseResult]) -> CaseResult:
    """Return the alternative that is most like plain eager; of equal ones, the first of the run."""
    plain = {key: str(value) for key, value in PLAIN.items()}

    def likeness(case: CaseResult) -> int:
        given = settings_of(case)
        return sum(given.get(f"{key}.name", given.get(key)) == value for key, value in plain.items())

    eager = [case for case in group if case.config.engine.name == PLAIN["engine"]]
    return max(eager or group, key=likeness)


def _accuracy(cases: Sequence[CaseResult], names: Mapping[str, str]) -> Iterator[AccuracyPanel]:
    with_weights = [
        case
        for case in cases
        if _whole(case).phase == "inference" and weights_of(case.config.model) is not None
    ]
    for work, group in _by_work(with_weights, ("model",)):
        fastest: dict[Hashable, CaseResult] = {}
        for case in sorted(group, key=lambda case: _whole(case).median):
            fastest.setdefault((case.config.model.name, weights_of(case.config.model)), case)
        if len(fastest) > 1:
            yield AccuracyPanel(work.partition(" ")[2], _on_frontier(list(fastest.values()), names))


def _on_frontier(cases: Sequence[CaseResult], names: Mapping[str, str]) -> list[AccuracyPoint]:
    """Return one point per case, given from the fastest."""
    best, found = 0.0, list[AccuracyPoint]()
    for case in cases:
        weights, whole = weights_of(case.config.model), _whole(case)
        assert weights is not None, "chosen because it has weights"
        tied = [each for each in cases if _whole(each).median == whole.median]
        is_best_of_tied = all(
            weights.top1 >= other.top1 for each in tied if (other := weights_of(each.config.model))
        )
        point = AccuracyPoint(
            case.config.model.name,
            names[key_of(case)],
            weights.name,
            weights.top1,
            time_of(case, whole),
            weights.top1 > best and is_best_of_tied,
        )
        best = max(best, weights.top1)
        found.append(point)
    return found


def _roofline(name: str, profile: Profile) -> RooflinePanel | None:
    if profile.peaks is None or not profile.timed:
        return None
    columns = ("name", "type", "intensity", "flop_rate", "share", "bound")
    view = profile.view("leaves", columns)
    rows = [*view.rows, *([view.total] if view.total is not None else [])]
    points = [point for row in rows if (point := _roofline_point(row)) is not None]
    return (
        RooflinePanel(name, _arithmetic(profile.peaks), profile.peaks.bandwidths, points) if points else None
    )


def _arithmetic(peaks: Peaks) -> dict[str, float]:
    return {name: rate for name, rate, _ in peaks.products if rate is not None}


def _roofline_point(row: ViewRow) -> RooflinePoint | None:
    """Return where a row is drawn; None without arithmetic, which has no place on logarithmic axes."""
    values = row.values
    if not values["intensity"] or not values["flop_rate"]:
        return None
    return RooflinePoint(
        row.label,
        "" if row.label == "total" else values["type"],
        values["intensity"],
        values["flop_rate"],
        values["share"],
        values["bound"],
    )


def _layers(name: str, profile: Profile) -> LayersPanel | None:
    column = "lat" if profile.timed else "flops"
    rows = profile.view("tree", ("name", "type", column, *(("net_lat",) if profile.timed else ()))).rows
    whole = profile.seconds if profile.timed else rows[0].values[column]
    nodes = []
    for row in rows:
        value, own = row.values[column] or 0, row.values.get("net_lat") or 0
        if whole and value > 0:
            nodes.append(LayerNode(row.label, row.values["type"], row.level, value, value / whole))
            if row.kind is Kind.CONTAINER and own > LEAST_OWN * whole:
                nodes.append(LayerNode(OWN, "", row.level + 1, own, own / whole))
    return LayersPanel(name, "s" if profile.timed else "FLOP", nodes) if len(nodes) > 1 else None


def _published(
    cases: Sequence[CaseResult], names: Mapping[str, str], tables: Sequence[Table]
) -> Iterator[PublishedPanel]:
    for table in tables:
        panels: dict[str, list[PublishedPoint]] = {}
        for row in reference.rows(cases, table):
            for (device, software), cell in row.published.items():
                if row.measured is not None:
                    point = PublishedPoint(
                        key_of(row.case),
                        row.case.name,
                        row.case.config.batch_size,
                        row.variant or "",
                        names[key_of(row.case)],
                        row.measured.value,
                        cell.value,
                        device,
                        software,
                    )
                    panels.setdefault(row.quantity, []).append(point)
        for quantity, points in panels.items():
            yield PublishedPanel(f"{table.name}: {quantity}", _unit(quantity), points)


def _unit(quantity: str) -> str:
    return "B" if quantity.endswith("memory") else "1/s" if quantity.endswith("/s") else "s"
