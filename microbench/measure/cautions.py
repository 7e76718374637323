"""Warnings on the samples of a case, each with a remedy. The codes: docs/warnings.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from microbench.measure.warmup import Warmup
from microbench.records.record import BenchmarkWarning, Process, Series, Summary, WarningCode
from microbench.stats.modality import two_speeds

DRIFT_TOLERANCE = 0.05  # of the median, from the first sample to the last
DRIFT_CHANCE = 0.001  # probability of such a trend by chance; a sweep of 100 cases has hundreds of series


@dataclass(frozen=True)
class Wanted:
    """The options of a case that its warnings refer to.

    Attributes:
        rel_ci: half-width of the median's interval, relative to the median.
        max_warmup: longest time to warm up, in seconds.
        rounds: the number of fresh processes that measure it.
        search_budget: of a search, its budget in seconds, which limits the warm-up; None for other cases.
    """

    rel_ci: float
    max_warmup: float
    rounds: int
    search_budget: float | None = None


def cautions(
    warmup: Warmup, main: Sequence[Series], wanted: Wanted, finite: bool
) -> Iterator[BenchmarkWarning]:
    """Yield the warnings on a case's samples: at most one of each code.

    Args:
        warmup: the warm-up's steps.
        main: the main phases' series, summarized.
        wanted: the case's options. The interval within a process matters only if there is just one process.
        finite: whether no output and no loss holds NaN or Inf.
    """
    summaries = {series.phase: series.summary for series in main if series.summary is not None}
    if not finite:
        yield BenchmarkWarning(
            WarningCode.NON_FINITE,
            "the output or the loss holds NaN or Inf, whose arithmetic can be slower or faster; lower "
            "optimizer.lr or change seed",
        )
    if not warmup.settled:
        steps = f"{len(warmup.times)} warm-up step{'' if len(warmup.times) == 1 else 's'}"
        remedy = f"raise measure.max_warmup above {wanted.max_warmup:g} (seconds)"
        if warmup.longest < wanted.max_warmup:
            remedy = "raise measure.budget, which allows no longer warm-up"
        if wanted.search_budget is not None:
            remedy = f"raise experiment.budget above {wanted.search_budget:g} (seconds)"
        yield BenchmarkWarning(
            WarningCode.NOT_SETTLED,
            f"times had not settled after {steps} in {sum(warmup.times):.2g} s; {remedy}",
        )
    if wanted.rounds == 1:
        yield from _of_intervals(summaries, wanted.rel_ci)
    if drifting := [
        f"{phase} {summary.drift:+.1%}" for phase, summary in summaries.items() if _drifts(summary)
    ]:
        yield BenchmarkWarning(
            WarningCode.DRIFT,
            f"times change from the first sample to the last: {', '.join(drifting)}; raise "
            "measure.max_warmup, or look for heat, power limits or other load",
        )
    if several := [text for series in main for text in _speeds(series)]:
        yield BenchmarkWarning(
            WarningCode.BIMODAL,
            f"two speeds instead of one, and a median that is either by chance: {', '.join(several)}; look "
            "for what comes and goes (other load, clock rate, threads that move: affinity=compact)",
        )


@dataclass(frozen=True)
class Changes:
    """The state that the calls of a case change, so that calls are not alike.

    Attributes:
        inputs: they change the inputs, which are not restored.
        given_back_over: the number of calls after which changed inputs are restored.
        state: the parameters and buffers that they change although this is inference.
    """

    inputs: bool = False
    given_back_over: int = 1
    state: Sequence[str] = ()


def not_repeatable(changes: Changes) -> Iterator[BenchmarkWarning]:
    """Yield a warning if the work of a call is not that of the first."""
    texts = []
    if changes.inputs:
        texts.append("its calls change their inputs, and work on other numbers each time")
    if changes.given_back_over > 1:
        texts.append(f"its calls change their inputs, given back after {changes.given_back_over} calls only")
    if changes.state:
        more = "" if len(changes.state) == 1 else f" and {len(changes.state) - 1} more"
        texts.append(f"its calls change {changes.state[0]}{more}, although they only infer")
    if texts:
        yield BenchmarkWarning(
            WarningCode.NOT_REPEATABLE,
            f"the work of a call is not the work of the first: {'; '.join(texts)}; let the module write to "
            "copies (x = x.clone())",
        )


def other_threads(asked: Mapping[str, int | None], used: Process) -> Iterator[BenchmarkWarning]:
    """Yield a warning if a case did not run with the requested threads.

    Args:
        asked: for each option, the requested number; None for torch's default.
        used: the process's settings after the case was sampled.
    """
    texts = [
        f"{getattr(used, option)} ran instead of {option}={number}"
        for option, number in asked.items()
        if number is not None and number != getattr(used, option)
    ]
    if texts:
        yield BenchmarkWarning(
            WarningCode.OTHER_THREADS,
            f"{', '.join(texts)}: the module, or a library, sets another number (such as by "
            "torch.set_num_threads); take that out, or ask for what runs",
        )


def fallen_back(reason: str | None, asked: str | None, figure: str | None) -> Iterator[BenchmarkWarning]:
    """Yield a warning if samples were taken in another way than asked for.

    Args:
        reason: why; None if they were not.
        asked: the value of `device.sync`.
        figure: what was measured instead.
    """
    if reason is not None:
        yield BenchmarkWarning(
            WarningCode.OTHER_CLOCK,
            f"device.sync={asked} was not possible, and the times are {figure}: {reason}; compare them with "
            "cases of device.sync=events alone",
        )


def _of_intervals(main: dict[str, Summary], rel_ci: float) -> Iterator[BenchmarkWarning]:
    if few := [
        f"{phase} has {math.floor(summary.n_effective)}"
        for phase, summary in main.items()
        if summary.half_width is None
    ]:
        yield BenchmarkWarning(
            WarningCode.NO_INTERVAL,
            f"too few independent samples for a 95 % CI (it takes 6): {', '.join(few)}; raise "
            "measure.max_time and measure.max_samples",
        )
    if wide := [
        f"{phase} ±{summary.half_width:.1%}"
        for phase, summary in main.items()
        if summary.half_width is not None and summary.half_width > rel_ci
    ]:
        yield BenchmarkWarning(
            WarningCode.WIDE_INTERVAL,
            f"intervals wider than ±{rel_ci * 100:.3g} % (measure.rel_ci): {', '.join(wide)}; "
            "raise measure.max_time or quieten the machine",
        )


def _drifts(summary: Summary) -> bool:
    """Return whether there is a trend that is worth a warning.

    The interval does not tell: a trend makes samples depend on each other, which widens the interval.
    """
    if summary.drift is None or summary.drift_p is None:
        return False
    return abs(summary.drift) > DRIFT_TOLERANCE and summary.drift_p < DRIFT_CHANCE


def _speeds(series: Series) -> Iterator[str]:
    if speeds := two_speeds(series.samples, series.resolution):
        factor = speeds.high / speeds.low
        yield f"{series.phase} takes {factor:.2f} times as long in {speeds.share * 100:.0f} % of the samples"
