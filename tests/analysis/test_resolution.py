"""The detectable difference of a machine, from two measurements of the same case."""

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


def test_the_calls_of_a_profile_are_not_taken_for_the_model(doctored: Any) -> None:
    plain = doctored(FIRST, SECOND)
    call = Call(name="", index=0, order=0, depth=0, kind=Kind.MODULE, type="Net", times=[9.0])
    assert found([replace(each, calls=(call,)) for each in plain]) == found(plain)


def test_a_disturbance_of_both_in_one_round_does_not_count(doctored: Any) -> None:
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


def test_the_spread_between_processes_is_that_of_all_medians(doctored: Any) -> None:
    medians = [*FIRST, *SECOND]
    expected = np.std(medians, ddof=1) / np.median(medians)
    assert found(doctored(FIRST, SECOND)).between == pytest.approx(expected)


def test_the_spread_within_a_process_is_that_of_its_samples(doctored: Any) -> None:
    resolution = found(doctored(FIRST, SECOND, within=0.2))
    spread = np.std([-0.2, -0.1, 0.1, 0.2] * 10, ddof=1)
    assert resolution.within == pytest.approx(spread)


def test_noisy_samples_explain_the_spread_and_steady_ones_do_not(doctored: Any) -> None:
    assert found(doctored(FIRST, SECOND, within=1e-9)).from_within == pytest.approx(0.0, abs=1e-6)
    noisy = found(doctored(FIRST, SECOND, within=0.3)).from_within
    assert noisy is not None
    assert 0.5 < noisy <= 1.0


def test_the_share_from_within_agrees_with_the_intervals(doctored: Any) -> None:
    """Medians that scatter as their intervals predict do so only because the samples are few."""
    records = doctored(FIRST, SECOND, within=0.3)
    resolution = found(records)
    summaries = [series.summary for record in records for series in record.series]
    errors = [each.half_width / 1.96 for each in summaries]
    expected = 2 * np.mean(np.square(errors)) / resolution.deviation**2
    assert resolution.from_within == pytest.approx(min(1.0, expected))


def test_the_detectable_difference_is_as_uncertain_as_few_rounds_make_it(doctored: Any) -> None:
    resolution = found(doctored(FIRST, SECOND))
    low, high = resolution.uncertainty
    assert low < resolution.smallest(6) / 1.5
    assert high > resolution.smallest(6) * 2


def test_the_interval_contains_one_unless_one_side_is_twice_as_slow(doctored: Any) -> None:
    assert found(doctored(FIRST, SECOND)).holds
    assert not found(doctored(FIRST, [2 * each for each in SECOND])).holds


def test_rounds_that_only_one_side_has_are_left_out(doctored: Any) -> None:
    assert found(doctored(FIRST, SECOND[:4])).rounds == 4
    failed = [0.0 if number == 2 else each for number, each in enumerate(SECOND)]  # 0 means that it failed
    resolution = found(doctored(FIRST, failed))
    assert resolution.rounds == 5
    assert resolution.deviation == pytest.approx(
        found(doctored([*FIRST[:2], *FIRST[3:]], [*SECOND[:2], *SECOND[3:]])).deviation
    )


@pytest.mark.parametrize("second", [[1.0], [0.0] * 6, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
def test_one_common_round_gives_no_resolution(second: list[float], doctored: Any) -> None:
    assert of(doctored(FIRST, second)) is None


def test_a_phase_that_was_not_measured_has_no_resolution(doctored: Any) -> None:
    first, second = cases_of(doctored(FIRST, SECOND))
    assert resolution_of(first, second, "total") is None
