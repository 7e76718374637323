from __future__ import annotations

from dataclasses import replace
from typing import Any

import factory
import pytest
from msgspec import structs

from microbench.measure.disturbances import Surroundings, disturbances
from microbench.records.record import BenchmarkWarning, WarningCode

QUIET = structs.replace(
    factory.QUIET,
    sampling_seconds=2.0,
    run_delay=0.01,
    foreign_cpus=0.02,
    steal=0.0,
    throttled=0.0,
    thermal_throttles=0,
    cpu_frequency=2.5e9,
)
PLAIN = Surroundings(
    threads=2,
    cpus=2,
    quota=None,
    allocator="glibc 2.36",
    governors=["performance"],
    boosts=False,
    on_battery=False,
)
UNTOLD = {
    "run_delay": None,
    "foreign_cpus": None,
    "steal": None,
    "throttled": None,
    "thermal_throttles": None,
    "cpu_frequency": None,
}


def found(around: Surroundings = PLAIN, **readings: Any) -> list[BenchmarkWarning]:
    return list(disturbances(structs.replace(QUIET, **readings), around))


def codes(around: Surroundings = PLAIN, **readings: Any) -> list[str]:
    return [caution.code.value for caution in found(around, **readings)]


def test_a_quiet_case_has_none() -> None:
    assert found() == []


def test_a_system_that_reports_nothing_causes_no_warning() -> None:
    around = replace(PLAIN, governors=[], boosts=None, on_battery=None)
    assert found(around, **UNTOLD) == []


@pytest.mark.parametrize(
    ("run_delay", "foreign_cpus", "warns"),
    [
        (0.05, 0.05, True),
        (0.049, 1.0, False),  # others were busy, and nothing waited for them
        (1.0, 0.049, False),  # the case's own threads waited for each other
        (None, 1.0, False),
        (1.0, None, False),
    ],
)
def test_foreign_load_is_warned_of_if_threads_waited_while_others_ran(
    run_delay: float | None, foreign_cpus: float | None, warns: bool
) -> None:
    assert codes(run_delay=run_delay, foreign_cpus=foreign_cpus) == ["foreign_load"] * warns


@pytest.mark.parametrize(("seconds", "warns"), [(0.2, True), (0.09, False)])
def test_no_foreign_load_of_a_moment_in_which_the_kernel_counts_too_coarsely(
    seconds: float, warns: bool
) -> None:
    assert codes(run_delay=0.5, foreign_cpus=0.5, sampling_seconds=seconds) == ["foreign_load"] * warns


def test_foreign_load_says_who_was_busy_what_waited_and_what_to_do() -> None:
    (caution,) = found(run_delay=0.98, foreign_cpus=1.02)
    assert caution.message == (
        "others kept 1.02 of 2 CPUs busy, and the case's threads waited 0.98 s per second for one: its times "
        "are not its own; end other processes (see `top`), or lower threads"
    )


@pytest.mark.parametrize(("threads", "cpus", "warns"), [(2, 2, False), (3, 2, True), (2, 1, True)])
def test_oversubscribed_where_there_are_more_threads_than_cpus(threads: int, cpus: int, warns: bool) -> None:
    around = replace(PLAIN, threads=threads, cpus=cpus)
    assert codes(around, run_delay=1.0) == ["oversubscribed"] * warns


def test_oversubscribed_names_the_affinity_and_the_threads_that_would_fit() -> None:
    (caution,) = found(replace(PLAIN, threads=2, cpus=1))
    assert caution.message == (
        "2 threads on the 1 CPU that the process may use (its affinity) wait for each other; use threads=1, "
        "or let it use more CPUs"
    )


@pytest.mark.parametrize(("quota", "warns"), [(2.0, False), (1.9, True), (None, False)])
def test_threads_above_the_quota_are_oversubscribed(quota: float | None, warns: bool) -> None:
    assert codes(replace(PLAIN, quota=quota)) == ["oversubscribed"] * warns


@pytest.mark.parametrize(
    ("quota", "remedy"), [(1.5, "; use threads=1, or raise the quota"), (0.5, "; raise the quota")]
)
def test_oversubscribed_names_the_quota_and_the_threads_that_would_fit(quota: float, remedy: str) -> None:
    (caution,) = found(replace(PLAIN, quota=quota))
    assert f"the control group grants the time of {quota} CPUs (its quota)" in caution.message
    assert caution.message.endswith(remedy)


def test_the_tighter_of_two_limits_is_not_warned_of_twice() -> None:
    assert codes(replace(PLAIN, threads=4, cpus=2, quota=1.0)) == ["oversubscribed"]


@pytest.mark.parametrize(("throttled", "warns"), [(0.019, False), (0.021, True), (None, False)])
def test_a_quota_that_stopped_it_for_one_percent_of_the_time_throttled_it(
    throttled: float | None, warns: bool
) -> None:
    assert codes(throttled=throttled) == ["throttled"] * warns


