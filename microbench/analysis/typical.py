"""What calls typically take, so that the parts of a whole add up to it.

Medians do not add up: where other load delays now this call and now that one, no call's median shows it and
the whole's does. Means do, and one long delay spoils them. So the mean is taken, over the middle half of the
passes: those whose whole is neither among the quarter that took the least nor among that which took the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def middle_half(values: Sequence[float]) -> list[int]:
    """The places of the values that are left without the lowest and the highest quarter of at least one."""
    places = sorted(range(len(values)), key=lambda place: values[place])
    cut = len(places) // 4
    return places[cut : len(places) - cut]


def mean_at(values: Sequence[float], places: Sequence[int]) -> float:
    """The mean of the values at some places."""
    return fmean(values[place] for place in places)


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the middle half of at least one value."""
    return mean_at(values, middle_half(values))
