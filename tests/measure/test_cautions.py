from __future__ import annotations

from array import array
from collections.abc import Mapping

import pytest

from microbench.measure.cautions import cautions
from microbench.measure.warmup import Warmup
from microbench.results.record import Caution, Summary, WarningCode

REL_CI = 0.01
SETTLED = Warmup(array("d", [0.5, 0.5]), windows=2, settled=True, typical=0.5)
UNSETTLED = Warmup(array("d", [0.5, 1.0]), windows=2, settled=False, typical=1.0)


def summary(half_width: float | None = 0.0, drift: float | None = 0.0, n: int = 100) -> Summary:
    """A summary with a median of one second and an interval of that half-width around it."""
    low, high = (None, None) if half_width is None else (1 - half_width, 1 + half_width)
    return Summary(n, 1.0, low, high, 0.95, 1.0, 0.1, 0.5, 2.0, 0.9, 1.1, drift)


def found(main: Mapping[str, Summary], warmup: Warmup = SETTLED, rel_ci: float = REL_CI) -> list[Caution]:
    return list(cautions(warmup, main, rel_ci, longest_warmup=3.0))


def codes(main: Mapping[str, Summary], warmup: Warmup = SETTLED, rel_ci: float = REL_CI) -> list[str]:
    return [caution.code for caution in found(main, warmup, rel_ci)]


def test_a_good_measurement_has_none() -> None:
    assert codes({"total": summary(half_width=0.009, drift=0.01)}) == []


def test_not_settled_when_the_warm_up_gave_up() -> None:
    (caution,) = found({"total": summary()}, UNSETTLED)
    assert caution.code is WarningCode.NOT_SETTLED
    assert "2 warm-up steps in 1.5 s" in caution.message
    assert "raise measure.max_warmup above 3 (seconds)" in caution.message


def test_no_interval_for_fewer_than_six_samples() -> None:
    (caution,) = found({"forward": summary(), "total": summary(half_width=None, n=5)})
    assert caution.code is WarningCode.NO_INTERVAL
    assert "total has 5" in caution.message
    assert "forward" not in caution.message
    assert "raise measure.max_samples" in caution.message


@pytest.mark.parametrize(("half_width", "expected"), [(0.0099, []), (0.0101, ["wide_interval"])])
def test_wide_interval_where_it_is_wider_than_wanted(half_width: float, expected: list[str]) -> None:
    assert codes({"total": summary(half_width)}) == expected


def test_wide_interval_names_each_wide_phase_and_what_was_wanted() -> None:
    main = {"forward": summary(0.02), "backward": summary(0.001), "total": summary(0.03)}
    (caution,) = found(main)
    assert "wider than ±1 % (measure.rel_ci): forward ±2.0%, total ±3.0%; " in caution.message
    assert "raise measure.max_time" in caution.message


@pytest.mark.parametrize(("rel_ci", "text"), [(0.01, "±1 %"), (0.025, "±2.5 %"), (0.0005, "±0.05 %")])
def test_wide_interval_says_what_was_wanted_as_precisely_as_it_was_given(rel_ci: float, text: str) -> None:
    (caution,) = found({"total": summary(0.03)}, rel_ci=rel_ci)
    assert f"intervals wider than {text} (measure.rel_ci)" in caution.message


@pytest.mark.parametrize(
    ("drift", "half_width", "rel_ci", "warns"),
    [
        (0.051, 0.0, 0.01, True),
        (-0.051, 0.0, 0.01, True),
        (0.049, 0.0, 0.01, False),  # under 5 %
        (0.07, 0.018, 0.01, False),  # under four half-widths
        (0.07, 0.017, 0.01, True),
        (0.07, 0.0, 0.018, False),  # under four times rel_ci
        (0.07, 0.0, 0.017, True),
        (0.5, None, 0.01, False),  # no interval to judge it by
        (None, 0.0, 0.01, False),
    ],
)
def test_drift_where_the_halves_differ_by_more_than_their_noise(
    drift: float | None, half_width: float | None, rel_ci: float, warns: bool
) -> None:
    assert ("drift" in codes({"total": summary(half_width, drift)}, rel_ci=rel_ci)) is warns


def test_drift_says_which_phase_and_which_way() -> None:
    (caution,) = found({"forward": summary(), "total": summary(drift=-0.2)})
    assert "total -20.0%" in caution.message
    assert "raise measure.max_warmup" in caution.message


def test_each_code_comes_once_however_many_phases_it_concerns() -> None:
    bad = {"forward": summary(0.5, 10.0), "backward": summary(0.5, 10.0), "total": summary(None, 10.0, n=3)}
    assert codes(bad, UNSETTLED) == ["not_settled", "no_interval", "wide_interval", "drift"]
