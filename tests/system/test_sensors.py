from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import asdict

from microbench.records.record import Readings
from microbench.system import cgroups, frequency, load, process, sensors, setup
from microbench.system.load import CpuTimes
from microbench.system.process import Used
from microbench.system.sensors import MANY_FAULTS, Sensors

BEFORE: dict[str, Any] = {
    "cpu_times": CpuTimes(busy=100.0, stolen=1.0),
    "run_delays": {1: 0.5},
    "throttled_seconds": [1000.0, 3.0],  # of a group far above, long ago, and of the own one
    "thermal_throttles": 10,
    "page_faults": 1000,
    "involuntary_switches": 5,
    "user": 20.0,
    "system": 2.0,
    "wall": 50.0,
}
AFTER: dict[str, Any] = {  # two seconds later
    "cpu_times": CpuTimes(busy=106.0, stolen=3.0),
    "run_delays": {1: 1.0, 2: 0.5},
    "throttled_seconds": [1000.0, 3.25],
    "thermal_throttles": 12,
    "page_faults": 2000,
    "involuntary_switches": 9,
    "user": 22.0,
    "system": 3.0,
    "wall": 52.0,
}


class Kernel:
    """What the kernel tells: `BEFORE`, and from `turn` on `AFTER`, each changed by what a test gives."""

    def __init__(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.now, self.later = before, after

    def turn(self) -> None:
        self.now = self.later

    def usage(self, who: int) -> SimpleNamespace:
        return SimpleNamespace(
            ru_utime=self.now["user"],
            ru_stime=self.now["system"],
            ru_minflt=self.now["page_faults"],
            ru_nivcsw=self.now["involuntary_switches"],
        )


def read(monkeypatch: pytest.MonkeyPatch, calls: int = 100, **changed: Any) -> Readings:
    """Return the readings between `BEFORE` and `AFTER`; a change is a pair, or None if unreported."""
    before, after = dict(BEFORE), dict(AFTER)
    for name, told in changed.items():
        before[name], after[name] = told or ((None, None) if name != "throttled_seconds" else ([], []))
    kernel = Kernel(before, after)
    monkeypatch.setattr(load, "allowed_cpus", lambda pid: {0, 1})
    monkeypatch.setattr(load, "cpu_times", lambda among: kernel.now["cpu_times"])
    monkeypatch.setattr(load, "run_delays", lambda pid: kernel.now["run_delays"])
    monkeypatch.setattr(cgroups, "throttled_seconds", lambda: kernel.now["throttled_seconds"])
    monkeypatch.setattr(frequency, "thermal_throttles", lambda among: kernel.now["thermal_throttles"])
    monkeypatch.setattr(frequency, "clock_rate", lambda pid: 2.5e9)
    monkeypatch.setattr("resource.getrusage", kernel.usage)
    monkeypatch.setattr("time.perf_counter", lambda: kernel.now["wall"])
    monkeypatch.setattr(sensors, "page_fault_cost", lambda: 1e-3)
    with Sensors() as found:
        kernel.turn()
    return found.readings(calls)


def test_readings_are_what_happened_between_entering_and_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch) == Readings(
        sampling_seconds=2.0,
        page_faults_per_call=10.0,
        page_fault_cost=None,
        page_fault_share=None,
        involuntary_switches=4,
        cpu_utilization=1.5,  # three CPU seconds in two
        system_utilization=0.5,
        run_delay=0.5,  # half a second of the first thread, and half a second of a second one, in two
        foreign_cpus=1.5,  # the CPUs were busy for six seconds, and three of them were the process's own
        steal=0.25,  # two seconds of the eight in which the CPUs had work
        throttled=0.25,
        thermal_throttles=2,
        cpu_frequency=2.5e9,
    )


def test_what_the_kernel_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    untold = dict.fromkeys(("cpu_times", "run_delays", "throttled_seconds", "thermal_throttles"))
    readings = read(monkeypatch, **untold)
    none = {name for name, value in asdict(readings).items() if value is None}
    assert none == {
        "page_fault_cost",
        "page_fault_share",
        "run_delay",
        "foreign_cpus",
        "steal",
        "throttled",
        "thermal_throttles",
    }


