from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from microbench.records.peaks import Peaks
from microbench.records.record import BenchmarkWarning, WarningCode
from microbench.records.result import Result, RoundRecord
from microbench.tables import doctor

FIRST, SECOND = [1.0, 1.1, 0.9, 1.0, 1.2, 1.0], [1.05, 1.0, 1.0, 0.9, 1.1, 1.1]
PEAKS = Peaks(5.24e11, 1.05e12, "matmul", "linear", ((2**18, 8e10), (2**27, 8e9)), 2e-6)
EMULATED = replace(PEAKS, bf16=None, bf16_by="", emulated=(("bfloat16", 2.3e9),))
Shown = Callable[..., list[str]]


@pytest.fixture
def shown(rendered: Callable[..., list[str]]) -> Shown:
    """Return a function that prints the report on records and returns its lines."""

    def show(records: list[RoundRecord], width: int = 300) -> list[str]:
        result = Result(records, Path("outputs/run/records.jsonl"))
        return rendered(using=lambda out: doctor.show(result, out), width=width)

    return show


def line(lines: list[str], start: str) -> str:
    return next(each.strip() for each in lines if each.strip().startswith(start))


def test_the_parts_come_in_their_order(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, PEAKS))
    heads = [each.partition(":")[0].partition(" of ")[0] for each in lines if each and each[0] != " "]
    assert heads[1:-1] == [
        "machine",
        "A/A test",
        "peaks",
        "recommendations, most useful first",
    ]
    assert lines[0].startswith("Some CPU, 4 cores")
    assert lines[-1] == "records: outputs/run/records.jsonl (12 rounds)"


def test_one_sentence_gives_the_detectable_difference(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND))
    assert line(lines, "With") == (
        "With 6 rounds, differences of 15 % or more are detectable; 1 % would take about 800 rounds."
    )


def test_the_table_of_rounds_agrees_with_the_sentence(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND))
    rounds, apart = (
        line(lines, "rounds").split(),
        re.findall(r"[\d.]+ %", line(lines, "detectable difference")),
    )
    assert rounds == ["rounds", "6", "10", "20", "50"]
    assert apart[0] == "15 %"
    shares = [float(each.removesuffix(" %")) for each in apart]
    assert shares == sorted(shares, reverse=True)
    lines = shown(doctored(FIRST[:4], SECOND[:4]))
    assert line(lines, "rounds").split() == ["rounds", "4", "6", "10", "20", "50"]


def test_a_machine_that_detects_1_percent_gets_no_advice_on_rounds(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored([1.0] * 6, [1.001, 1.0, 0.999, 1.0, 1.001, 1.0]))
    assert re.fullmatch(
        r"With 6 rounds, differences of 0\.\d\d % or more are detectable\.", line(lines, "With")
    )
    assert not [each for each in lines if "measure.rounds=" in each]


def test_a_spread_that_no_number_of_rounds_overcomes_is_reported(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored([1.0, 1e9], [1e9, 1.0]))
    assert "differences of more than 1,000 % or more are detectable; 1 % would take more than a million" in (
        line(lines, "With")
    )


def test_the_ratio_of_the_two_is_shown_with_whether_its_interval_contains_1(
    doctored: Any, shown: Shown
) -> None:
    holds = line(shown(doctored(FIRST, SECOND)), "ratio of the two")
    assert re.match(r"ratio of the two 0\.994, 95 % CI 0\.895 – 1\.104: contains 1, as expected", holds)
    slower = [1.5 * each for each in SECOND]
    fails = line(shown(doctored(FIRST, slower)), "ratio of the two 1.4")
    assert "does not contain 1, by chance, as in one of 20 such tests, or because of a disturbance" in fails


def test_the_spread_between_and_within_processes_is_shown(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, within=0.1))
    assert line(lines, "standard deviation") == (
        "standard deviation 8.6 % between processes, 8.0 % within one"
    )


