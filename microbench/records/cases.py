"""The cases of a run: their rounds, and the estimates from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any

from microbench.config import Config
from microbench.records import frame
from microbench.records.record import (
    CaseSpec,
    Check,
    Machine,
    Role,
    RoundRecord,
    RunInfo,
    Series,
    Status,
    WarningCode,
)
from microbench.schema import axes_of

if TYPE_CHECKING:
    from microbench.stats.percentiles import Percentile

ANSWER = ("answer", "error_abs", "error_rel", "top1_agreement", "gradient_error")
"""The figures of a `Check` that a summary has."""

RAN_ON = (
    "cpu",
    "physical_cores",
    "gpu",
    "os",
    "threads",
    "allocator",
    "engine",
    "arithmetic",
    "torch",
    "torchvision",
    "python",
    "microbench",
    "git",
)
"""The `env_*` columns of a summary, which say what a case ran on."""

ENOUGH = 3  # undisturbed rounds, for the disturbed ones to be left out
OF_SAMPLES = (
    WarningCode.NOT_SETTLED,
    WarningCode.DRIFT,
    WarningCode.BIMODAL,
    WarningCode.FOREIGN_LOAD,
    WarningCode.STOLEN,
    WarningCode.THROTTLED,
)
"""Warnings that do not matter for a round that is left out."""

WIDE = 0.1  # half-width over rounds, relative to the median, that is worth a warning


@dataclass(frozen=True)
class Estimate:
    """The estimate of one phase of a case.

    Attributes:
        phase: the phase's name.
        role: its role in its mode.
        of_layers: whether a model's time in it is the sum of its layers' times.
        medians: each round's median in seconds per call, by the round's number.
        median: the median of these, which is the case's time.
        low: lower end of its interval; None with too few samples for one.
        high: upper end.
        confidence: the interval's level.
        spread: the standard deviation between rounds, relative to the median; None for one round.
        samples: number of samples of all rounds.
    """

    phase: str
    role: Role
    of_layers: bool
    medians: Mapping[int, float]
    median: float
    low: float | None
    high: float | None
    confidence: float
    spread: float | None
    samples: int

    @property
    def rounds(self) -> int:
        """The number of its processes; the interval of one is within that process."""
        return len(self.medians)

    @property
    def half_width(self) -> float | None:
        """Half-width of the interval in seconds."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float | None:
        """Half-width of the interval relative to the median; None without an interval or if that is 0."""
        return self.half_width / self.median if self.half_width is not None and self.median else None

    @property
    def is_comparable(self) -> bool:
        """Whether the phase took time in every round: the clock may be too coarse for a short one."""
        return min(self.medians.values()) > 0


