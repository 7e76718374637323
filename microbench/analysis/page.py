"""What a report's page shows: answers, a row per case, charts, samples, and what they were measured on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from microbench.analysis.case import Interval, error_of, intervals
from microbench.analysis.charts import (
    Charts,
    Time,
    baseline_of,
    charts,
    configuration_names,
    is_timed,
    key_of,
    time_of,
    work_names,
)
from microbench.analysis.latest import latest
from microbench.analysis.published_tables import Table
from microbench.analysis.ranking import Judged, alternatives, is_measured, judged
from microbench.analysis.verdict import Verdict
from microbench.analysis.warnings import Problems, problems
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import PART
from microbench.records.record import DOCTOR, Machine, Role, WarningCode
from microbench.records.settings import compared

VERSIONS = {
    "microbench": "microbench",
    "torch": "torch",
    "torchvision": "torchvision",
    "Python": "python",
    "CUDA": "cuda",
    "GPU driver": "gpu_driver",
}
"""The fields of `Machine` with versions, by the names that a page gives them."""


@dataclass(frozen=True)
class Rival:
    """A configuration beside the fastest one.

    Attributes:
        configuration: its name.
        ratio: its time over the fastest's.
        low: lower end of the ratio's 95 % CI; None with one round.
        high: upper end.
        verdict: slower, same or inconclusive.
        reason: why it is inconclusive, and what would settle it; None if it is not.
    """

    configuration: str
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True)
class Answer:
    """Which configuration of a work is fastest, by how much, and how sure that is.

    Attributes:
        work: what is computed.
        fastest: the configuration with the shortest time.
        time: its time.
        baseline: the alternative that is most like plain eager; None if that is the fastest.
        rivals: the others, by time.
        unmeasured: how many configurations have no time that counts.
    """

    work: str
    fastest: str
    time: Time
    baseline: Rival | None
    rivals: Sequence[Rival]
    unmeasured: int

    @property
    def undecided(self) -> Sequence[Rival]:
        """The rivals that are not significantly slower."""
        return [rival for rival in self.rivals if rival.verdict is not Verdict.SLOWER]


@dataclass(frozen=True)
class Alone:
    """A work that was measured in one configuration: nothing to rank."""

    work: str
    configuration: str
    time: Time


@dataclass(frozen=True)
class CaseRow:
    """A case, as a row of the table.

    Attributes:
        key: the case: see `charts.key_of`.
        settings: by name, the model, the mode, and every setting that is compared.
        phase: the phase that spans its step; empty if it has none.
        time: its time; None if it was not measured, or counts for nothing.
        is_valid: whether that time counts: it computes the same as eager fp32, and is plausible.
        half_width: the interval's half-width over the median; None without an interval.
        throughput: items per second.
        item: what these are.
        memory: peak bytes.
        error: the largest relative error of its answer; None if it was not compared.
        standing: how it ended, or that its time is implausible.
        reason: why that is not `ok`.
        warnings: its warnings' codes.
        measured_at: when its first round began, in ISO 8601.
        command: the command line that measures it again.
    """

    key: str
    settings: Mapping[str, str]
    phase: str
    time: Time | None
    is_valid: bool
    half_width: float | None
    throughput: float | None
    item: str
    memory: float | None
    error: float | None
    standing: str
    reason: str | None
    warnings: Sequence[WarningCode]
    measured_at: str
    command: str


@dataclass(frozen=True)
class SeriesSamples:
    """A series: its samples in order, and the warnings of its round.

    Attributes:
        key: the case.
        phase: the phase.
        round: the round's number.
        samples: seconds per call.
        calls_per_sample: of how many calls a sample is the mean.
        warnings: of the round that it belongs to: code and text.
        counts: whether the case's estimate rests on this round.
    """

    key: str
    phase: str
    round: int
    samples: Sequence[float]
    calls_per_sample: int
    warnings: Sequence[tuple[str, str]]
    counts: bool


@dataclass(frozen=True)
class Host:
    """A machine, and what was measured on it.

    Attributes:
        machine: its description by the first case.
        versions: by library, the versions of all its cases.
        threads: the numbers of threads.
        allocators: the memory allocators.
        runs: by run, the command line that began it; None for a run from Python.
        first: when the first round began, in ISO 8601.
        last: when the last one began.
        cases: the number of cases.
        rounds: the number of rounds.
    """

    machine: Machine
    versions: Mapping[str, Sequence[str]]
    threads: Sequence[int]
    allocators: Sequence[str]
    runs: Mapping[str, str | None]
    first: str
    last: str
    cases: int
    rounds: int


@dataclass(frozen=True)
class Page:
    """Everything that a page shows.

    Attributes:
        answers: one per work with alternatives.
        alone: the works without.
        settings: the names of the settings that distinguish the rows.
        rows: one per case.
        charts: the charts.
        series: the samples of every case.
        intervals: the kinds of intervals that the rows' times have.
        problems: the failures and warnings of all cases.
        hosts: the machines.
    """

    answers: Sequence[Answer]
    alone: Sequence[Alone]
    settings: Sequence[str]
    rows: Sequence[CaseRow]
    charts: Charts
    series: Sequence[SeriesSamples]
    intervals: Sequence[Interval]
    problems: Problems
    hosts: Sequence[Host]


def page(cases: Sequence[CaseResult], tables: Sequence[Table] | None = None) -> Page:
    """Return what a page shows of cases; those of a doctor's run are not among them.

    Args:
        cases: the cases.
        tables: the published tables to draw beside them; by default the package's.
    """
    shown = [case for case in cases if case.run.command != DOCTOR]
    drawn = [each.case for each in latest(shown) if is_timed(each.case)]
    settings = {
        "model": [case.name for case in shown],
        "mode": [case.config.mode.name for case in shown],
        **_settings(shown),
    }
    return Page(
        list(_answers(drawn)),
        list(_alone(drawn)),
        list(settings),
        [
            _row(case, {name: values[index] for name, values in settings.items()})
            for index, case in enumerate(shown)
        ],
        charts(shown, tables),
        [series for case in shown for series in _series(case)],
        intervals(shown),
        problems(shown),
        list(_hosts(shown)),
    )


def _settings(cases: Sequence[CaseResult]) -> dict[str, Sequence[str]]:
    """Return what else distinguishes the cases: batch, engine and precision, and what else is compared."""
    usual = ("batch_size", "engine", "precision")
    others = {name: values for name, values in compared(cases).items() if name not in (*usual, PART)}
    return {**{name: [str(case.axes[name]) for case in cases] for name in usual}, **others}


def _answers(cases: Sequence[CaseResult]) -> Iterator[Answer]:
    names = _names(cases)
    groups = alternatives(cases)
    works = work_names([group[0] for group in groups])
    for work, group in zip(works, groups, strict=True):
        first, *others = judged(group)
        base = baseline_of([each.case for each in (first, *others)])
        rivals = {key_of(each.case): _rival(each, names) for each in others}
        yield Answer(
            work,
            names[key_of(first.case)],
            _time(first.case),
            rivals.get(key_of(base)),
            list(rivals.values()),
            sum(not is_measured(case) for case in group),
        )


def _rival(found: Judged, names: Mapping[str, str]) -> Rival:
    assert found.ratio is not None, "only the fastest has none"
    assert found.judgement is not None, "only the fastest has none"
    low, high = found.ratio.interval or (None, None)
    return Rival(
        names[key_of(found.case)],
        found.ratio.value,
        low,
        high,
        found.judgement.verdict,
        found.judgement.reason,
    )


def _alone(cases: Sequence[CaseResult]) -> Iterator[Alone]:
    names = _names(cases)
    ranked = {key_of(case) for group in alternatives(cases) for case in group}
    rest = [case for case in cases if key_of(case) not in ranked and is_measured(case)]
    for work, case in zip(work_names(rest), rest, strict=True):
        yield Alone(work, names[key_of(case)], _time(case))


def _names(cases: Sequence[CaseResult]) -> dict[str, str]:
    """Return the names of the cases' configurations, by key."""
    return dict(zip(map(key_of, cases), configuration_names(cases), strict=True))


