"""What is doubtful about a measurement, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from microbench.measure.warmup import Warmup
from microbench.results.record import Caution, Summary, WarningCode

DRIFT_TOLERANCE = 0.05
MANY_SWITCHES = 100  # involuntary ones a second; a quiet machine shows 5 to 50, a loaded one 130 to 320
LEAST_SWITCHES = 20  # fewer say nothing of a rate
FULL_SHARE = 0.9  # of the CPUs a case asks for


def cautions(
    warmup: Warmup, main: Mapping[str, Summary], rel_ci: float, longest_warmup: float
) -> Iterator[Caution]:
    """The warnings on a case whose main phases have these summaries: at most one of each code."""
    if not warmup.settled:
        yield Caution(
            WarningCode.NOT_SETTLED,
            f"times had not settled after {len(warmup.times)} warm-up steps in {sum(warmup.times):.2g} s; "
            f"raise measure.max_warmup above {longest_warmup:g} (seconds)",
        )
    if few := [f"{phase} has {summary.n}" for phase, summary in main.items() if summary.ci_low is None]:
        yield Caution(
            WarningCode.NO_INTERVAL,
            f"too few samples for a 95 % interval (it takes 6): {', '.join(few)}; raise measure.max_samples",
        )
    if wide := [
        f"{phase} ±{summary.half_width:.1%}"
        for phase, summary in main.items()
        if summary.half_width is not None and summary.half_width > rel_ci
    ]:
        yield Caution(
            WarningCode.WIDE_INTERVAL,
            f"intervals wider than ±{rel_ci * 100:.3g} % (measure.rel_ci): {', '.join(wide)}; "
            "raise measure.max_time or quieten the machine",
        )
    if drifting := [
        f"{phase} {summary.drift:+.1%}"
        for phase, summary in main.items()
        if summary.drift is not None and _drifts(summary, rel_ci)
    ]:
        yield Caution(
            WarningCode.DRIFT,
            f"the second half of the samples differs from the first: {', '.join(drifting)}; raise "
            "measure.max_warmup, or look for heat, power limits or other load",
        )


def foreign_load(switches: int, seconds: float, cpus: float | None, threads: int) -> Iterator[Caution]:
    """The warning on a case from which other processes took the CPU.

    Two busy threads that share a core with another process wait for each other at every barrier, and times
    settle, within a narrow interval, at multiples of the scheduler's time slice.

    Args:
        switches: involuntary context switches.
        seconds: in how long a time.
        cpus: CPU seconds a second that the case got.
        threads: CPUs it asked for.
    """
    often = switches >= LEAST_SWITCHES and switches > MANY_SWITCHES * seconds
    if often and cpus is not None and cpus < FULL_SHARE * threads:
        yield Caution(
            WarningCode.FOREIGN_LOAD,
            f"other processes took a CPU away {switches / seconds:.0f} times a second, and {threads} threads "
            f"got {cpus:.2f} CPUs: the times are not the case's own; quieten the machine, or lower threads",
        )


def _drifts(summary: Summary, rel_ci: float) -> bool:
    """Whether the halves differ by more than their intervals, and by more than is worth a word."""
    if summary.drift is None or summary.half_width is None:
        return False
    return abs(summary.drift) > max(DRIFT_TOLERANCE, 4 * summary.half_width, 4 * rel_ci)