@dataclass(frozen=True)
class CaseResult:
    """A case of a run.

    Attributes:
        rounds: by the round's number, the record of its best attempt: if the run was completed later, the one
            that ended well.
    """

    rounds: Mapping[int, RoundRecord]

    @property
    def first(self) -> RoundRecord:
        """The first round that ended well, otherwise the first: has what all of the case's rounds share."""
        records = self.rounds.values()
        return next((each for each in records if each.ok), next(iter(records)))

    @property
    def spec(self) -> CaseSpec:
        """Its specification."""
        return self.first.case

    @property
    def config(self) -> Config:
        """Its configuration."""
        return self.first.case.config

    @property
    def run(self) -> RunInfo:
        """Its run."""
        return self.first.run

    @property
    def machine(self) -> Machine:
        """The machine that measured it."""
        return self.first.machine

    @cached_property
    def axes(self) -> dict[str, Any]:
        """Its configuration's axes, by name."""
        return axes_of(self.config)

    @property
    def name(self) -> str:
        """The model's name, with the part's if it is one."""
        model = self.config.model
        return " ".join(filter(None, (model.name, model.part)))

    @property
    def ok(self) -> bool:
        """Whether every attempted round ended well."""
        return all(each.ok for each in self.rounds.values())

    @property
    def failures(self) -> dict[int, RoundRecord]:
        """The rounds that did not end well, by number."""
        return {number: each for number, each in self.rounds.items() if not each.ok}

    @property
    def status(self) -> Status:
        """How it ended: ok if any round did."""
        return self.first.outcome.status

    @property
    def measured_rounds(self) -> list[int]:
        """The rounds that ended well."""
        return [number for number, each in self.rounds.items() if each.ok]

    @cached_property
    def counted(self) -> Mapping[int, RoundRecord]:
        """The rounds that its estimates rest on, by number: those that ended well.

        Those that something else disturbed are left out if there are enough others. The sensors decide that,
        never the times.
        """
        measured = {number: each for number, each in self.rounds.items() if each.ok}
        quiet = {number: each for number, each in measured.items() if not each.is_disturbed}
        return quiet if len(quiet) >= ENOUGH else measured

    @property
    def left_out(self) -> int:
        """The number of disturbed rounds that its estimates do not rest on."""
        return len(self.measured_rounds) - len(self.counted)

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """The estimates from the rounds that count, by phase."""
        return _estimates(self.counted)

    @cached_property
    def discarded(self) -> dict[str, Estimate]:
        """The estimates from rounds whose answer is not eager fp32's: to be shown as such, not relied on."""
        return self._of(Status.MISMATCH)

    @cached_property
    def preliminary(self) -> dict[str, Estimate]:
        """The estimates from an interrupted round, if no other round ended well."""
        return {} if self.estimates else self._of(Status.INTERRUPTED)

    def _of(self, status: Status) -> dict[str, Estimate]:
        return _estimates({n: each for n, each in self.rounds.items() if each.outcome.status is status})

    @property
    def check(self) -> Check:
        """The check of its answer against eager fp32's, from the round that did it."""
        checks = [each.outcome.check for each in self.rounds.values()]
        return next((each for each in checks if each.answer is not None), checks[0])

    def rows(self) -> Iterator[frame.Row]:
        """Yield one flat row per phase: the case, and its rounds' estimate."""
        record = self.first
        environment = frame.environment(record)
        layer = frame.layer(record.case.layer) if record.case.layer is not None else {}
        checked = {name: getattr(self.check, name) for name in ANSWER}
        for each in self.estimates.values():
            yield {
                "run_id": self.run.id,
                "case_id": self.spec.id,
                "status": self.status.value,
                **frame.axes(record.case.config),
                **layer,
                "phase": each.phase,
                "median": each.median,
                "ci_low": each.low,
                "ci_high": each.high,
                "confidence": each.confidence,
                "spread": each.spread,
                "rounds": each.rounds,
                "samples": each.samples,
                **self._tail(each),
                "throughput": self.throughput(each),
                "item": self.item,
                "peak_memory": self.peak_memory,
                **checked,
                "warnings": [code.value for code in self.warnings],
                "host_id": self.machine.host_id,
                **{f"env_{name}": environment[f"env_{name}"] for name in RAN_ON},
            }

    def _tail(self, estimate: Estimate) -> frame.Row:
        """Return the percentiles over the calls of all rounds, with their ends, and what a sample is."""
        found: frame.Row = {
            "calls_per_sample": max(each.calls_per_sample for each in self.series(estimate.phase).values())
        }
        for each in self.percentiles(estimate.phase):
            name = each.name.replace(".", "_")
            ends = {name: each.value, f"{name}_ci_low": each.low, f"{name}_ci_high": each.high}
            found |= dict.fromkeys(ends) if estimate.role is Role.ONCE else ends
        return found

    def series(self, phase: str) -> dict[int, Series]:
        """Return the samples of a phase that its estimate rests on, by the number of their round."""
        return {
            number: next(each for each in self.rounds[number].series if each.phase == phase)
            for number in self.estimates[phase].medians
        }

    def times(self, phase: str, percent: float | None = None) -> Mapping[int, float]:
        """Return each round's median of a phase, or another percentile, by the number of the round."""
        if percent is None:
            return self.estimates[phase].medians
        from microbench.stats.median import quantile  # brings numpy

        return {number: quantile(each.samples, percent / 100) for number, each in self.series(phase).items()}

    def percentiles(self, phase: str) -> list[Percentile]:
        """Return the usual percentiles of a phase, and the one that its rounds stopped at, in order."""
        from microbench.stats.percentiles import PERCENTILES, over_calls  # brings numpy

        asked = self.config.measure.percentile
        percents = sorted({*PERCENTILES, *(() if asked is None else (asked,))})
        return over_calls([each.samples for each in self.series(phase).values()], percents)

    def throughput(self, estimate: Estimate) -> float | None:
        """Return the items per second of a whole step; None for another phase."""
        if estimate.role is not Role.WHOLE or not estimate.median:
            return None
        return self.first.items / estimate.median

    @property
    def item(self) -> str:
        """The name, in the plural, of what the throughput counts."""
        was = "images" if self.config.model.source == "torchvision" else "items"  # in older records
        return self.first.outcome.item or was

    @property
    def whole(self) -> Estimate | None:
        """The estimate of the phase that spans its step; None if it was not measured."""
        return next((each for each in self.estimates.values() if each.role is Role.WHOLE), None)

    @property
    def peak_memories(self) -> Mapping[int, int]:
        """Each round's peak memory in bytes by its number: of those that count, or of all if none does."""
        found = {n: each.outcome.peak_memory for n, each in (self.counted or self.rounds).items()}
        return {number: peak for number, peak in found.items() if peak is not None}

    @property
    def peak_memory(self) -> float | None:
        """The median over rounds of the peak memory in bytes; None if unknown."""
        return median(self.peak_memories.values()) if self.peak_memories else None

    @property
    def gpu_memory(self) -> float | None:
        """The median over rounds of the bytes on the GPU without CUDA's context; None if unknown."""
        rounds = (self.counted or self.rounds).values()
        found = [each.outcome.gpu.memory for each in rounds if each.outcome.gpu is not None]
        known = [each for each in found if each is not None]
        return median(known) if known else None

    @property
    def is_implausible(self) -> bool:
        """Whether it is faster than the machine can be: it may not have done its work, so it wins nothing."""
        return WarningCode.IMPLAUSIBLE in self.warnings

    @property
    def is_unchecked(self) -> bool:
        """Whether verification could compare nothing of its answer: it may compute nothing."""
        return WarningCode.UNVERIFIED in self.warnings and self.check.error_rel is None

    @property
    def is_credible(self) -> bool:
        """Whether there is no sign that it does not do its work."""
        return not self.is_implausible and not self.is_unchecked

    @property
    def can_win(self) -> bool:
        """Whether no attempted round failed, and it is credible."""
        ended = {each.outcome.status for each in self.rounds.values()}
        return ended <= {Status.OK, Status.INTERRUPTED} and self.is_credible

    @property
    def standing(self) -> str:
        """Its status, or that its time is implausible; unless it is `ok`, its time does not count."""
        is_doubted = self.status is Status.OK and self.is_implausible
        return WarningCode.IMPLAUSIBLE.value if is_doubted else self.status.value

    @property
    def reason(self) -> str | None:
        """Why its standing is not `ok`."""
        is_doubted = self.standing == WarningCode.IMPLAUSIBLE
        return self.warnings[WarningCode.IMPLAUSIBLE][0] if is_doubted else self.first.outcome.error

    @cached_property
    def warnings(self) -> dict[WarningCode, list[str]]:
        """The warnings' texts by code: of each round that has it, or of all if it concerns all."""
        found: dict[WarningCode, list[str]] = {}
        for number, record in self.rounds.items():
            for warning in record.outcome.warnings:
                if number in self.counted or not record.ok or warning.code not in OF_SAMPLES:
                    found.setdefault(warning.code, []).append(warning.message)
        if differ := _rounds_differ(self.whole):
            found[WarningCode.WIDE_INTERVAL] = [differ] * len(self.rounds)
        return found


