"""How near calls come to what the machine's peaks allow, one by one or several together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from microbench.analysis.calls import Row
from microbench.analysis.roofline import Bound, Roof, roof
from microbench.records.peaks import Peaks


@dataclass(frozen=True)
class Limits:
    """What the peaks say of calls; None where no peak was measured that says anything of them, or no time.

    Of several calls, those are left out whose number format has no peak, unless they take most of the time.

    Attributes:
        ceiling: FLOP/s at best; of several calls, all their FLOP over the least time they take one by one.
        reached: that least time over the time they take.
        bound: what most of that least time goes into: compute, memory or overhead.
    """

    ceiling: float | None = None
    reached: float | None = None
    bound: str | None = None


def limits(rows: Sequence[Row], peaks: Peaks | None) -> Limits:
    """What the peaks say of calls, none of which lies within another."""
    if peaks is None:
        return Limits()
    roofs = [(row, _roof(row, peaks)) for row in rows]
    bounded = [(row, each) for row, each in roofs if each.bound is not None]
    seconds = _seconds(row for row, _ in bounded)
    if not bounded or seconds < _seconds(rows) / 2:
        return Limits(ceiling=roofs[0][1].ceiling if len(roofs) == 1 else None)
    least: defaultdict[Bound, float] = defaultdict(float)
    for _, each in bounded:
        if each.bound is not None:
            least[each.bound] += each.least[each.bound]
    together = sum(least.values())
    flops = sum(row.costs.flops or 0 for row, _ in bounded)
    return Limits(
        ceiling=roofs[0][1].ceiling if len(roofs) == 1 else flops / together,
        reached=together / seconds if seconds > 0 else None,
        bound=max(least, key=lambda bound: least[bound]).value,
    )


def _seconds(rows: Iterable[Row]) -> float:
    return sum(row.costs.net_lat or 0.0 for row in rows)


def _roof(row: Row, peaks: Peaks) -> Roof:
    return roof(row.costs.flops or 0, row.costs.mem_rw or 0, row.layer.dtype, peaks)
