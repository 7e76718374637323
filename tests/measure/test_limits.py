"""How long the parts of a round may take, of its options and its share of the budget."""

from __future__ import annotations

from typing import Any

import pytest

from microbench.config import MeasureConfig
from microbench.measure.limits import Limits
from microbench.records.record import Plan, RoundsReason, StopReason
from microbench.stats.median import LEAST_FOR_INTERVAL


def limits(seconds: float | None = 5.0, rounds: int = 6, **settings: Any) -> Limits:
    plan = Plan(rounds=rounds, reason=RoundsReason.ENOUGH, seconds=seconds)
    return Limits(MeasureConfig(**settings), plan)


def test_a_warm_up_takes_at_most_half_of_what_is_left() -> None:
    assert limits(5.0).warmup(taken=1.0) == 2.0
    assert limits(5.0).warmup(taken=9.0) == 0.1  # the shortest time
    assert limits(5.0, max_warmup=0.5).warmup(taken=1.0) == 0.5
    assert limits(None).warmup(taken=1e6) == MeasureConfig().max_warmup


@pytest.mark.parametrize(
    ("taken", "longest", "reason"),
    [
        (1.0, 0.5, StopReason.SETUP),  # half of the set-up
        (0.01, 0.1, StopReason.SETUP),  # but at least the shortest time
        (4.8, 0.2, StopReason.BUDGET),  # the share is almost used
        (9.0, 0.1, StopReason.BUDGET),  # a single short call after a pause would be slow
    ],
)
def test_one_of_several_rounds_is_sampled_for_half_its_set_up_or_what_is_left_of_its_share(
    taken: float, longest: float, reason: StopReason
) -> None:
    rule = limits(5.0).sampling(taken)
    assert (rule.max_time, rule.at_limit) == (pytest.approx(longest), reason)
    assert rule.least == 1


def test_a_long_share_does_not_exceed_the_option() -> None:
    rule = limits(1e3, max_time=3.0).sampling(taken=100.0)
    assert (rule.max_time, rule.at_limit) == (3.0, StopReason.MAX_TIME)


@pytest.mark.parametrize("more", [{"rounds": 1}, {"percentile": 99.0}])
def test_a_single_round_and_a_percentile_may_use_the_whole_share(more: dict[str, Any]) -> None:
    rule = limits(5.0, **more).sampling(taken=1.0)
    assert (rule.max_time, rule.at_limit) == (4.0, StopReason.BUDGET)


def test_a_single_round_has_enough_samples_for_an_interval() -> None:
    assert limits(5.0, rounds=1).sampling(taken=99.0).least == LEAST_FOR_INTERVAL


def test_without_a_budget_only_the_options_limit_a_round() -> None:
    rule = limits(None).sampling(taken=1e6)
    assert (rule.max_time, rule.at_limit, rule.least) == (5.0, StopReason.MAX_TIME, 3)
    assert limits(None, min_samples=1).sampling(taken=1.0).least == 1


def test_samples_are_single_calls_where_a_percentile_is_wanted() -> None:
    assert limits().least_sample == MeasureConfig().min_sample > 0
    assert limits(percentile=99.0).least_sample == 0