def test_peaks_have_units_and_say_what_reached_them(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, PEAKS))
    assert line(lines, "peaks of") == "peaks of 2 threads, the fastest of many calls"
    assert line(lines, "fp32 ").split() == ["fp32", "524", "GFLOP/s", "matmul"]
    assert line(lines, "bf16 ").split() == ["bf16", "1.05", "TFLOP/s", "linear"]
    assert re.match(r"memory +8\.00 GB/s +128 MiB read and written", line(lines, "memory  8"))
    assert re.match(r"caches +80\.0 GB/s", line(lines, "caches"))
    assert re.match(r"call +2\.00 µs", line(lines, "call"))
    assert "fewer than 66 FLOP per byte" in line(lines, "an fp32 layer")


def test_an_emulated_format_is_reported_and_has_no_peak(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, EMULATED))
    assert re.fullmatch(r"bf16 +emulated +in fp32: 2\.30 GFLOP/s in small products", line(lines, "bf16"))


def test_peaks_that_other_load_disturbed_are_reported_as_too_low(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, replace(PEAKS, disturbed=True)))
    assert line(lines, "peaks of").endswith("other load disturbed them: they are too low")


def test_records_without_peaks_are_shown_with_known_ones_or_without(
    doctored: Any, rendered: Callable[..., list[str]], shown: Shown
) -> None:
    """Runs of an earlier version that are completed have such records."""
    result = Result(doctored(FIRST, SECOND), Path("outputs/run/records.jsonl"))
    lines = rendered(using=lambda out: doctor.show(result, out, PEAKS))
    assert line(lines, "fp32 ").split()[1:3] == ["524", "GFLOP/s"]
    assert not [each for each in shown(doctored(FIRST, SECOND)) if each.startswith("peaks")]


def test_a_case_that_failed_has_no_detectable_difference(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored([0.0] * 6, [0.0] * 6, PEAKS))
    assert "too few rounds succeeded" in line(lines, "too few")
    assert line(lines, "fp32 ")


def test_an_interrupted_run_shows_what_there_is(doctored: Any, shown: Shown) -> None:
    records = doctored(FIRST, SECOND, PEAKS)
    of_first = [record for record in records if record.case.order == 0]
    assert "too few rounds succeeded" in line(shown(of_first), "too few")
    assert shown([]) == []


def test_advice_is_numbered_and_referred_to(doctored: Any, shown: Shown) -> None:
    env = {"governor": "powersave", "turbo": False, "load_average": 7.0}
    lines = shown(doctored(FIRST, SECOND, env=env))
    assert line(lines, "governor").endswith("advice 2")
    assert line(lines, "other load").endswith("advice 1")
    assert line(lines, "turbo").split() == ["turbo", "off", "fine"]
    assert line(lines, "power").endswith("not available here")
    place = lines.index(next(each for each in lines if each.startswith("  2. governor: ")))
    assert lines[place + 1].strip() == "sudo cpupower frequency-set -g performance"


def test_more_rounds_are_advised_if_processes_differ(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, within=1e-6))
    assert line(lines, "microbench") == "microbench … measure.rounds=10"
    lines = shown(doctored([*FIRST] * 10, [*SECOND] * 10, within=1e-6))
    assert line(lines, "microbench") == "microbench … measure.rounds=120"


def test_longer_rounds_are_advised_if_they_are_too_short(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, within=0.5))
    assert "measure.max_time=" in line(lines, "microbench")
    assert "of the spread is because rounds are short" in line(lines, "1. rounds")


def test_a_warning_of_the_case_is_among_the_advice(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, warnings=(BenchmarkWarning(WarningCode.DRIFT, "it [drifts]"),)))
    assert line(lines, "2. drift") == "2. drift: it [drifts] (in 12 of 12 rounds)"


def test_only_commands_are_wider_than_the_terminal(doctored: Any, shown: Shown) -> None:
    lines = shown(doctored(FIRST, SECOND, PEAKS, env={"turbo": True}), width=50)
    wide = [each.strip() for each in lines if len(each) > 50]
    assert wide == ["echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"]
