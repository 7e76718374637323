"""The sampler: first call, warm-up, calibration, then samples until the rule says stop."""

from __future__ import annotations

import gc
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from microbench.measure.experiment import Clock, Experiment, Mark
from microbench.measure.stopping import StoppingRule
from microbench.measure.warmup import LONG, Warmup, warm_up
from microbench.records.progress import Progress, Watch
from microbench.records.record import StopReason
from microbench.stats.median import quantile, relative_half_width

FROZEN_AT_START = 1000  # objects at most: CPython 3.12 starts with some hundreds frozen
REPORT_EVERY = 0.5  # seconds between reports: what a crash can lose, and how often a display is drawn


@dataclass(frozen=True)
class Sampled:
    """The samples of an experiment.

    Attributes:
        samples: by phase, in order, in seconds per call.
        calls_per_sample: how many calls one sample spans.
        stop_reason: which rule ended the sampling.
        inner: the samples of the experiment's inner parts, in the same way.
    """

    samples: Mapping[str, array[float]]
    calls_per_sample: int
    stop_reason: StopReason
    inner: Mapping[str, array[float]] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many calls all samples of a phase span."""
        return len(next(iter(self.samples.values()))) * self.calls_per_sample


def observe(experiment: Experiment, clock: Clock, calls: int = 1) -> dict[str, float]:
    """Return one sample of each phase, in seconds per call."""
    if experiment.before is not None:
        experiment.before()
    return _times(experiment, clock, calls, experiment.step(clock.mark, calls))


def _times(experiment: Experiment, clock: Clock, calls: int, marks: Sequence[Mark]) -> dict[str, float]:
    times = clock.seconds(marks)
    spans = {**experiment.phases, **experiment.inner}
    return {name: (times[last] - times[first]) / calls for name, (first, last) in spans.items()}


def _observe_many(experiment: Experiment, clock: Clock, calls: int, most: int) -> Iterator[dict[str, float]]:
    """Yield one sample; of an experiment that makes many at once, at most so many."""
    if experiment.burst is None or experiment.before is not None:
        yield observe(experiment, clock, calls)
        return
    for marks in experiment.burst(calls, most):
        yield _times(experiment, clock, calls, marks)


def run_warmup(
    experiment: Experiment,
    clock: Clock,
    longest: float,
    first_call: float = 0.0,
    begun: Mapping[str, float] | None = None,
) -> Warmup:
    """Warm up for at most `longest` seconds; what the whole step takes decides when times have settled.

    A step of seconds needs nothing but the first call: then `begun`, which came after it, is a sample.

    Args:
        experiment: the work.
        clock: the device's clock.
        longest: seconds after which the warm-up ends.
        first_call: seconds that the first call took, if it was not one of many before.
        begun: the times of the next call, by phase, if it was taken before.
    """
    name = experiment.whole
    whole = [] if begun is None else [begun[name]]
    if whole and whole[0] >= LONG:
        return Warmup(array("d"), 0, True, whole[0], longest)
    return warm_up(lambda: observe(experiment, clock)[name], clock.now, longest, first_call, whole)


def calibrate(experiment: Experiment, typical: float, min_sample: float) -> int:
    """Return how many calls make a sample of at least `min_sample` seconds, a call taking `typical` seconds.

    Phases of a training step are never merged: the answer is then one.
    """
    if not experiment.mergeable or typical <= 0:
        return 1
    return max(1, math.ceil(min_sample / typical))


def sample(
    experiment: Experiment,
    clock: Clock,
    rule: StoppingRule,
    calls: int,
    watch: Watch,
    begun: Mapping[str, float] | None = None,
) -> Sampled:
    """Sample until `rule` says stop, reporting to `watch` between samples.

    Args:
        experiment: the work.
        clock: the device's clock.
        rule: the stopping rule.
        calls: calls per sample.
        watch: is told what has been sampled.
        begun: the first sample, by phase, if it was taken before.
    """
    samples = {phase: array("d") for phase in experiment.phases}
    inner = {name: array("d") for name in experiment.inner}
    columns = {**samples, **inner}
    reporter = _Reporter(experiment, clock, rule, calls, samples, watch)
    start = reported = now = clock.now()
    if begun is not None:
        start -= begun[experiment.whole]
    n, check = 0, rule.next_check(0)
    while True:
        many = _observe_many(experiment, clock, calls, _most(n, check, rule, now - start))
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
            return Sampled(samples, calls, reason, inner)
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
    clock: Clock
    rule: StoppingRule
    calls: int
    samples: Mapping[str, array[float]]
    watch: Watch
    told: int = 0

    def report(self, n: int, elapsed: float) -> None:
        fresh = {phase: values[self.told :] for phase, values in self.samples.items()}
        self.told = n
        p = self.rule.quantile
        intervals = {phase: relative_half_width(self.samples[phase], p) for phase in self.experiment.main}
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
                clock=self.clock.name,
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
