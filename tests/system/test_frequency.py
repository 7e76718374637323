from __future__ import annotations

import pytest

from microbench.system import cpus, frequency

from .support import Files

CPUS = {0, 1, 2, 3}


@pytest.fixture
def cpu_files(files: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A made-up folder of CPUs, and of /proc."""
    monkeypatch.setattr(frequency, "CPUS", files.root)
    monkeypatch.setattr(cpus, "CPUS", files.root)
    monkeypatch.setattr(frequency, "BOOST", files.root / "cpufreq/boost")
    monkeypatch.setattr(frequency, "NO_TURBO", files.root / "intel_pstate/no_turbo")
    monkeypatch.setattr(frequency, "PROCESS", files.root / "stat")
    return files


@pytest.mark.usefixtures("cpu_files")
def test_unreported_values_are_unknown() -> None:
    assert frequency.governors(CPUS) == []
    assert frequency.boosts() is None
    assert frequency.clock_rate() is None
    assert frequency.thermal_throttles(CPUS) is None


def test_governors_are_those_of_the_requested_cpus_each_once(cpu_files: Files) -> None:
    for cpu, governor in enumerate(["schedutil", "performance", "schedutil", "powersave"]):
        cpu_files.write(f"cpu{cpu}/cpufreq/scaling_governor", governor)
    assert frequency.governors({1}) == ["performance"]
    assert frequency.governors({0, 1, 2}) == ["performance", "schedutil"]


@pytest.mark.parametrize(
    ("file", "text", "boosts"),
    [
        ("cpufreq/boost", 1, True),
        ("cpufreq/boost", 0, False),
        ("intel_pstate/no_turbo", 0, True),
        ("intel_pstate/no_turbo", 1, False),
    ],
)
def test_turbo_is_reported_by_either_driver(file: str, text: int, boosts: bool, cpu_files: Files) -> None:
    cpu_files.write(file, text)
    assert frequency.boosts() is boosts


def test_the_clock_rate_is_that_of_the_cpu_the_process_ran_on_in_hertz(cpu_files: Files) -> None:
    cpu_files.write("stat", "7 (a) b) S " + " ".join(["0"] * 35) + " 3 0 0")
    cpu_files.write("cpu0/cpufreq/scaling_cur_freq", 1_000_000)
    cpu_files.write("cpu3/cpufreq/scaling_cur_freq", 2_600_000)
    assert frequency.clock_rate() == 2.6e9


def test_the_clock_rate_of_another_process_is_that_of_its_cpu(
    cpu_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microbench.system.files.PROCESSES", cpu_files.root)
    cpu_files.write("9/stat", "9 (x) S " + " ".join(["0"] * 35) + " 1 0 0")
    cpu_files.write("cpu1/cpufreq/scaling_cur_freq", 3_000_000)
    assert frequency.clock_rate(9) == 3e9
    assert frequency.clock_rate(8) is None


def test_times_that_heat_slowed_a_package_count_once(cpu_files: Files) -> None:
    for cpu in CPUS:
        cpu_files.write(f"cpu{cpu}/topology/physical_package_id", cpu // 2)
        cpu_files.write(f"cpu{cpu}/thermal_throttle/core_throttle_count", 10**cpu)
        cpu_files.write(f"cpu{cpu}/thermal_throttle/package_throttle_count", 20000 * (1 + cpu // 2))
    assert frequency.thermal_throttles(CPUS) == 1111 + 20000 + 40000
    assert frequency.thermal_throttles({0, 1}) == 11 + 20000
