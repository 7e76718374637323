"""Looks after every round: what a verdict at one of them has to be worth, and what it costs."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from microbench.stats.ratio import paired, unpaired
from microbench.stats.sequential import FIRST_LOOK, SequentialRatio, looks, price, race, seen_once

LOGS = [0.10, 0.14, 0.08, 0.12, 0.05, 0.16, 0.11, 0.02, 0.13, 0.09]
"""The log ratios of ten rounds, of which the second side is slower by about 10 %."""


def seen(logs: list[float], most: int = 10, last: int | None = None) -> SequentialRatio:
    """Return the ratio of one pair after these rounds, the last of which may know of fewer to come."""
    planned = [most] * (len(logs) - 1) + [last or most]
    return looks(np.asarray([logs]), np.asarray([planned])).last(0)


def worth(logs: list[float], most: int = 10) -> float:
    """Return what one look at these rounds is worth, with the formulas written out."""
    p = stats.ttest_1samp(logs, 0).pvalue
    z = stats.norm.isf(p / 2) * (len(logs) / most) ** 0.15
    return float(min(1.0, (3.6 - 10.4 / most) * 2 * stats.norm.sf(z)))


@pytest.mark.parametrize("rounds", range(4, 11))
def test_p_is_the_least_of_all_looks(rounds: int) -> None:
    found = seen(LOGS[:rounds])
    assert found.p == pytest.approx(min(worth(LOGS[:n]) for n in range(4, rounds + 1)))
    assert (found.p_slower, found.p_faster) == (found.p, 1.0)


def test_sides_have_ps_of_their_own() -> None:
    one, other = seen(LOGS), seen([-each for each in LOGS])
    assert (other.p_slower, other.p_faster) == (1.0, one.p_slower)
    assert one.inverted == other
    assert other.interval == pytest.approx([1 / end for end in reversed(one.interval or ())])


def test_what_one_look_has_shown_others_do_not_take_back() -> None:
    ps = [seen([*LOGS[:5], -0.3, 0.2, -0.4, 0.1, -0.2][:n]).p_slower for n in range(4, 11)]
    assert all(later <= earlier for earlier, later in pairwise(ps))
    assert ps[1] == ps[-1] < 0.05


@pytest.mark.parametrize(("rounds", "level"), [(4, 0.0074), (10, 0.0195)])
def test_an_interval_at_a_look_has_that_look_s_level(rounds: int, level: float) -> None:
    """The levels for ten rounds, from the boundary c = 2.335 at the last: 2 Φ(−c (10/n)^0.15)."""
    found, reference = seen(LOGS[:rounds]), stats.ttest_1samp(LOGS[:rounds], 0)
    assert found.interval is not None
    low, _ = found.interval
    t = (found.log - math.log(low)) * math.sqrt(rounds) / np.std(LOGS[:rounds], ddof=1)
    assert 2 * stats.t.sf(t, reference.df) == pytest.approx(level, rel=0.02)


def test_there_is_no_verdict_before_the_first_look() -> None:
    for rounds in range(1, FIRST_LOOK):
        found = seen(LOGS[:rounds])
        assert (found.p, found.interval) == (None, None)
        assert len(found.parts) == (rounds > 1)


def test_a_last_look_may_know_that_it_is_the_last() -> None:
    """Then its own level is higher; what the looks before it were worth stays as it was."""
    short = [0.10, 0.02, 0.15, -0.04, 0.13, 0.12]
    assert seen(short, last=6).p == pytest.approx(
        min(worth(short, most=6), worth(short[:5]), worth(short[:4]))
    )
    assert (seen(short, last=6).p or 1) < (seen(short).p or 1)
    narrow, wide = seen(short, last=6).interval, seen(short).interval
    assert narrow is not None
    assert wide is not None
    assert narrow[1] < wide[1]


def test_more_possible_looks_cost_more() -> None:
    """As simulated, at p = 5 %: 1.44, 2.41, 2.98, 3.42 for 5, 10, 20, 64 rounds."""
    assert price([5, 10, 20, 64]) == pytest.approx([1.44, 2.41, 2.98, 3.42], rel=0.07)
    assert price(4) == price(1) == 1.0


def test_a_round_that_one_side_lacks_is_no_look() -> None:
    missing = [*LOGS[:5], math.nan, LOGS[5], math.nan, math.nan]
    assert seen(missing) == seen(LOGS[:6])
    assert seen(missing, last=6).most == 10  # its own last look did not know of an earlier end


def test_a_spread_that_is_small_by_luck_counts_as_half_of_the_usual_one() -> None:
    lucky, usual = [0.010, 0.0101, 0.0099, 0.01], [0.1, -0.1, 0.2, -0.2]
    found = looks(np.asarray([lucky, usual, usual]), np.full((3, 4), 10)).last(0)
    assert found.parts[0].variance == pytest.approx(np.var(usual, ddof=1) / 4)
    assert looks(np.asarray([lucky, usual]), np.full((2, 4), 10)).last(0).parts[0].variance < 1e-8
    later = looks(np.asarray([lucky + lucky, usual + usual, usual + usual]), np.full((3, 8), 10)).last(0)
    assert later.parts[0].variance < 1e-8


def test_rounds_that_are_all_equal_have_no_spread() -> None:
    assert seen([0.0] * 6).p == 1.0
    assert (seen([0.1] * 6).p or 0) < 1e-30


def test_a_ratio_of_separate_rounds_is_worth_one_look() -> None:
    ratio = unpaired([1.0, 1.1, 1.05, 1.02, 0.97], [1.2, 1.3, 1.22, 1.25, 1.24, 1.19])
    found = seen_once(ratio, most=10)
    z = stats.norm.isf((ratio.p or 0) / 2) * (5 / 10) ** 0.15
    assert found.p == found.p_slower == pytest.approx(2.56 * 2 * stats.norm.sf(z))
    assert found.half_width() > ratio.half_width()
    assert seen_once(paired([1.0, 1.1], [1.2, 1.3]), most=10).p is None


class TestRace:
    TIMES = np.log([[1.0, 1.1, 1.02, 0.97, 1.05, 1.01], [1.01, 1.08, 1.03, 0.99, 1.03, 1.02], [2.0] * 6])

    def test_a_clear_loser_leaves_after_four_rounds(self) -> None:
        most = np.full(6, 10)
        assert not race(self.TIMES[:, :3], most[:3]).left
        early, late = race(self.TIMES[:, :4], most[:4]), race(self.TIMES, most)
        assert early.left.keys() == {2}
        assert early.left == late.left  # with p as it was then
        assert late.leader != 2

    def test_one_that_has_left_needs_no_more_rounds(self) -> None:
        times = self.TIMES.copy()
        times[2, 4:] = math.nan
        found = race(times, np.full(6, 10))
        assert found.left.keys() == {2}
        assert [found.ratio(0, other).parts[0].rounds for other in (1, 2)] == [6, 4]

    def test_one_that_has_left_does_not_lead(self) -> None:
        """Its later rounds, which a run that was completed may have, do not bring it back."""
        times = np.concatenate([self.TIMES, np.full((3, 4), 0.0)], axis=1)
        times[2, 6:] = -9.0
        found = race(times, np.full(10, 10))
        assert found.left.keys() == {2}
        assert found.leader != 2

    def test_every_pair_counts(self) -> None:
        """Rounds of a third that neither leads nor leaves change nothing but the number of pairs."""
        two, most = self.TIMES[[0, 2]], np.full(6, 10)
        three = np.stack([two[0], two[1], two[0] + 1e-6])
        assert race(three, most).left[1] == pytest.approx(3 * race(two, most).left[1])

    def test_the_places_of_the_sides_do_not_matter(self) -> None:
        turned, straight = race(self.TIMES[::-1], np.full(6, 10)), race(self.TIMES, np.full(6, 10))
        assert turned.leader == 2 - straight.leader
        assert turned.left[0] == pytest.approx(straight.left[2])
        assert turned.ratio(2, 1) == straight.ratio(0, 1)
        assert turned.ratio(1, 2) == turned.ratio(2, 1).inverted
