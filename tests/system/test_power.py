from __future__ import annotations

import pytest

from microbench.system import power

from .support import Files


@pytest.fixture
def supplies(files: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A made-up folder of power supplies."""
    monkeypatch.setattr(power, "SUPPLIES", files.root)
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
def test_on_battery_where_one_is_being_used_up(states: list[str], on_battery: bool, supplies: Files) -> None:
    supplies.write("AC/type", "Mains")
    for number, state in enumerate(states):
        supplies.write(f"BAT{number}/type", "Battery")
        supplies.write(f"BAT{number}/status", state)
    assert power.on_battery() is on_battery


def test_the_battery_of_a_mouse_is_not_the_machines(supplies: Files) -> None:
    supplies.write("mouse/type", "Battery")
    supplies.write("mouse/scope", "Device")
    supplies.write("mouse/status", "Discharging")
    assert power.on_battery() is None


def test_a_machine_without_a_battery_does_not_say(supplies: Files) -> None:
    supplies.write("AC/type", "Mains")
    assert power.on_battery() is None


def test_nor_does_one_without_the_folder(supplies: Files) -> None:
    supplies.root.rmdir()
    assert power.on_battery() is None
