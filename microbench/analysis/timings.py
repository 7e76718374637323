"""The times of cases as other tools' formats have them: one per case and phase, with their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from microbench.analysis.phases import chosen
from microbench.errors import UserError
from microbench.records import frame
from microbench.records.cases import CaseResult, Estimate
from microbench.records.naming import labels
from microbench.records.record import Readings, Role, RoundRecord, Series


@dataclass(frozen=True)
class Moments:
    """What describes some times, in seconds.

    Attributes:
        mean: their mean.
        std: their sample standard deviation; None for one time.
        median: their median.
        least: the smallest.
        most: the largest.
    """

    mean: float
    std: float | None
    median: float
    least: float
    most: float

    @property
    def cv(self) -> float | None:
        """The coefficient of variation: the standard deviation by the mean; None for one time, or zeros."""
        return self.std / self.mean if self.std is not None and self.mean else None


@dataclass(frozen=True)
class Spread:
    """Quartiles and outliers of some times, in seconds, as pytest-benchmark defines them.

    Attributes:
        q1: the lower quartile: the median of the lower half, or for an odd number, between two times of it.
        q3: the upper quartile, likewise.
        least_within: the smallest time that is no more than 1.5 interquartile ranges below `q1`.
        most_within: the largest that is no more than 1.5 of them above `q3`.
        outliers: the number of times outside these.
        far: the number of times that are more than one standard deviation from the mean.
    """

    q1: float
    q3: float
    least_within: float
    most_within: float
    outliers: int
    far: int


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds of a call: CPU seconds per second while the process sampled, times the round's median."""

    user: float
    system: float

    @classmethod
    def of(cls, readings: Readings, seconds: float) -> CpuTime:
        """Return the CPU time of a call that takes so long."""
        system = readings.system_utilization * seconds
        return cls(readings.cpu_utilization * seconds - system, system)

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system


@dataclass(frozen=True)
class Timing:
    """The time of one phase of one case.

    Attributes:
        case: the case.
        estimate: the estimate over its rounds.
    """

    case: CaseResult
    estimate: Estimate

    @property
    def phase(self) -> str:
        """The phase."""
        return self.estimate.phase

    @cached_property
    def series(self) -> Mapping[int, Series]:
        """The samples of each round that counts, by the round's number."""
        return self.case.series(self.phase)

    @property
    def rounds(self) -> Iterator[tuple[RoundRecord, Series]]:
        """The rounds that count, each with its samples."""
        return ((self.case.rounds[number], each) for number, each in self.series.items())

    @cached_property
    def samples(self) -> list[float]:
        """The samples of all rounds in order, in seconds per call."""
        return [sample for each in self.series.values() for sample in each.samples]

    @property
    def calls_per_sample(self) -> int:
        """The number of calls of which a sample is the mean; the largest of the rounds."""
        return max(each.calls_per_sample for each in self.series.values())

    @cached_property
    def of_samples(self) -> Moments:
        """What describes the samples of all rounds."""
        return moments(self.samples)

    @cached_property
    def of_rounds(self) -> Moments:
        """What describes the rounds' medians."""
        return moments(list(self.estimate.medians.values()))

    @property
    def spread(self) -> Spread:
        """Quartiles and outliers of the samples of all rounds."""
        return spread(self.samples)

    @cached_property
    def cpu_times(self) -> Mapping[int, CpuTime]:
        """The CPU time of a call in each round, by its number; empty for a part of a step, or if unknown."""
        readings = {number: self.case.rounds[number].outcome.readings for number in self.series}
        found = {
            number: CpuTime.of(each, self.estimate.medians[number])
            for number, each in readings.items()
            if each is not None and self.estimate.role is Role.WHOLE
        }
        return found if len(found) == len(readings) else {}

    @property
    def of_cpu_times(self) -> Moments | None:
        """What describes the CPU times of the rounds; None if they are unknown."""
        return moments([each.total for each in self.cpu_times.values()]) if self.cpu_times else None

    @property
    def throughputs(self) -> Mapping[int, float]:
        """The items per second of each round with a time above 0, by its number; none for a part."""
        if self.estimate.role is not Role.WHOLE:
            return {}
        items = self.case.first.items
        return {number: items / median for number, median in self.estimate.medians.items() if median}

    @property
    def cpu_time(self) -> CpuTime | None:
        """The CPU time of a call, the mean over rounds; None if it is unknown."""
        times = self.cpu_times.values()
        if not times:
            return None
        return CpuTime(fmean(each.user for each in times), fmean(each.system for each in times))


