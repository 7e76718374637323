"""What two measurements of the same case say of a machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from microbench.analysis.resolution import Resolution, resolution_of
from microbench.records.cases import cases_of
from microbench.records.record import Call, Kind, RoundRecord
from microbench.stats.resolution import detectable

FIRST, SECOND = [1.0, 1.1, 0.9, 1.0, 1.2, 1.0], [1.05, 1.0, 1.0, 0.9, 1.1, 1.1]


def of(records: list[RoundRecord]) -> Resolution | None:
    first, second = cases_of(records)
    return resolution_of(first, second, "inference")


def found(records: list[RoundRecord]) -> Resolution:
    resolution = of(records)
    assert resolution is not None
    return resolution


def test_the_deviation_is_that_of_the_rounds_log_ratios(doctored: Any) -> None:
    resolution = found(doctored(FIRST, SECOND))
    logs = np.log(np.array(SECOND) / np.array(FIRST))
    assert resolution.rounds == 6
    assert resolution.deviation == pytest.approx(logs.std(ddof=1))
    assert resolution.ratio.value == pytest.approx(math.exp(logs.mean()))
    assert resolution.smallest(6) == pytest.approx(detectable(logs.std(ddof=1), 6))
    assert resolution.smallest(20) < resolution.smallest(6)


def test_the_calls_within_a_profile_are_not_taken_for_the_model(doctored: Any) -> None:
    plain = doctored(FIRST, SECOND)
    call = Call(name="", index=0, order=0, depth=0, kind=Kind.MODULE, type="Net", times=[9.0])
    assert found([replace(each, calls=(call,)) for each in plain]) == found(plain)


def test_what_disturbs_a_round_of_both_alike_does_not_count(doctored: Any) -> None:
    weather = [1.0, 2.0, 3.0, 1.0, 2.0, 1.0]
    calm = found(doctored(FIRST, SECOND))
    stormy = found(
        doctored(
            [a * b for a, b in zip(FIRST, weather, strict=True)],
            [a * b for a, b in zip(SECOND, weather, strict=True)],
        )
    )
    assert stormy.deviation == pytest.approx(calm.deviation)
    assert stormy.between > 2 * calm.between


def test_between_processes_is_the_spread_of_all_medians(doctored: Any) -> None:
    medians = [*FIRST, *SECOND]
    expected = np.std(medians, ddof=1) / np.median(medians)
    assert found(doctored(FIRST, SECOND)).between == pytest.approx(expected)


def test_within_a_process_is_the_spread_of_its_samples(doctored: Any) -> None:
    resolution = found(doctored(FIRST, SECOND, within=0.2))
    spread = np.std([-0.2, -0.1, 0.1, 0.2] * 10, ddof=1)
    assert resolution.within == pytest.approx(spread)


def test_samples_that_scatter_much_explain_the_spread_and_still_ones_do_not(doctored: Any) -> None:
    assert found(doctored(FIRST, SECOND, within=1e-9)).from_within == pytest.approx(0.0, abs=1e-6)
    noisy = found(doctored(FIRST, SECOND, within=0.3)).from_within
    assert noisy is not None
    assert 0.5 < noisy <= 1.0


def test_the_same_share_comes_from_within_as_intervals_say(doctored: Any) -> None:
    """Medians that scatter by what their intervals allow owe it all to the samples being few."""
    records = doctored(FIRST, SECOND, within=0.3)
    resolution = found(records)
    summaries = [series.summary for record in records for series in record.series]
    errors = [each.half_width / 1.96 for each in summaries]
    expected = 2 * np.mean(np.square(errors)) / resolution.deviation**2
    assert resolution.from_within == pytest.approx(min(1.0, expected))


def test_the_smallest_difference_is_not_known_better_than_few_rounds_allow(doctored: Any) -> None:
    resolution = found(doctored(FIRST, SECOND))
    low, high = resolution.uncertainty
    assert low < resolution.smallest(6) / 1.5
    assert high > resolution.smallest(6) * 2


def test_a_ratio_of_one_holds_and_twice_as_slow_does_not(doctored: Any) -> None:
    assert found(doctored(FIRST, SECOND)).holds
    assert not found(doctored(FIRST, [2 * each for each in SECOND])).holds


def test_rounds_that_one_of_them_has_not_are_left_out(doctored: Any) -> None:
    assert found(doctored(FIRST, SECOND[:4])).rounds == 4
    failed = [0.0 if number == 2 else each for number, each in enumerate(SECOND)]  # 0: it failed
    resolution = found(doctored(FIRST, failed))
    assert resolution.rounds == 5
    assert resolution.deviation == pytest.approx(
        found(doctored([*FIRST[:2], *FIRST[3:]], [*SECOND[:2], *SECOND[3:]])).deviation
    )


@pytest.mark.parametrize("second", [[1.0], [0.0] * 6, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
def test_one_common_round_says_nothing(second: list[float], doctored: Any) -> None:
    assert of(doctored(FIRST, second)) is None


def test_another_phase_was_not_measured(doctored: Any) -> None:
    first, second = cases_of(doctored(FIRST, SECOND))
    assert resolution_of(first, second, "total") is None
