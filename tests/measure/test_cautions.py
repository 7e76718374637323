from __future__ import annotations

from array import array
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from microbench.measure.cautions import Changes, Wanted, cautions, fallen_back, not_repeatable
from microbench.measure.warmup import Warmup
from microbench.records.record import BenchmarkWarning, Series, Summary, WarningCode
from microbench.records.summary import summarize

WANTED = Wanted(rel_ci=0.01, max_warmup=3.0, rounds=1)
SETTLED = Warmup(array("d", [0.5, 0.5]), windows=2, settled=True, typical=0.5, longest=3.0)
UNSETTLED = Warmup(array("d", [0.5, 1.0]), windows=2, settled=False, typical=1.0, longest=3.0)


def summary(
    half_width: float | None = 0.0, drift: float | None = 0.0, drift_p: float | None = 1e-9, n: float = 100
) -> Summary:
    """Return a summary with a median of one second and an interval of that half-width around it."""
    low, high = (None, None) if half_width is None else (1 - half_width, 1 + half_width)
    interval = {"ci_low": low, "ci_high": high}
    fields = {"n": 100, "n_effective": n, "median": 1.0, "drift": drift, "drift_p": drift_p}
    return structs.replace(summarize([1.0]), **interval, **fields)


def series(phase: str, found: Summary) -> Series:
    return Series(phase, "fake", [1.0], summary=found)


def found(
    warmup: Warmup = SETTLED, wanted: Wanted = WANTED, finite: bool = True, **main: Summary
) -> list[BenchmarkWarning]:
    return list(cautions(warmup, [series(*each) for each in main.items()], wanted, finite))


def codes(**main: Summary) -> list[str]:
    return [caution.code for caution in found(**main)]


def test_a_good_measurement_has_none() -> None:
    assert codes(total=summary(half_width=0.009, drift=0.01)) == []


def test_non_finite_where_the_output_is() -> None:
    (caution,) = found(finite=False)
    assert caution.code is WarningCode.NON_FINITE
    assert "lower optimizer.lr" in caution.message


def test_a_warm_up_that_gave_up_is_not_settled() -> None:
    (caution,) = found(UNSETTLED, total=summary())
    assert caution.code is WarningCode.NOT_SETTLED
    assert "2 warm-up steps in 1.5 s" in caution.message
    assert caution.message.endswith("; raise measure.max_warmup above 3 (seconds)")


def test_the_budget_is_named_if_it_ended_the_warm_up() -> None:
    (caution,) = found(replace(UNSETTLED, longest=0.2), total=summary())
    assert caution.message.endswith("; raise measure.budget, which allows no longer warm-up")


def test_the_budget_of_a_search_is_named_because_it_limits_the_warm_up() -> None:
    (caution,) = found(UNSETTLED, replace(WANTED, search_budget=150.0), total=summary())
    assert caution.message.endswith("; raise experiment.budget above 150 (seconds)")


def test_too_few_samples_have_no_interval() -> None:
    (caution,) = found(forward=summary(), total=summary(half_width=None, n=5.7))
    assert caution.code is WarningCode.NO_INTERVAL
    assert "total has 5" in caution.message
    assert "forward" not in caution.message
    assert "raise measure.max_time" in caution.message


@pytest.mark.parametrize(("half_width", "expected"), [(0.0099, []), (0.0101, ["wide_interval"])])
def test_an_interval_wider_than_wanted_is_warned_of(half_width: float, expected: list[str]) -> None:
    assert codes(total=summary(half_width)) == expected


def test_wide_interval_names_each_wide_phase_and_what_was_wanted() -> None:
    (caution,) = found(forward=summary(0.02), backward=summary(0.001), total=summary(0.03))
    assert "wider than ±1 % (measure.rel_ci): forward ±2.0%, total ±3.0%; " in caution.message
    assert "raise measure.max_time" in caution.message


@pytest.mark.parametrize(("rel_ci", "text"), [(0.01, "±1 %"), (0.025, "±2.5 %"), (0.0005, "±0.05 %")])
def test_a_wide_interval_names_the_wanted_width_to_all_its_digits(rel_ci: float, text: str) -> None:
    (caution,) = found(wanted=replace(WANTED, rel_ci=rel_ci), total=summary(0.03))
    assert f"intervals wider than {text} (measure.rel_ci)" in caution.message