def _time(case: CaseResult) -> Time:
    assert case.whole is not None, "only measured cases are named"
    return time_of(case, case.whole)


def _row(case: CaseResult, settings: Mapping[str, str]) -> CaseRow:
    whole = case.whole or _whole_of(case.preliminary.values()) or _whole_of(case.discarded.values())
    is_valid = is_measured(case)
    return CaseRow(
        key_of(case),
        settings,
        "" if whole is None else whole.phase,
        None if whole is None else time_of(case, whole),
        is_valid,
        None if whole is None else whole.relative_half_width,
        case.throughput(whole) if whole is not None and is_valid else None,
        case.item,
        case.peak_memory,
        error_of(case),
        case.standing,
        case.reason,
        list(case.warnings),
        case.first.started_at,
        case.spec.command,
    )


def _whole_of(estimates: Iterable[Estimate]) -> Estimate | None:
    return next((each for each in estimates if each.role is Role.WHOLE), None)


def _series(case: CaseResult) -> Iterator[SeriesSamples]:
    """Yield every series with samples; one-off phases have one sample each, which is no distribution."""
    for number, record in case.rounds.items():
        warnings = [(each.code.value, each.message) for each in record.outcome.warnings]
        for each in record.series:
            if each.role is not Role.ONCE and each.samples:
                yield SeriesSamples(
                    key_of(case),
                    each.phase,
                    number,
                    each.samples,
                    each.calls_per_sample,
                    warnings,
                    number in case.counted,
                )


def _hosts(cases: Sequence[CaseResult]) -> Iterator[Host]:
    groups: dict[tuple[str, str | None], list[CaseResult]] = {}
    for case in cases:
        groups.setdefault((case.machine.host_id, case.machine.gpu_uuid), []).append(case)
    for group in groups.values():
        records = [record for case in group for record in case.rounds.values()]
        processes = [record.outcome.process for record in records]
        started = sorted(record.started_at for record in records)
        yield Host(
            group[0].machine,
            _versions(group),
            sorted({each.threads for each in processes if each.threads is not None}),
            sorted({each.allocator for each in processes if each.allocator is not None}),
            {case.run.id: case.run.command_line for case in group},
            started[0],
            started[-1],
            len(group),
            len(records),
        )


def _versions(cases: Sequence[CaseResult]) -> dict[str, Sequence[str]]:
    """Return the versions of each library that measured the cases, without those that are unknown."""
    found: dict[str, dict[str, None]] = {}
    for case in cases:
        versions = {name: getattr(case.machine, field) for name, field in VERSIONS.items()}
        if case.machine.git and case.machine.microbench:
            versions["microbench"] = f"{case.machine.microbench} ({case.machine.git})"
        library, _, version = (case.first.outcome.process.engine or "").partition(" ")
        if library not in ("", "torch"):
            versions[library] = version
        for name, each in versions.items():
            if each:
                found.setdefault(name, {})[each] = None
    return {name: list(versions) for name, versions in found.items()}