def test_there_are_no_foreign_cpus_below_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPUs' time is counted in ticks: it may be less than the process's own."""
    assert read(monkeypatch, cpu_times=(CpuTimes(100.0, 0.0), CpuTimes(102.9, 0.0))).foreign_cpus == 0.0


def test_nothing_is_stolen_of_cpus_that_had_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, cpu_times=(CpuTimes(100.0, 5.0),) * 2).steal == 0.0


@pytest.mark.parametrize(
    ("calls", "cost", "share"),
    [
        (1000 // MANY_FAULTS, None, None),
        (1000 // MANY_FAULTS - 1, 1e-3, 1 / 3),  # 1000 faults of 1 ms in three CPU seconds
    ],
)
def test_the_cost_of_a_page_fault_is_measured_where_there_are_many(
    calls: int, cost: float | None, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = read(monkeypatch, calls)
    assert readings.page_fault_cost == cost
    assert readings.page_fault_share == (share if share is None else pytest.approx(share))


def test_page_faults_take_no_more_than_all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, calls=1, page_faults=(0, 10_000)).page_fault_share == 1.0


def test_surroundings_are_of_the_cpus_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "allowed_cpus", lambda pid: {2, 5})
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(frequency, "governors", lambda among: [f"of {sorted(among)}"])
    monkeypatch.setattr(frequency, "boosts", lambda: False)
    monkeypatch.setattr(setup, "draining_battery", lambda: True)
    around = Sensors().surroundings(threads=4, allocator="glibc 2.36")
    assert vars(around) == {
        "threads": 4,
        "cpus": 2,
        "quota": 1.5,
        "allocator": "glibc 2.36",
        "governors": ["of [2, 5]"],
        "boosts": False,
        "on_battery": True,
    }


def test_of_another_process_its_own_is_read_and_this_ones_work_is_not_foreign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other takes 0.5 CPU seconds of the six, this one takes three."""
    other = [Used(1.0, 0.0, 100, 1), Used(1.25, 0.25, 700, 3)]
    kernel = Kernel(dict(BEFORE), dict(AFTER))
    asked = []

    def by_process(pid: int | None) -> Any:
        asked.append(pid)
        return kernel.now["run_delays"]

    monkeypatch.setattr(load, "allowed_cpus", lambda pid: {0, 1} if pid == 7 else set())
    monkeypatch.setattr(load, "cpu_times", lambda among: kernel.now["cpu_times"])
    monkeypatch.setattr(load, "run_delays", by_process)
    monkeypatch.setattr(frequency, "clock_rate", lambda pid: 1e9 if pid == 7 else None)
    monkeypatch.setattr(process, "_used_by", lambda pid: other.pop(0))
    monkeypatch.setattr("resource.getrusage", kernel.usage)
    monkeypatch.setattr("time.perf_counter", lambda: kernel.now["wall"])
    monkeypatch.setattr(sensors, "page_fault_cost", lambda: 1e-4)
    with Sensors(7) as found:
        kernel.turn()
    readings = found.readings(calls=10)
    assert asked == [7, 7]
    assert found.cpus == {0, 1}
    assert (readings.cpu_utilization, readings.system_utilization) == (0.25, 0.125)
    assert (readings.page_faults_per_call, readings.involuntary_switches) == (60.0, 2)
    assert readings.page_fault_share == pytest.approx(600 * 1e-4 / 0.5)
    assert readings.foreign_cpus == pytest.approx((6.0 - 3.0 - 0.5) / 2.0)
    assert readings.cpu_frequency == 1e9


def test_the_sensors_of_this_machine_read_without_an_error() -> None:
    with Sensors() as found:
        sum(range(100_000))
    readings = found.readings(calls=1)
    assert readings.sampling_seconds > 0
    for name, value in asdict(readings).items():
        assert value is None or value >= 0, name
