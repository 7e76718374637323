"""What is doubtful about a measurement, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from microbench.measure.warmup import Warmup
from microbench.results.record import Caution, Summary, WarningCode

DRIFT_TOLERANCE = 0.05


def cautions(
    warmup: Warmup, main: Mapping[str, Summary], rel_ci: float, longest_warmup: float
) -> Iterator[Caution]:
    """The warnings on a case whose main phases have these summaries."""
    if not warmup.settled:
        yield Caution(
            WarningCode.NOT_SETTLED,
            f"times had not settled after {len(warmup.times)} warm-up steps in {sum(warmup.times):.2g} s; "
            f"raise measure.max_warmup above {longest_warmup:g} (seconds)",
        )
    for phase, summary in main.items():
        yield from _interval(phase, summary, rel_ci)
        yield from _drift(phase, summary, rel_ci)


def _interval(phase: str, summary: Summary, rel_ci: float) -> Iterator[Caution]:
    if summary.half_width is None:
        yield Caution(
            WarningCode.NO_INTERVAL,
            f"{phase}: {summary.n} samples are too few for a 95 % interval; it takes 6, raise "
            "measure.max_samples",
        )
    elif summary.half_width > rel_ci:
        yield Caution(
            WarningCode.WIDE_INTERVAL,
            f"{phase}: the 95 % interval is ±{summary.half_width:.2%} of the median, wider than "
            f"measure.rel_ci={rel_ci:g}; raise measure.max_time or quieten the machine",
        )


def _drift(phase: str, summary: Summary, rel_ci: float) -> Iterator[Caution]:
    if summary.drift is None or summary.half_width is None:
        return
    if abs(summary.drift) > max(DRIFT_TOLERANCE, 4 * summary.half_width, 4 * rel_ci):
        way = "slower" if summary.drift > 0 else "faster"
        yield Caution(
            WarningCode.DRIFT,
            f"{phase}: the second half of the samples was {abs(summary.drift):.1%} {way} than the first; "
            "raise measure.max_warmup, or look for heat, power limits or other load",
        )
