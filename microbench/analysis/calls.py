"""A profile's calls with the times that they typically take, so that the parts of a whole add up to it.

Medians do not add up: where other load delays now this call and now that one, no call's median shows it and
the whole's does. Means do, and one long delay spoils them. So the mean is taken, over the middle half of the
passes: those whose whole is neither among the quarter that took the least nor among that which took the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from statistics import fmean

from msgspec.structs import asdict, replace

from microbench.records.record import Call, Kind


class Row(Call, frozen=True, kw_only=True):
    """A call, or several together, with its time instead of its samples; None where it was not timed.

    Attributes:
        lat: seconds with all calls within it.
        net_lat: seconds without them.
    """

    lat: float | None = None
    net_lat: float | None = None

    @property
    def mem_rw(self) -> int | None:
        """Bytes read and written."""
        return None if self.mem_r is None or self.mem_w is None else self.mem_r + self.mem_w


def rows_of(calls: Sequence[Call]) -> list[Row]:
    """Return a row for each of a model's calls, given in the order in which they begin.

    Times are means over the middle half of the passes: of modules by the model's time in their pass, of
    operators, which have a pass of their own, by the time of all of them.
    """
    of_modules = _middle([calls[0].times] if calls else [])
    of_operators = _middle([call.times for call in calls if call.kind is Kind.FUNCTION])
    lat = [
        _mean_at(call.times, of_operators if call.kind is Kind.FUNCTION else of_modules)
        if call.times
        else None
        for call in calls
    ]
    inner, open_calls = [0.0] * len(lat), list[int]()  # by call, the time of the calls that it makes itself
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
    """Return the calls of a case: what was counted in the first of its rounds, the times of all."""
    first, *others = rounds
    return [
        replace(call, times=list(chain(call.times, *(each[place].times for each in others))))
        for place, call in enumerate(first)
    ]


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half of at least one value."""
    return _mean_at(values, _middle([values]))


def _mean_at(values: Sequence[float], places: Sequence[int]) -> float:
    """Return the mean of the values at some places."""
    return fmean(values[place] for place in places)


def _middle(samples: Sequence[Sequence[float]]) -> list[int]:
    """Return the passes without the quarters whose sums over all calls are the lowest and the highest."""
    sums = [sum(times) for times in zip(*samples, strict=True)]
    places = sorted(range(len(sums)), key=lambda place: sums[place])
    cut = len(places) // 4
    return places[cut : len(places) - cut]
