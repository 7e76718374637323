"""The advice on a machine, from the fields of its records."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from factory import QUIET as QUIET_READINGS
from factory import configured, split
from msgspec.structs import replace

from microbench.records.cases import cases_of
from microbench.records.record import BenchmarkWarning, Machine, Process, WarningCode
from microbench.tables.machine_checks import (
    RULES,
    SAID_BY,
    USEFUL_FIRST,
    Finding,
    Seen,
    findings,
    other_warnings,
    seen,
    useful_first,
)

QUIET = {
    "cpu": "Some CPU",
    "physical_cores": 4,
    "usable_cpus": 8,
    "smt": False,
    "sockets": 1,
    "numa_nodes": 1,
    "cpu_quota": None,
    "cgroup_version": 2,
    "memory": 2**34,
    "memory_limit": None,
    "governor": "performance",
    "turbo": False,
    "frequency_driver": "intel_pstate",
    "frequency_min": 0.8e9,
    "frequency_max": 3.5e9,
    "on_battery": False,
    "hypervisor": "none",
    "load_average": 0.02,
    "thp": "madvise",
    "huge_pages": 0,
    "huge_page_size": 2**21,
    "allocator": "glibc 2.36",
    "threads": 4,
    "clock_source": "tsc",
    "clock_sources": "tsc hpet",
    "clock_step": 30e-9,
    "clock_cost": 40e-9,
}
"""A machine on which there is nothing to improve."""


def on(
    env: dict[str, Any] | None = None,
    readings: dict[str, float] | None = None,
    settings: dict[str, Any] | None = None,
    warned: Collection[WarningCode] = (),
) -> dict[str, Finding]:
    """Return the findings on the quiet machine, except for what is given."""
    machine, process = split(QUIET | (env or {}))
    this = Seen(machine, process, configured(**(settings or {})), readings or {}, warned)
    return {each.name: each for each in findings(this)}


def test_every_finding_on_a_quiet_machine_is_read_and_fine() -> None:
    assert [each for each in on().values() if each.advice] == []
    assert [each.name for each in on().values() if each.value is None] == []
    assert len(on()) == len(RULES)


def test_unknown_facts_are_not_guessed() -> None:
    found = [rule(Seen(Machine(), Process(), configured(), {})) for rule in RULES]
    assert [each for each in found if each.value is not None or each.advice] == []


PROBLEMS: list[tuple[str, dict[str, Any], dict[str, float], str, str | None]] = [
    # The finding, the machine's facts, the sensors' readings, the value, and the command.
    ("hyper-threads", {"smt": True}, {}, "on", "microbench … affinity=compact"),
    ("memory nodes", {"numa_nodes": 2}, {}, "1 socket, 2 NUMA nodes", "numactl --cpunodebind=0 --membind=0"),
    ("memory nodes", {"sockets": 2}, {}, "2 sockets, 1 NUMA node", "numactl --cpunodebind=0"),
    ("CPU quota", {"cpu_quota": 2.5}, {}, "2.5 CPUs", "docker run --cpuset-cpus=0-1"),
    ("CPU quota", {"cpu_quota": 6.0}, {"throttled": 0.2}, "6 CPUs", "docker run --cpuset-cpus=0-1"),
    ("governor", {"governor": "powersave"}, {}, "powersave", "sudo cpupower frequency-set -g performance"),
    ("governor", {"governor": "performance, schedutil"}, {}, "performance, schedutil", "sudo cpupower"),
    ("turbo", {"turbo": True}, {}, "on", "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"),
    (
        "turbo",
        {"turbo": True, "frequency_driver": "acpi-cpufreq"},
        {},
        "on",
        "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost",
    ),
    ("power", {"on_battery": True}, {}, "battery", None),
    ("virtualization", {"hypervisor": "KVM"}, {}, "virtual machine (KVM)", None),
    ("virtualization", {"hypervisor": "unnamed"}, {}, "virtual machine", None),
    ("other load", {"load_average": 2.5}, {}, "load average 2.50 at the start", "top"),
    ("other load", {}, {"foreign_cpus": 0.42}, "other processes used 0.42 CPUs", "top"),
    ("transparent huge pages", {"thp": "never"}, {}, "never", "/sys/kernel/mm/transparent_hugepage/enabled"),
    (
        "clock source",
        {"clock_source": "hpet", "clock_cost": 1e-6},
        {},
        "hpet",
        "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    ("clock", {"clock_cost": 1e-6}, {}, "1.00 µs per reading", "measure.min_sample=0.0005"),
    ("clock", {"clock_step": 1e-5}, {}, "steps of 10.0 µs", "measure.min_sample=0.005"),
]


@pytest.mark.parametrize(("name", "env", "readings", "value", "command"), PROBLEMS)
def test_a_problem_is_shown_with_its_remedy(
    name: str, env: dict[str, Any], readings: dict[str, float], value: str, command: str | None
) -> None:
    finding = on(env, readings)[name]
    assert value in str(finding.value)
    assert finding.advice is not None
    assert len(finding.advice.text) > 20
    assert (command is None) == (finding.advice.command is None)
    assert (command or "") in (finding.advice.command or "")


HARMLESS: list[tuple[str, dict[str, Any], dict[str, float], dict[str, Any]]] = [
    ("hyper-threads", {"smt": True}, {}, {"affinity": "compact"}),
    ("CPU quota", {"cpu_quota": 4.0}, {"throttled": 0.0}, {}),
    ("other load", {"load_average": 3.0}, {"foreign_cpus": 0.01}, {}),  # gone by the time of measuring
    ("memory allocator", {}, {"page_faults_per_call": 900.0}, {}),  # no worker has warned of them
    ("transparent huge pages", {"thp": "always"}, {}, {}),
    ("clock source", {"clock_source": "kvm-clock"}, {}, {}),  # it is read just as fast
    ("clock source", {"clock_source": "hpet", "clock_sources": "hpet", "clock_cost": 1e-6}, {}, {}),
]


@pytest.mark.parametrize(("name", "env", "readings", "settings"), HARMLESS)
def test_harmless_facts_are_fine(
    name: str, env: dict[str, Any], readings: dict[str, float], settings: dict[str, Any]
) -> None:
    assert on(env, readings, settings)[name].advice is None


def test_a_shorter_sample_needs_a_better_clock() -> None:
    shorter = {"measure__min_sample": 1e-6}
    assert on()["clock"].advice is None
    assert on(settings=shorter)["clock"].advice is not None


def test_values_have_units() -> None:
    found = on({"memory_limit": 2**31, "huge_pages": 1024})
    assert found["memory"].value == "16.00 GiB, limited to 2.00 GiB by the control group"
    assert found["static huge pages"].value == "1,024 of 2.0 MiB"
    assert found["clock rate"].value == "0.80 – 3.50 GHz, set by intel_pstate"
    assert found["cores"].value == "4 cores, 8 CPUs usable"
    assert found["clock"].value == "steps of 30.0 ns, 40.0 ns per reading"


def test_the_quota_is_unknown_without_control_groups() -> None:
    assert on()["CPU quota"].value == "none"
    assert on({"cgroup_version": None})["CPU quota"].value is None


def test_another_allocator_is_advised_if_workers_warned_of_the_c_librarys() -> None:
    faults = {"page_faults_per_call": 1234.5}
    plain = on(readings=faults, warned={WarningCode.PAGE_FAULTS})["memory allocator"]
    assert "1,234 page faults per call" in str(plain.value)
    assert plain.advice is not None
    assert "allocator=tuned" in str(plain.advice.command)
    others = ({"settings": {"allocator": "tuned"}}, {"env": {"allocator": "jemalloc"}})
    for other in others:
        found = on(readings=faults, warned={WarningCode.PAGE_FAULTS}, **other)
        assert found["memory allocator"].advice is None


def test_steal_is_the_reason_if_workers_warned_of_it() -> None:
    quiet = on({"hypervisor": "KVM"}, {"steal": 0.001})
    robbed = on({"hypervisor": "KVM"}, {"steal": 0.12}, warned={WarningCode.STOLEN})
    assert "12 %" in str(robbed["virtualization"].advice)
    assert "%" not in str(quiet["virtualization"].advice)


def test_the_most_useful_advice_comes_first() -> None:
    found = on(
        {"hypervisor": "KVM", "governor": "powersave", "turbo": True, "on_battery": True, "load_average": 9.0}
    )
    names = [each.name for each in useful_first(list(found.values()))]
    assert names == ["power", "other load", "governor", "turbo", "virtualization"]


def test_every_finding_with_advice_has_its_place() -> None:
    advised = {name for name, *_ in PROBLEMS}
    assert advised | {"rounds", "memory allocator"} == set(USEFUL_FIRST)
    assert {name for names in SAID_BY.values() for name in names} <= set(USEFUL_FIRST)


def test_readings_are_the_mean_over_rounds(doctored: Any) -> None:
    records = doctored([1.0, 1.0], [1.0, 1.0], state={"foreign_cpus": 0.3, "steal": None})
    readings = replace(QUIET_READINGS, foreign_cpus=0.7)
    records[0] = replace(records[0], outcome=replace(records[0].outcome, readings=readings))
    this = seen(cases_of(records))
    assert this.readings["foreign_cpus"] == pytest.approx((0.7 + 3 * 0.3) / 4)
    assert "steal" not in this.readings
    assert this.machine.cpu == "Some CPU"
    assert this.config.batch_size == 1


def test_a_warning_that_no_advice_covers_is_advice_itself(doctored: Any) -> None:
    cautions = (
        BenchmarkWarning(WarningCode.DRIFT, "it drifts"),
        BenchmarkWarning(WarningCode.PAGE_FAULTS, "it faults"),
    )
    cases = cases_of(doctored([1.0] * 3, [1.0] * 3, warnings=cautions))
    found = [each.advice.text for each in other_warnings(cases, []) if each.advice]
    assert found == ["it drifts (in 6 of 6 rounds)", "it faults (in 6 of 6 rounds)"]
    allocator = on(warned={WarningCode.PAGE_FAULTS})["memory allocator"]
    assert [each.name for each in other_warnings(cases, [allocator])] == ["drift"]
    assert len(other_warnings(cases, [on()["memory allocator"]])) == 2  # it is fine and has no advice
