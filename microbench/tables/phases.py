"""Which phases a report shows, and how an estimate of one is written."""

from __future__ import annotations

from collections.abc import Mapping

from microbench.records.cases import CaseResult, Estimate
from microbench.records.record import Role
from microbench.tables import units

LEAST_LOSS = 0.01  # of the total: a smaller loss phase is not shown


def shown(estimates: Mapping[str, Estimate]) -> list[str]:
    """The phases to show, in their order: the loss only where it is more than 1 % of the total."""
    loss, total = estimates.get("loss"), estimates.get("total")
    hide_loss = loss is not None and total is not None and loss.median <= LEAST_LOSS * total.median
    return [
        phase
        for phase, estimate in estimates.items()
        if estimate.role is not Role.ONCE and not (phase == "loss" and hide_loss)
    ]


def time(estimate: Estimate) -> str:
    """The median, with the digits its interval supports."""
    return units.time(estimate.median, estimate.half_width)


def struck(text: str) -> str:
    """A text that does not count, with markup: struck out, and between tildes for where nothing is styled."""
    return f"[strike]~{text}~[/strike]"


def time_and_interval(estimate: Estimate) -> str:
    """The median and half its interval's width as a share of it."""
    share = estimate.relative_half_width
    return time(estimate) + ("" if share is None else f" ±{units.share(share)}")


def rate(case: CaseResult, estimate: Estimate) -> str:
    """Items per second: the batch over the median."""
    items = case.throughput(estimate)
    return "" if items is None else units.rate(items, estimate.relative_half_width)


def level(estimate: Estimate) -> str:
    """The confidence of its interval, such as `95 %`: over rounds, the one that so many support."""
    return f"{estimate.confidence:.0%}".replace("%", " %")


def interval_name(estimate: Estimate) -> str:
    """What the interval is, with its confidence: over rounds, or within one process."""
    return f"{level(estimate)} {'CI (one process)' if estimate.rounds == 1 else 'CI'}"
