"""Energy that the processors took, from their own counters (RAPL).

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
        energy: in µJ; begins again at 0 after `most`.
        most: the highest number of µJ that it counts to.
    """

    energy: int
    most: int


def readings() -> dict[str, Reading] | None:
    """The counter of each package, by its folder's name; None without any, or where one may not be read."""
    found: dict[str, Reading] = {}
    for package in _packages():
        energy, most = number(package / "energy_uj"), number(package / "max_energy_range_uj")
        if energy is None or most is None:
            return None
        found[package.name] = Reading(energy, most)
    return found or None


def _packages() -> Iterable[Path]:
    """The folders of packages (sockets): their parts, such as cores, lie in them and are counted by them.

    The platform (`psys`) holds the packages again, and so does what is told through another interface
    (`intel-rapl-mmio`).
    """
    folders = sorted(POWERCAP.glob("intel-rapl:*"))
    return [
        each
        for each in folders
        if each.name.count(":") == 1 and (read(each / "name") or "").startswith("package")
    ]


class Meter:
    """Measures the energy of all packages between entering and leaving it, as a context manager.

    All that runs on the machine is counted, and the memory's energy is not. The counters move about once a
    millisecond, and begin again after some minutes at full power: one such turn is seen, more are not.
    """

    def __init__(self) -> None:
        self._before: dict[str, Reading] | None = None
        self._after: dict[str, Reading] | None = None

    def __enter__(self) -> Meter:
        """Begin."""
        self._before, self._after = readings(), None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._after = readings()

    @property
    def joules(self) -> float | None:
        """What was measured; None where there are no counters, or they may not be read."""
        if self._before is None or self._after is None or self._before.keys() != self._after.keys():
            return None
        used = [_between(self._before[name], self._after[name]) for name in self._before]
        return sum(used) * 1e-6


def _between(before: Reading, after: Reading) -> int:
    """The µJ from one reading to a later one."""
    used = after.energy - before.energy
    return used if used >= 0 else used + after.most
