"""The schema of what a run finds: series with their summaries, a case's outcome, and the record of a line.

Everything here is plain data that both the parent, which has no torch, and the workers can import.
Times are in seconds, memory in bytes; a value that is not known is None, never NaN.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from microbench.results.layers import NO_LAYER, Layer

SCHEMA_VERSION = 2

SEARCH = "search"
"""The schedule of a run that looked for the fastest way."""

Record = dict[str, Any]
"""One line of a run's file, as `records_of` makes it."""


class Status(StrEnum):
    """How a case ended."""

    OK = "ok"
    MISMATCH = "mismatch"
    OOM = "oom"
    ERROR = "error"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"
    GIVEN_UP = "given_up"


class Verdict(StrEnum):
    """Whether a case computes what eager fp32 computes."""

    SAME = "same"
    MISMATCH = "mismatch"
    UNCLEAR = "unclear"
    REFERENCE = "reference"
    OFF = "off"


class StopReason(StrEnum):
    """Which rule ended the sampling."""

    REL_CI = "rel_ci"
    MAX_TIME = "max_time"
    MAX_SAMPLES = "max_samples"


class WarningCode(StrEnum):
    """What can be doubtful about a number that was measured; each says what to do about it."""

    NON_FINITE = "non_finite"
    NOT_REPEATABLE = "not_repeatable"
    NOT_SETTLED = "not_settled"
    WIDE_INTERVAL = "wide_interval"
    NO_INTERVAL = "no_interval"
    DRIFT = "drift"
    BIMODAL = "bimodal"
    FOREIGN_LOAD = "foreign_load"
    OVERSUBSCRIBED = "oversubscribed"
    OTHER_THREADS = "other_threads"
    THROTTLED = "throttled"
    STOLEN = "stolen"
    PAGE_FAULTS = "page_faults"
    FREQUENCY_SCALING = "frequency_scaling"
    THERMAL = "thermal"
    ON_BATTERY = "on_battery"
    UNVERIFIED = "unverified"
    IMPLAUSIBLE = "implausible"
    NO_TRACE = "no_trace"


@dataclass(frozen=True)
class Caution:
    """One warning of a case: its stable code and a sentence with the remedy."""

    code: WarningCode
    message: str


@dataclass(frozen=True)
class Summary:
    """What the samples of one series say.

    Attributes:
        n: number of samples.
        n_effective: how many independent samples would say as much of the median.
        median: seconds per call.
        ci_low: lower end of the median's interval within this process; None with too few samples for one.
        ci_high: its upper end.
        confidence: the level of that interval.
        mean: seconds per call.
        std: sample standard deviation; None for one sample.
        min: seconds per call.
        max: seconds per call.
        q25: lower quartile.
        q75: upper quartile.
        drift: how much the last sample is above the first by Theil and Sen's line, over the median; None for
            few samples.
        drift_tau: Kendall's rank correlation of samples and time.
        drift_p: how likely so large a correlation is without a trend.
    """

    n: int
    n_effective: float
    median: float
    ci_low: float | None
    ci_high: float | None
    confidence: float
    mean: float
    std: float | None
    min: float
    max: float
    q25: float
    q75: float
    drift: float | None
    drift_tau: float | None
    drift_p: float | None

    @property
    def half_width(self) -> float | None:
        """Half the interval's width over the median, as a share; None without an interval."""
        if self.ci_low is None or self.ci_high is None or self.median <= 0:
            return None
        return (self.ci_high - self.ci_low) / 2 / self.median


@dataclass(frozen=True)
class Readings:
    """What the sensors read of the process and of its CPUs while a case was sampled: record fields.

    A value is None where the system does not tell it.

    Attributes:
        sampling_seconds: for how long, in seconds.
        page_faults_per_call: page faults that took no disk.
        page_fault_cost: CPU seconds that one takes; measured only where there are many.
        page_fault_share: share of the process's CPU time that they take together.
        involuntary_switches: how often the kernel took a CPU away.
        cpu_utilization: CPU seconds a second (2.0: two busy CPUs).
        system_utilization: those of them that the kernel spent for the process.
        run_delay: seconds a second that the process's threads, taken together, were ready but had no CPU.
        foreign_cpus: CPUs that others kept busy, of those that the process may use.
        steal: share of the time in which these CPUs had work that the hypervisor ran something else.
        throttled: seconds that the control group's quota kept its processes from running.
        thermal_throttles: how often heat slowed the CPUs.
        cpu_frequency: clock rate in Hz, at the end, of a CPU that the process ran on.
    """

    sampling_seconds: float
    page_faults_per_call: float
    page_fault_cost: float | None
    page_fault_share: float | None
    involuntary_switches: int
    cpu_utilization: float
    system_utilization: float
    run_delay: float | None
    foreign_cpus: float | None
    steal: float | None
    throttled: float | None
    thermal_throttles: int | None
    cpu_frequency: float | None


