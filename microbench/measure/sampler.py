"""The sampler: first call, warm-up, calibration, then samples until the rule says stop."""

from __future__ import annotations

import gc
import math
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from microbench.measure.experiment import Experiment
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import Timer
from microbench.measure.warmup import LONG, Warmup, warm_up
from microbench.records.progress import Progress, Watch
from microbench.records.record import StopReason
from microbench.stats.median import quantile

FROZEN_AT_START = 1000  # objects at most: CPython 3.12 starts with some hundreds frozen
RECALIBRATION = 5  # samples from which the number of calls is found again
REPORT_EVERY = 0.5  # seconds between reports: what a crash can lose, and how often a display is drawn


@dataclass(frozen=True)
class Sampled:
    """The samples of an experiment.

    Attributes:
        samples: by phase, in order, in seconds per call.
        calls_per_sample: how many calls one sample spans.
        stop_reason: which rule ended the sampling.
        inner: the samples of the experiment's inner parts, in the same way.
        beside: what the timer measured in the same samples, in the same way.
    """

    samples: Mapping[str, array[float]]
    calls_per_sample: int
    stop_reason: StopReason
    inner: Mapping[str, array[float]] = field(default_factory=dict)
    beside: Mapping[str, array[float]] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many calls all samples of a phase span."""
        return len(next(iter(self.samples.values()))) * self.calls_per_sample


def run_warmup(
    experiment: Experiment,
    timer: Timer,
    longest: float,
    first_call: float = 0.0,
    begun: Mapping[str, float] | None = None,
) -> Warmup:
    """Warm up for at most `longest` seconds; what the whole step takes decides when times have settled.

    A step of seconds needs nothing but the first call: then `begun`, which came after it, is a sample.

    Args:
        experiment: the work.
        timer: takes a sample.
        longest: seconds after which the warm-up ends.
        first_call: seconds that the first call took, if it was not one of many before.
        begun: the times of the next call, by phase, if it was taken before.
    """
    name = experiment.whole
    whole = [] if begun is None else [begun[name]]
    if whole and whole[0] >= LONG:
        return Warmup(array("d"), 0, True, whole[0], longest)
    step = timer.observe
    return warm_up(lambda: step(experiment)[name], timer.clock.now, longest, first_call, whole)


def calibrate(experiment: Experiment, typical: float, min_sample: float) -> int:
    """Return how many calls make a sample of at least `min_sample` seconds, a call taking `typical` seconds.

    Phases of a training step are never merged: the answer is then one.
    """
    if not experiment.mergeable or typical <= 0:
        return 1
    return max(1, math.ceil(min_sample / typical))


def calibrated(experiment: Experiment, timer: Timer, typical: float, min_sample: float) -> tuple[Timer, int]:
    """Return what takes the samples, and how many calls make one.

    A single call takes longer than one of many if the device's clock runs ahead: it waits for the host, and
    the host for it. So the number is found again with as many calls as the single one suggested.
    If the timer cannot take samples of so many, another one does.

    Args:
        experiment: the work.
        timer: the device's timer.
        typical: seconds of a single call.
        min_sample: the shortest sample in seconds; 0 for one call.
    """

    def number(timer: Timer, typical: float) -> int:
        return calibrate(experiment, typical, min_sample and max(min_sample, timer.least_sample))

    timer = timer.ready(experiment, number(timer, typical))
    first = calls = number(timer, typical)
    if calls > 1 and timer.clock.ahead:
        taken = [times[experiment.whole] for times in timer.take(experiment, calls, RECALIBRATION)]
        calls = number(timer, quantile(taken))
        timer.sm_clocks = array("d")
    if calls > first and (other := timer.ready(experiment, calls)) is not timer:
        return calibrated(experiment, other, typical, min_sample)
    return timer, calls


def sample(
    experiment: Experiment,
    timer: Timer,
    rule: StoppingRule,
    calls: int,
    watch: Watch,
    begun: Mapping[str, float] | None = None,
) -> Sampled:
    """Sample until `rule` says stop, reporting to `watch` between samples.

    Args:
        experiment: the work.
        timer: takes the samples.
        rule: the stopping rule.
        calls: calls per sample.
        watch: is told what has been sampled.
        begun: the first sample, by phase, if it was taken before.
    """
    samples = {phase: array("d") for phase in experiment.phases}
    inner = {name: array("d") for name in experiment.inner}
    beside = {name: array("d") for name in timer.beside}
    columns = {**samples, **inner, **beside}
    clock, rule = timer.clock, replace(rule, resolution=timer.tick / calls)
    reporter = _Reporter(experiment, timer, rule, calls, samples, watch)
    start = reported = now = clock.now()
    if begun is not None:
        start -= begun[experiment.whole]
    n, check = 0, rule.next_check(0)
    while True:
        many = timer.take(experiment, calls, _most(n, check, rule, now - start))
        for times in many if n or begun is None else [begun]:
            for phase, seconds in times.items():
                columns[phase].append(seconds)
            n += 1
        now = clock.now()
        reason = rule.limit(n, now - start)
        if reason is None and n >= check:
            check = rule.next_check(n)
            if rule.precise([samples[phase] for phase in experiment.main], n, now - start):
                reason = StopReason.REL_CI
        if reason is not None:
            return Sampled(samples, calls, reason, inner, beside)
        timer.tidy()
        if now - reported >= REPORT_EVERY:
            reporter.report(n, now - start)
            reported = clock.now()


def _most(n: int, check: int, rule: StoppingRule, elapsed: float) -> int:
    """Return how many samples may be taken before the rule, or the display, wants to look at them again."""
    typical = elapsed / n if n else math.inf
    return max(1, min(check - n, rule.max_samples - n, int(REPORT_EVERY / typical) if typical else check - n))


@dataclass
class _Reporter:
    """Tells `watch` what has been sampled since it was last told."""

    experiment: Experiment
    timer: Timer
    rule: StoppingRule
    calls: int
    samples: Mapping[str, array[float]]
    watch: Watch
    told: int = 0

    def report(self, n: int, elapsed: float) -> None:
        fresh = {phase: values[self.told :] for phase, values in self.samples.items()}
        self.told = n
        p = self.rule.quantile
        intervals = {phase: self.rule.interval(self.samples[phase]) for phase in self.experiment.main}
        widest = max(intervals, key=lambda phase: intervals[phase][1])
        median, half_width = intervals[widest]
        self.watch(
            Progress(
                "sample",
                samples=fresh,
                whole=self.experiment.whole,
                phase=widest,
                n=n,
                median=median,
                medians={phase: quantile(each, p) for phase, each in self.samples.items()},
                half_width=half_width,
                percentile=None if p == 0.5 else 100 * p,
                eta=self.rule.eta(half_width, n, elapsed),
                clock=self.timer.name,
                calls_per_sample=self.calls,
            )
        )


@contextmanager
def quiet_gc() -> Iterator[None]:
    """Collect and freeze what is there, and keep the garbage collector off; then restore what was before."""
    enabled, frozen = gc.isenabled(), gc.get_freeze_count() > FROZEN_AT_START
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if enabled:
            gc.enable()
