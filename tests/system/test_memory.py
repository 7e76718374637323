from __future__ import annotations

from pathlib import Path

import pytest

from microbench.system import cgroups, memory

from .support import Files, Groups


@pytest.fixture
def free(files: Files, monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes that the machine has left."""
    files.write("meminfo", "MemTotal: 16000 kB\nMemFree: 100 kB\nMemAvailable:    8000 kB")
    monkeypatch.setattr(memory, "MEMINFO", files.root / "meminfo")
    return 8000 * 1024


def test_without_limits_all_that_the_machine_has_left_is_available(free: int, groups: Groups) -> None:
    groups.are("0::/job")
    groups.write("job/memory.max", "max")
    groups.write("job/memory.current", "5000")
    groups.write("job/memory.stat", "anon 5000")
    assert memory.available() == free


def test_a_control_group_leaves_its_limit_without_what_it_uses_but_for_cached_files(
    free: int, groups: Groups
) -> None:
    groups.are("0::/outer/inner")
    for group, limit, used, cached in (("outer", 9000, 8000, 1), ("outer/inner", 5000, 3000, 500)):
        groups.write(f"{group}/memory.max", str(limit))
        groups.write(f"{group}/memory.current", str(used))
        groups.write(f"{group}/memory.stat", f"anon 1\ninactive_file {cached}\nactive_file 7")
    assert cgroups.memory_left() == [2500, 1001]
    assert memory.available() == 1001


def test_an_older_control_group_tells_the_same(free: int, groups: Groups) -> None:
    groups.are("5:memory:/job")
    groups.write("memory/job/memory.limit_in_bytes", "5000")
    groups.write("memory/job/memory.usage_in_bytes", "3000")
    groups.write("memory/job/memory.stat", "inactive_file 500")
    groups.write("memory/memory.limit_in_bytes", str(2**63 - 4096))
    groups.write("memory/memory.usage_in_bytes", "3000")
    groups.write("memory/memory.stat", "inactive_file 500")
    assert memory.available() == 2500


def test_a_group_above_its_limit_has_nothing_left(groups: Groups) -> None:
    groups.are("0::/job")
    groups.write("job/memory.max", "1000")
    groups.write("job/memory.current", "1500")
    groups.write("job/memory.stat", "inactive_file 0")
    assert cgroups.memory_left() == [0]


def test_where_nothing_tells_nothing_is_known(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", Path("/proc/nowhere"))
    assert memory.available() is None