@pytest.mark.parametrize(("quota", "text"), [(2.0, "quota of 2 CPUs stopped"), (None, "quota stopped")])
def test_throttled_says_for_how_long(quota: float | None, text: str) -> None:
    (caution,) = found(replace(PLAIN, quota=quota), throttled=1.25)
    assert text in caution.message
    assert "for 1.2 s (of all CPUs together) in 2 s of sampling; raise the quota" in caution.message


@pytest.mark.parametrize(
    ("steal", "seconds", "warns"),
    [
        (0.025, 2.0, True),
        (0.019, 100.0, False),  # too little to matter
        (0.04, 1.0, False),  # four counts of the kernel may be five, or three
        (None, 2.0, False),
    ],
)
def test_time_is_stolen_if_the_hypervisor_ran_something_else(
    steal: float | None, seconds: float, warns: bool
) -> None:
    assert codes(steal=steal, sampling_seconds=seconds) == ["stolen"] * warns


@pytest.mark.parametrize(("share", "warns"), [(0.2, True), (0.199, False), (None, False)])
def test_page_faults_are_warned_of_from_a_fifth_of_the_time(share: float | None, warns: bool) -> None:
    assert codes(page_fault_share=share) == ["page_faults"] * warns


def test_page_faults_names_the_allocator_and_the_option() -> None:
    (caution,) = found(page_faults_per_call=12514.3, page_fault_share=0.804)
    assert caution.message == (
        "12514 page faults per call explain about 80 % of the time: the allocator (glibc 2.36) gives memory "
        "back to the kernel after each call; try allocator=tuned"
    )


@pytest.mark.parametrize(
    ("allocator", "remedy"),
    [
        ("glibc 2.36, tuned", "huge pages (THP_MEM_ALLOC_ENABLE=1), or lower batch_size"),
        ("tcmalloc", "huge pages (THP_MEM_ALLOC_ENABLE=1), or lower batch_size"),
        ("jemalloc", "try MALLOC_CONF=dirty_decay_ms:-1"),
    ],
)
def test_page_faults_of_an_allocator_that_should_keep_memory_have_another_remedy(
    allocator: str, remedy: str
) -> None:
    (caution,) = found(replace(PLAIN, allocator=allocator), page_fault_share=0.5)
    assert remedy in caution.message
    assert not caution.message.endswith("try allocator=tuned")


@pytest.mark.parametrize(
    ("governors", "boosts", "cause"),
    [
        (["performance"], False, None),
        ([], None, None),
        (["schedutil"], False, "for the governor is schedutil; hold it"),
        (["performance", "powersave"], None, "for the governor is powersave; hold it"),
        (["performance"], True, "for turbo is on; switch turbo off"),
        (["ondemand", "powersave"], True, "for the governor is ondemand and powersave and turbo is on; hold"),
    ],
)
def test_frequency_scaling_where_the_clock_rate_is_free(
    governors: list[str], boosts: bool | None, cause: str | None
) -> None:
    messages = [each.message for each in found(replace(PLAIN, governors=governors, boosts=boosts))]
    assert len(messages) == (0 if cause is None else 1)
    assert all(cause in message for message in messages if cause)


@pytest.mark.parametrize(("times", "text"), [(1, "slowed the CPUs 1 time "), (3, "slowed the CPUs 3 times ")])
def test_heat_that_slowed_the_cpus_is_warned_of(times: int, text: str) -> None:
    (caution,) = found(thermal_throttles=times)
    assert caution.code is WarningCode.THERMAL
    assert text in caution.message


def test_a_discharging_battery_is_warned_of() -> None:
    (caution,) = found(replace(PLAIN, on_battery=True))
    assert caution.code is WarningCode.ON_BATTERY
    assert "plug in" in caution.message


def test_warnings_on_the_machine_have_the_same_text_in_each_round() -> None:
    """A report then says it once, however many rounds and cases there are."""
    around = replace(PLAIN, threads=3, cpus=2, governors=["powersave"], boosts=True, on_battery=True)
    first = found(around)
    later = found(around, sampling_seconds=5.0, involuntary_switches=77, run_delay=0.04, cpu_frequency=1e9)
    assert [each.code.value for each in first] == ["oversubscribed", "frequency_scaling", "on_battery"]
    assert later == first


def test_every_message_is_one_line_that_ends_in_a_remedy() -> None:
    around = replace(PLAIN, threads=3, governors=["powersave"], boosts=True, on_battery=True)
    disturbed = found(
        around,
        run_delay=1.0,
        foreign_cpus=1.0,
        steal=0.1,
        throttled=1.0,
        thermal_throttles=2,
        page_fault_share=0.5,
    )
    assert len(disturbed) == 8
    for caution in disturbed:
        assert "\n" not in caution.message
        assert "; " in caution.message


def test_where_the_gpu_takes_the_time_the_hosts_speed_does_not_matter() -> None:
    around = replace(PLAIN, governors=["powersave"], boosts=True)
    slow = structs.replace(QUIET, page_fault_share=0.5, page_faults_per_call=100.0, thermal_throttles=1)
    codes_of = [
        [each.code.value for each in disturbances(slow, around, of_host=of_host)] for of_host in (True, False)
    ]
    assert codes_of == [["page_faults", "frequency_scaling", "thermal"], ["thermal"]]