def _estimates(rounds: Mapping[int, RoundRecord]) -> dict[str, Estimate]:
    found: dict[str, dict[int, Series]] = {}
    for number, record in rounds.items():
        for series in record.series:
            if series.summary is not None:
                found.setdefault(series.phase, {})[number] = series
    return {phase: estimate_of(series) for phase, series in found.items()}


def _rounds_differ(whole: Estimate | None) -> str | None:
    """Return the warning's text if a whole step's interval over several rounds is wide."""
    half_width = None if whole is None or whole.rounds == 1 else whole.relative_half_width
    if whole is None or half_width is None or half_width <= WIDE:
        return None
    return (
        f"fresh processes differ: {whole.phase} is known to ±{half_width * 100:.0f} % from {whole.rounds} "
        "rounds; raise measure.rounds, see `microbench doctor`"
    )


def estimate_of(rounds: Mapping[int, Series]) -> Estimate:
    """Return the estimate from a phase's series, given by the number of their round."""
    from microbench.stats.median import resolved  # brings numpy
    from microbench.stats.rounds import over_rounds

    first, *others = rounds.values()
    summaries = {number: each.summary for number, each in rounds.items() if each.summary is not None}
    medians = {number: each.median for number, each in summaries.items()}
    samples = sum(len(each.samples) for each in rounds.values())
    what = first.phase, first.role, first.of_layers
    only = first.summary
    if not others and only is not None:
        ends = only.ci_low, only.ci_high
        return Estimate(*what, medians, only.median, *ends, only.confidence, None, samples)
    over = over_rounds(list(medians.values()))
    ends = resolved(over.low, over.high, over.median, max(each.resolution for each in rounds.values()))
    return Estimate(*what, medians, over.median, *ends, over.confidence, over.spread, samples)


def cases_of(records: Iterable[RoundRecord]) -> list[CaseResult]:
    """Group records by case, in the order of their runs and their places in these."""
    found: dict[tuple[str, int], dict[int, list[RoundRecord]]] = {}
    for record in records:
        rounds = found.setdefault((record.run.id, record.case.order), {})
        rounds.setdefault(record.round, []).append(record)
    runs = list(dict.fromkeys(run_id for run_id, _ in found))
    return [
        CaseResult({number: _best(attempts) for number, attempts in sorted(rounds.items())})
        for (run_id, _), rounds in sorted(
            found.items(), key=lambda item: (runs.index(item[0][0]), item[0][1])
        )
    ]


def _best(attempts: Sequence[RoundRecord]) -> RoundRecord:
    """Return the first attempt that ended well; otherwise the last."""
    return next((each for each in attempts if each.ok), attempts[-1])