IN_WORDS = ("reason", "implausible")
"""Attributes of a `Check` that are told as the record's error or warnings."""


@dataclass(frozen=True)
class Check:
    """What a case computed beside what eager fp32 computes of the same weights and inputs: record fields.

    Attributes:
        answer: a Verdict: within tolerance, or not, or eager fp32's own answer is too sensitive to tell; the
            case is plain eager fp32 itself; or the check was off. None where it was not done: in rounds after
            the first, and where it failed.
        error_abs: the largest absolute error of an output (in training: of the loss, or a layer's outputs).
        error_rel: the largest error relative to the largest value of the same output.
        top1_agreement: the share of the batch for which a classifier's first choice is the same.
        gradient_error: the norm of the gradients' differences over the norm of the gradients.
        tolerance: what `error_rel` may be.
        gradient_tolerance: what `gradient_error` may be.
        reason: what is off, in words; None where nothing is.
        implausible: why the case cannot have taken so little time, in words; None where it can have.
    """

    answer: Verdict | None = None
    error_abs: float | None = None
    error_rel: float | None = None
    top1_agreement: float | None = None
    gradient_error: float | None = None
    tolerance: float | None = None
    gradient_tolerance: float | None = None
    reason: str | None = None
    implausible: str | None = None

    def fields(self) -> dict[str, str | float | None]:
        """The record's fields; an error without bounds is None."""
        return {key: _plain(value) for key, value in vars(self).items() if key not in IN_WORDS}


@dataclass(frozen=True)
class Series:
    """The ordered samples of one phase of one case, each in seconds per call, and the phase's warm-up.

    A phase that happens once (prepare, first_call) is not `sampled`: the rule that stopped the sampling and
    the process's counters during it are not its own. What is of a single layer says of which; it may be of
    another metric than time, in that metric's unit.
    """

    phase: str
    clock: str
    samples: array[float]
    warmup: array[float] = field(default_factory=lambda: array("d"))
    calls_per_sample: int = 1
    summary: Summary | None = None
    sampled: bool = True
    metric: str = "time"
    unit: str = "s"
    layer: Layer | None = None


@dataclass(frozen=True)
class Outcome:
    """How one case in one round ended, and everything it measured until then.

    Attributes:
        status: ok, or what went wrong.
        error: one line that says what went wrong and what to do; None where nothing did.
        traceback: the worker's own traceback, for those who want to look.
        series: what was measured; also of a failed case, as far as it came.
        stop_reason: which rule ended the sampling.
        cautions: warnings on what was measured.
        cost: `params`, the number of parameters.
        state: peak memory in bytes, joules a call, and the fields of `Readings`.
        environment: `env_*` fields, without that prefix, as they turned out in the worker.
        check: whether the answer is eager fp32's.
        trace: the file that a trace was written to.
    """

    status: Status = Status.OK
    error: str | None = None
    traceback: str | None = None
    series: tuple[Series, ...] = ()
    stop_reason: StopReason | None = None
    cautions: tuple[Caution, ...] = ()
    cost: Mapping[str, float | None] = field(default_factory=dict)
    state: Mapping[str, float | None] = field(default_factory=dict)
    environment: Mapping[str, str | int | float | None] = field(default_factory=dict)
    check: Check = field(default_factory=Check)
    trace: str | None = None


def with_check(outcome: Outcome, check: Check) -> Outcome:
    """An outcome whose answer was checked: one that is not the same is no good, whatever it took."""
    if check.answer is Verdict.MISMATCH:
        return replace(outcome, status=Status.MISMATCH, error=check.reason, check=check)
    told = {WarningCode.UNVERIFIED: check.reason, WarningCode.IMPLAUSIBLE: check.implausible}
    doubts = [Caution(code, text) for code, text in told.items() if text is not None]
    return replace(outcome, check=check, cautions=(*outcome.cautions, *doubts))