@pytest.mark.parametrize("half_width", [None, 0.5])
def test_the_interval_within_one_of_several_processes_is_no_matter(half_width: float | None) -> None:
    assert found(wanted=replace(WANTED, rounds=2), total=summary(half_width)) == []


@pytest.mark.parametrize(
    ("drift", "p", "warns"),
    [
        (0.051, 0.0009, True),
        (-0.051, 0.0009, True),
        (0.049, 0.0009, False),  # too little to matter
        (0.051, 0.0011, False),  # it may be chance
        (None, None, False),  # too few samples to tell
    ],
)
def test_a_trend_that_matters_is_drift(drift: float | None, p: float | None, warns: bool) -> None:
    assert ("drift" in codes(total=summary(drift=drift, drift_p=p))) is warns


def test_drift_says_which_phase_and_which_way() -> None:
    (caution,) = found(forward=summary(), total=summary(drift=-0.2))
    assert "total -20.0%" in caution.message
    assert "raise measure.max_warmup" in caution.message


def sampled(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[str]:
    """Return the codes of a case of several rounds with these samples."""
    samples = array("d", values.tolist())
    of = Series("inference", "fake", samples, summary=summarize(samples))
    return [each.code for each in cautions(SETTLED, [of], replace(WANTED, rounds=6), finite=True)]


NOISE = np.random.default_rng(7).normal(1.0, 0.02, 400)


def test_samples_that_get_slower_drift_however_wide_their_interval_is() -> None:
    assert sampled(NOISE + np.linspace(0, 0.2, 400)) == ["drift"]


def test_samples_of_two_speeds_are_bimodal() -> None:
    slower = np.where(np.random.default_rng(8).random(400) < 0.25, 1.5, 1.0)
    samples = array("d", (NOISE * slower).tolist())
    of = Series("inference", "fake", samples, summary=summarize(samples))
    (caution,) = cautions(SETTLED, [of], replace(WANTED, rounds=6), finite=True)
    assert caution.code is WarningCode.BIMODAL
    assert "inference takes 1.5" in caution.message
    assert "times as long in 2" in caution.message
    assert "affinity=compact" in caution.message


def test_samples_of_one_speed_are_neither() -> None:
    assert sampled(NOISE) == []


def test_each_code_comes_once_however_many_phases_it_concerns() -> None:
    few = summary(None, 10.0, n=3)
    bad = found(UNSETTLED, finite=False, forward=summary(0.5, 10.0), backward=summary(0.5, 10.0), total=few)
    expected = ["non_finite", "not_settled", "no_interval", "wide_interval", "drift"]
    assert [caution.code.value for caution in bad] == expected


def test_all_reasons_why_calls_differ_are_in_one_warning() -> None:
    (caution,) = not_repeatable(Changes(inputs=True, given_back_over=3, state=("a", "b", "c")))
    assert caution.code is WarningCode.NOT_REPEATABLE
    assert caution.message.startswith(
        "the work of a call is not the work of the first: its calls change their inputs, and work on other "
        "numbers each time; its calls change their inputs, given back after 3 calls only; its calls change a "
        "and 2 more, although they only infer; "
    )
    assert list(not_repeatable(Changes())) == []


def test_samples_of_another_kind_than_asked_for_say_which_and_why() -> None:
    (caution,) = fallen_back("the work waits for the GPU in net.py:7", "device", "stream time")
    assert caution.code is WarningCode.OTHER_CLOCK
    assert caution.message == (
        "device.sync=device was not possible, and the times are stream time: the work waits for the GPU in "
        "net.py:7; compare them with cases of device.sync=events alone"
    )
    assert list(fallen_back(None, "device", "device time")) == []


def test_two_speeds_within_two_ticks_of_the_clock_are_no_warning() -> None:
    slower = np.where(np.random.default_rng(8).random(400) < 0.25, 1.5, 1.0)
    samples = array("d", (NOISE * slower).tolist())
    of = Series("inference", "fake", samples, summary=summarize(samples), resolution=0.3)
    assert list(cautions(SETTLED, [of], replace(WANTED, rounds=6), finite=True)) == []
