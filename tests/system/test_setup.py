from __future__ import annotations

import json
from itertools import count

import pytest

from microbench.system import cgroups, cpus, frequency, setup

from .support import Files, Groups

GUEST = "processor\t: 0\nflags\t\t: fpu vme sse2 hypervisor lahf_lm\n"
BARE = "processor\t: 0\nflags\t\t: fpu vme sse2 lahf_lm\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm\n"


@pytest.fixture
def planted(files: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A system that tells nothing, but for what a test plants."""
    for module, name, place in (
        (setup, "CPUINFO", "cpuinfo"),
        (setup, "MEMINFO", "meminfo"),
        (setup, "NODES", "node"),
        (setup, "TRANSPARENT", "thp"),
        (setup, "CLOCK_SOURCE", "clocksource0"),
        (setup, "HYPERVISOR", "hypervisor/type"),
        (setup, "DMI", "dmi"),
        (setup, "CPUS", "cpu"),
        (cpus, "CPUS", "cpu"),
        (frequency, "CPUS", "cpu"),
        (frequency, "BOOST", "cpu/cpufreq/boost"),
        (frequency, "NO_TURBO", "cpu/intel_pstate/no_turbo"),
        (setup, "SUPPLIES", "power_supply"),
        (cgroups, "ROOT", "cgroup"),
        (cgroups, "MEMBERSHIP", "self/cgroup"),
    ):
        monkeypatch.setattr(module, name, files.root / place)
    monkeypatch.setattr(cpus, "usable", lambda: {0, 1})
    return files


def test_a_system_that_tells_nothing_is_not_guessed_at(
    planted: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(setup.os, "getloadavg")
    found = setup.checkup()
    measured = {"clock_step", "clock_cost"}
    assert {name for name, value in found.items() if value is not None} == measured
    assert len(found) >= 20


def test_what_is_found_is_flat_and_json() -> None:
    found = setup.checkup()
    assert all(value is None or isinstance(value, (str, int, float)) for value in found.values())
    json.dumps(found, allow_nan=False)


def test_each_field_says_what_was_planted(planted: Files) -> None:
    planted.write("cpuinfo", GUEST)
    planted.write("meminfo", "MemTotal:  100 kB\nHugePages_Total:     512\nHugepagesize:       2048 kB")
    planted.write("thp", "always [madvise] never")
    planted.write("clocksource0/current_clocksource", "hpet")
    planted.write("clocksource0/available_clocksource", "tsc hpet acpi_pm")
    planted.write("dmi/sys_vendor", "QEMU")
    planted.write("dmi/product_name", "Standard PC")
    planted.write("cpu/smt/active", 1)
    planted.write("cpu/intel_pstate/no_turbo", 0)
    planted.write("cgroup/cgroup.controllers", "cpu memory")
    planted.write("power_supply/BAT0/type", "Battery")
    planted.write("power_supply/BAT0/status", "Discharging")
    for cpu in (0, 1):
        planted.write(f"cpu/cpu{cpu}/topology/physical_package_id", cpu)
        planted.write(f"cpu/cpu{cpu}/cpufreq/scaling_governor", "powersave")
        planted.write(f"node/node{cpu}/cpu{cpu}/online", 1)
    planted.write("node/node2/cpu7/online", 1)  # none of this process's CPUs lies there
    planted.write("cpu/cpu0/cpufreq/scaling_driver", "intel_pstate")
    planted.write("cpu/cpu0/cpufreq/scaling_min_freq", 800000)
    planted.write("cpu/cpu0/cpufreq/scaling_max_freq", 3500000)
    expected = {
        "smt": True,
        "sockets": 2,
        "numa_nodes": 2,
        "governor": "powersave",
        "turbo": True,
        "frequency_driver": "intel_pstate",
        "frequency_min": 0.8e9,
        "frequency_max": 3.5e9,
        "cgroup_version": 2,
        "thp": "madvise",
        "huge_pages": 512,
        "huge_page_size": 2 * 2**20,
        "clock_source": "hpet",
        "clock_sources": "tsc hpet acpi_pm",
        "hypervisor": "QEMU Standard PC",
        "on_battery": True,
    }
    found = setup.checkup()
    assert {name: found[name] for name in expected} == expected


def test_a_limit_of_the_control_group_s_memory_is_reported(groups: Groups) -> None:
    groups.are("0::/job")
    groups.write("cgroup.controllers", "cpu memory")
    groups.write("job/memory.max", str(2**31))
    found = setup.checkup()
    assert (found["cgroup_version"], found["memory_limit"]) == (2, 2**31)


@pytest.mark.parametrize(
    ("folder", "version"), [("cpu", 1), ("memory", 1), ("unified", None), ("systemd", None)]
)
def test_older_control_groups_have_a_folder_a_controller(
    folder: str, version: int | None, groups: Groups
) -> None:
    (groups.root / folder).mkdir(parents=True)
    assert cgroups.version() == version


@pytest.mark.parametrize(("cpuinfo", "name"), [(BARE, "none"), (GUEST, "unnamed"), (ARM, None), ("", None)])
def test_x86_tells_guests_that_they_are_and_others_do_not(
    cpuinfo: str, name: str | None, planted: Files
) -> None:
    planted.write("cpuinfo", cpuinfo)
    assert setup.virtualization() == name


def test_a_hypervisor_that_names_itself_is_named(planted: Files) -> None:
    planted.write("cpuinfo", BARE)  # a paravirtual guest may not have the flag
    planted.write("hypervisor/type", "xen")
    assert setup.virtualization() == "xen"


@pytest.mark.parametrize(
    ("siblings", "shared"), [(("0", "1"), False), (("0,4", "1,5"), True), (("0-1", "0-1"), True)]
)
def test_without_a_word_on_hyper_threads_the_topology_tells(
    siblings: tuple[str, str], shared: bool, planted: Files
) -> None:
    for cpu, text in enumerate(siblings):
        planted.write(f"cpu/cpu{cpu}/topology/thread_siblings_list", text)
    assert setup.hyper_threads({0, 1}) is shared


def test_hyper_threads_that_are_off_are_off(planted: Files) -> None:
    planted.write("cpu/smt/active", 0)
    assert setup.hyper_threads({0, 1}) is False


@pytest.mark.parametrize(
    ("supplies", "on"),
    [
        ({}, False),
        ({"AC": {"type": "Mains"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Charging"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}}, True),
    ],
)
def test_a_machine_without_a_battery_is_not_on_one(
    supplies: dict[str, dict[str, str]], on: bool, planted: Files
) -> None:
    (planted.root / "power_supply").mkdir()
    for supply, told in supplies.items():
        for file, text in told.items():
            planted.write(f"power_supply/{supply}/{file}", text)
    assert setup.checkup()["on_battery"] is on


def test_static_huge_pages_are_counted_with_their_size(planted: Files) -> None:
    planted.write("meminfo", "HugePages_Total:       0\nHugepagesize:    1048576 kB")
    assert setup.static_huge_pages() == (0, 2**30)


def test_the_clocks_step_is_the_smallest_one_that_is_none_of_nought() -> None:
    readings = iter([0, 0, 100, 100, 130, 230])
    assert setup.clock_step(lambda: next(readings), 6) == pytest.approx(30e-9)


def test_a_clock_that_stands_still_has_no_step() -> None:
    assert setup.clock_step(lambda: 7) is None


def test_this_machine_s_clock_moves_and_is_read_in_no_time() -> None:
    step = setup.clock_step()
    assert step is not None
    assert step > 0
    assert setup.clock_cost() > 0


def test_a_clock_is_read_as_often_as_its_cost_is_divided_by() -> None:
    calls = count()
    setup.clock_cost(lambda: next(calls), 10)
    assert next(calls) == 10 * setup.REPEATS


@pytest.fixture
def supplies(files: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A made-up folder of power supplies."""
    monkeypatch.setattr(setup, "SUPPLIES", files.root)
    return files


@pytest.mark.parametrize(
    ("states", "on_battery"),
    [
        (["Discharging"], True),
        (["Charging"], False),
        (["Full"], False),
        (["Not charging"], False),
        (["Full", "Discharging"], True),
    ],
)
def test_a_machine_with_a_discharging_battery_is_on_battery(
    states: list[str], on_battery: bool, supplies: Files
) -> None:
    supplies.write("AC/type", "Mains")
    for number, state in enumerate(states):
        supplies.write(f"BAT{number}/type", "Battery")
        supplies.write(f"BAT{number}/status", state)
    assert setup.draining_battery() is on_battery


def test_the_battery_of_a_mouse_is_not_the_machines(supplies: Files) -> None:
    supplies.write("mouse/type", "Battery")
    supplies.write("mouse/scope", "Device")
    supplies.write("mouse/status", "Discharging")
    assert setup.draining_battery() is None


def test_a_machine_without_a_battery_does_not_say(supplies: Files) -> None:
    supplies.write("AC/type", "Mains")
    assert setup.draining_battery() is None


def test_a_system_without_the_folder_reports_no_battery(supplies: Files) -> None:
    supplies.root.rmdir()
    assert setup.draining_battery() is None