@dataclass(frozen=True)
class LeftOut:
    """A case or a phase that has no time to export, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Timings:
    """The times of cases.

    Attributes:
        timings: at least one.
        left_out: what has none.
    """

    timings: Sequence[Timing]
    left_out: Sequence[LeftOut]

    @property
    def cases(self) -> list[CaseResult]:
        """The cases that have a time, each once."""
        return list({id(each.case): each.case for each in self.timings}.values())

    def rows(self) -> Iterator[frame.Row]:
        """Yield one flat row per case and phase, as in `Result.summary`."""
        wanted = {(id(each.case), each.phase) for each in self.timings}
        for case in self.cases:
            yield from (row for row in case.rows() if (id(case), row["phase"]) in wanted)

    def sample_rows(self) -> Iterator[frame.Row]:
        """Yield one flat row per sample: its case, phase, round and place in the round, and its seconds."""
        for timing in self.timings:
            axes = frame.axes(timing.case.config)
            for record, series in timing.rounds:
                shared = {
                    "run_id": record.run.id,
                    "case_id": record.case.id,
                    **axes,
                    "phase": timing.phase,
                    "round": record.round,
                    "calls_per_sample": series.calls_per_sample,
                }
                for place, seconds in enumerate(series.samples):
                    yield {**shared, "sample": place, "seconds": seconds}


def timings(cases: Sequence[CaseResult], wanted: str | Sequence[str] | None = None) -> Timings:
    """Return the times of cases, and what has none.

    Args:
        cases: the cases.
        wanted: the phases, as a list or separated by commas, or `all`; by default those that span a step.

    Raises:
        UserError: no case has a time, or none has measured a given phase.
    """
    names = labels(cases)
    phases = chosen(cases, wanted)
    found: list[Timing] = []
    left_out: list[LeftOut] = []
    for name, case in zip(names, cases, strict=True):
        if why := _why_not(case):
            left_out.append(LeftOut(name, why))
            continue
        for phase in phases:
            if phase in case.estimates:
                timing = Timing(case, case.estimates[phase])
                if min(timing.samples) > 0:
                    found.append(timing)
                else:
                    left_out.append(LeftOut(f"{name}, {phase}", "too short for its clock"))
    if not found:
        why = f": {left_out[0].name}: {left_out[0].reason}" if left_out else ""
        raise UserError(f"Nothing to export{why or ': no case has a time'}.")
    return Timings(found, left_out)


def _why_not(case: CaseResult) -> str | None:
    """Return why a case has no times that count; None if it has."""
    if case.estimates and not case.is_implausible:
        return None
    return f"{case.standing}: {case.reason or 'nothing was summarized'}"


def moments(times: Sequence[float]) -> Moments:
    """Return what describes at least one time, in the unit of the times."""
    import numpy as np

    values = np.asarray(times, np.float64)
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return Moments(
        float(values.mean()), std, float(np.median(values)), float(values.min()), float(values.max())
    )


def spread(times: Sequence[float]) -> Spread:
    """Return the quartiles and outliers of at least one time, in the unit of the times."""
    import numpy as np

    values = np.sort(np.asarray(times, np.float64))
    q1, q3 = _quartile(values.tolist()), -_quartile((-values[::-1]).tolist())
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    within = values[(values >= low) & (values <= high)]
    std = values.std(ddof=1) if len(values) > 1 else 0.0
    far = int((np.abs(values - values.mean()) > std).sum())
    return Spread(q1, q3, float(within[0]), float(within[-1]), len(values) - len(within), far)


def _quartile(ordered: Sequence[float]) -> float:
    """Return the lower quartile: of an even number, the median of the lower half; otherwise by quarters.

    The second and the third method in Wikipedia's article on quartiles, which pytest-benchmark follows.
    """
    number = len(ordered)
    if number == 1:
        return ordered[0]
    if number % 2 == 0:
        half = number // 2
        return (ordered[(half - 1) // 2] + ordered[half // 2]) / 2
    place = number // 4
    if number % 4 == 1:
        return 0.25 * ordered[place - 1] + 0.75 * ordered[place]
    return 0.75 * ordered[place] + 0.25 * ordered[place + 1]
