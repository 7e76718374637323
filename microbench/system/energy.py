"""Energy that the processors used, from their own counters (RAPL).

Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, Running Average Power Limit; Linux's
Documentation/power/powercap/powercap.rst. AMD's processors are read under the same names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from microbench.system.files import number, read

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Reading:
    """A counter of energy.

    Attributes:
        energy: in µJ; restarts at 0 after `most`.
        most: the largest value, in µJ.
    """

    energy: int
    most: int


def readings() -> dict[str, Reading] | None:
    """Return each package's counter, by its folder's name; None if there is none or one is unreadable."""
    found: dict[str, Reading] = {}
    for package in _packages():
        energy, most = number(package / "energy_uj"), number(package / "max_energy_range_uj")
        if energy is None or most is None:
            return None
        found[package.name] = Reading(energy, most)
    return found or None


def _packages() -> Iterable[Path]:
    """Return the folders of packages (sockets), whose counters include their parts, such as cores.

    The platform (`psys`) and the other interface (`intel-rapl-mmio`) would count the packages again.
    """
    folders = sorted(POWERCAP.glob("intel-rapl:*"))
    return [
        each
        for each in folders
        if each.name.count(":") == 1 and (read(each / "name") or "").startswith("package")
    ]


class Meter:
    """A context manager that measures the energy of all packages.

    Everything that runs on the machine is counted, but not the memory's energy. The counters are updated
    about once per millisecond and wrap around after some minutes at full power: one wrap is detected, more
    are not.
    """

    def __init__(self) -> None:
        self._before: dict[str, Reading] | None = None
        self._after: dict[str, Reading] | None = None

    def __enter__(self) -> Meter:
        """Begin to measure."""
        self._before, self._after = readings(), None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the measurement."""
        self._after = readings()

    @property
    def joules(self) -> float | None:
        """The energy in joules; None if there are no counters or they are unreadable."""
        if self._before is None or self._after is None or self._before.keys() != self._after.keys():
            return None
        used = [_between(self._before[name], self._after[name]) for name in self._before]
        return sum(used) * 1e-6


def _between(before: Reading, after: Reading) -> int:
    """Return the µJ from one reading to a later one."""
    used = after.energy - before.energy
    return used if used >= 0 else used + after.most
