"""Where the machine's power comes from."""

from __future__ import annotations

from pathlib import Path

from microbench.system.files import read

SUPPLIES = Path("/sys/class/power_supply")


def on_battery() -> bool | None:
    """Whether one of the machine's own batteries is being used up; None on a machine without one.

    Linux's Documentation/ABI/testing/sysfs-class-power: a mouse's battery has the scope `Device`.
    """
    batteries = [supply for supply in _supplies() if read(supply / "type") == "Battery"]
    states = [read(battery / "status") for battery in batteries if read(battery / "scope") != "Device"]
    return any(state == "Discharging" for state in states) if states else None


def _supplies() -> list[Path]:
    try:
        return list(SUPPLIES.iterdir())
    except OSError:
        return []
