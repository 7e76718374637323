"""A profile's calls with their typical times, so that the parts of a whole add up to it.

Medians do not add up: if other load delays a different call in each pass, no call's median shows it but the
whole's does. Means add up, but one long delay spoils them. So the times are means over the middle half of the
passes: without the quarter whose whole took the least and the quarter whose whole took the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import fmean

from msgspec.structs import asdict, replace

from microbench.records.record import Call, Kind


class Row(Call, frozen=True, kw_only=True):
    """A call, or several together, with its time instead of its samples; None if it was not timed.

    Attributes:
        lat: seconds, including all calls within it.
        net_lat: seconds, excluding them.
    """

    lat: float | None = None
    net_lat: float | None = None

    @property
    def mem_rw(self) -> int | None:
        """Bytes read and written."""
        return None if self.mem_r is None or self.mem_w is None else self.mem_r + self.mem_w


def rows_of(calls: Sequence[Call]) -> list[Row]:
    """Return one row per call of a model, given in the order in which they begin.

    Times are means over the middle half of the passes, ranked for modules by the model's time in their pass,
    and for operators, which have passes of their own, by the sum of their times.
    """
    of_modules = _middle([calls[0].times] if calls else [])
    of_operators = _middle([call.times for call in calls if call.kind is Kind.FUNCTION])
    lat = [
        _mean_at(call.times, of_operators if call.kind is Kind.FUNCTION else of_modules)
        if call.times
        else None
        for call in calls
    ]
    inner, open_calls = [0.0] * len(lat), list[int]()  # by call, the time of the calls that it makes directly
    for place, call in enumerate(calls):
        del open_calls[call.depth :]
        if open_calls:
            inner[open_calls[-1]] += lat[place] or 0.0
        open_calls.append(place)
    return [
        Row(
            **asdict(call) | {"times": [], "lat": total, "net_lat": None if total is None else total - within}
        )
        for call, total, within in zip(calls, lat, inner, strict=True)
    ]


def merged(rounds: Iterable[Sequence[Call]]) -> list[Call]:
    """Return the calls of a case: the counts of its first round, the times of all rounds."""
    first, *others = rounds
    return [
        replace(call, times=list(chain(call.times, *(each[place].times for each in others))))
        for place, call in enumerate(first)
    ]


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half of the values, of which there is at least one."""
    return _mean_at(values, _middle([values]))


def _mean_at(values: Sequence[float], places: Sequence[int]) -> float:
    """Return the mean of the values at some places."""
    return fmean(values[place] for place in places)


def _middle(samples: Sequence[Sequence[float]]) -> list[int]:
    """Return the passes without the quarters with the lowest and the highest sums over all calls."""
    sums = [sum(times) for times in zip(*samples, strict=True)]
    places = sorted(range(len(sums)), key=lambda place: sums[place])
    cut = len(places) // 4
    return places[cut : len(places) - cut]