def unverified(outcome: Outcome, reason: str) -> Outcome:
    """An outcome whose answer could not be checked, and why."""
    caution = Caution(WarningCode.UNVERIFIED, f"{reason}; verify=false leaves the check out")
    return replace(outcome, cautions=(*outcome.cautions, caution))


@dataclass(frozen=True)
class Place:
    """Where cases will run.

    Attributes:
        device: the device's name, `auto` resolved.
        environment: the records' `env_*` fields, without that prefix.
        emulated: torch's names of the number formats that it has no instructions for.
    """

    device: str
    environment: dict[str, str | int | float | None]
    emulated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heading:
    """Which round of which case begins.

    Attributes:
        axes: the case's `cfg_*` fields, without that prefix.
        settings: the options that tell it from the run's other cases.
        turn: its place among all rounds of all cases, from 0.
        turns: how many these are; None where that is not known yet.
        round: the round's number, from 0.
        rounds: how many rounds the case has.
    """

    axes: Mapping[str, Any]
    settings: Sequence[str]
    turn: int
    turns: int | None
    round: int = 0
    rounds: int = 1


@dataclass(frozen=True)
class Progress:
    """How far the sampling of a case has come: for the display, and so that a crash loses nothing.

    Attributes:
        stage: what the worker is doing: build, prepare, warmup, sample or verify.
        samples: by phase, the samples taken since the last report, in seconds per call.
        phase: the phase that the figures below are of.
        n: samples so far.
        median: their running median in seconds.
        half_width: half the width of its interval, as a share of the median.
        eta: seconds the sampling may still take.
        clock: what the samples were read on.
        calls_per_sample: how many calls one sample spans.
        outcome: all that was measured, before the answer is checked: it stands if that ends the process.
    """

    stage: str
    samples: Mapping[str, array[float]] = field(default_factory=dict)
    phase: str | None = None
    n: int = 0
    median: float | None = None
    half_width: float | None = None
    eta: float | None = None
    clock: str = ""
    calls_per_sample: int = 1
    outcome: Outcome | None = None


Watch = Callable[[Progress], None]
"""Is told how far a case has come. It is called between samples, never within one."""


def _plain(value: Any) -> Any:
    """`value` in JSON's types: arrays as lists, and null for what is not a finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, array):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def to_json(record: Mapping[str, Any]) -> str:
    """One line of JSON, without the line's end; what is not finite becomes null."""
    return json.dumps(_plain(record), allow_nan=False, separators=(",", ":"))


_NO_SUMMARY: dict[str, None] = dict.fromkeys(item.name for item in fields(Summary))
_NO_STATE: dict[str, None] = dict.fromkeys(
    ("peak_memory", "joules", *(item.name for item in fields(Readings)))
)


def _series_fields(series: Series | None) -> dict[str, Any]:
    if series is None:
        series = Series(phase="", clock="", samples=array("d"))
    unsummarized = {**_NO_SUMMARY, "n": len(series.samples)}
    summary = unsummarized if series.summary is None else vars(series.summary)
    return {
        "phase": series.phase or None,
        "metric": series.metric,
        "unit": series.unit,
        "clock": series.clock or None,
        **summary,
        "calls_per_sample": series.calls_per_sample,
        "samples": series.samples.tolist(),
        "warmup": series.warmup.tolist(),
        **(series.layer.fields() if series.layer is not None else {}),
    }


def records_of(outcome: Outcome, identity: Mapping[str, Any]) -> list[Record]:
    """The records of one case in one round: one a series, or one without a series where it has none.

    Args:
        outcome: what the worker found.
        identity: the fields all of the case's records share: who, when, the configuration, the environment.
    """
    shared = {
        "schema_version": SCHEMA_VERSION,
        "status": outcome.status.value,
        "error": outcome.error,
        "traceback": outcome.traceback,
        "n_series": len(outcome.series),
        "warnings": [{"code": item.code.value, "message": item.message} for item in outcome.cautions],
        "params": None,
        **NO_LAYER,
        "trace": outcome.trace,
        **outcome.cost,
        **outcome.check.fields(),
    }
    sampling = {
        "stop_reason": outcome.stop_reason and outcome.stop_reason.value,
        **_NO_STATE,
        **outcome.state,
    }
    not_sampling = dict.fromkeys(sampling)
    return [
        {
            **shared,
            **(sampling if series is None or series.sampled else not_sampling),
            **identity,
            **_series_fields(series),
        }
        for series in outcome.series or (None,)
    ]
