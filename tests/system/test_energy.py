from __future__ import annotations

from pathlib import Path

import pytest

from microbench.system import energy


class Powercap:
    """A machine's counters of energy, as Linux shows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def zone(self, folder: str, name: str, microjoules: int, most: int = 1_000_000_000) -> None:
        path = self.folder / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{most}\n")
        self.set(folder, microjoules)

    def set(self, folder: str, microjoules: int) -> None:
        (self.folder / folder / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Powercap:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return Powercap(tmp_path)


def test_energy_is_what_the_counter_moved_by(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 5_000_000)
    with energy.Meter() as meter:
        powercap.set("intel-rapl:0", 7_500_000)
    assert meter.joules == 2.5


def test_packages_add_up_and_what_they_hold_or_what_holds_them_does_not_count_twice(
    powercap: Powercap,
) -> None:
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:1": "package-1-die-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for folder, name in zones.items():
        powercap.zone(folder, name, 0)
    with energy.Meter() as meter:
        for place, folder in enumerate(zones):
            powercap.set(folder, 10**place)
    assert meter.joules == pytest.approx(11e-6)


def test_a_counter_may_begin_again_meanwhile(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 999_000_000, most=1_000_000_000)
    powercap.zone("intel-rapl:1", "package-1", 10_000_000, most=1_000_000_000)
    with energy.Meter() as meter:
        powercap.set("intel-rapl:0", 2_000_000)
        powercap.set("intel-rapl:1", 14_000_000)
    assert meter.joules == pytest.approx(3.0 + 4.0)


def test_a_machine_without_counters_tells_nothing(powercap: Powercap) -> None:
    with energy.Meter() as meter:
        pass
    assert meter.joules is None
    powercap.zone("intel-rapl:0", "psys", 5)
    with energy.Meter() as meter:
        pass
    assert meter.joules is None


@pytest.mark.parametrize("missing", ["energy_uj", "max_energy_range_uj"])
def test_a_machine_whose_counters_are_unreadable_has_no_energy(missing: str, powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 5)
    powercap.zone("intel-rapl:1", "package-1", 5)
    (powercap.folder / "intel-rapl:1" / missing).unlink()
    with energy.Meter() as meter:
        powercap.set("intel-rapl:0", 10)
    assert meter.joules is None


def test_a_machine_whose_counters_change_meanwhile_has_no_energy(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 5)
    with energy.Meter() as meter:
        powercap.zone("intel-rapl:1", "package-1", 5)
    assert meter.joules is None


def test_before_its_end_a_meter_tells_nothing(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 5)
    with energy.Meter() as meter:
        assert meter.joules is None
    assert meter.joules == 0.0
    with meter:
        powercap.set("intel-rapl:0", 6)
    assert meter.joules == pytest.approx(1e-6)
