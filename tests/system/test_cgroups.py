from __future__ import annotations

from pathlib import Path

import pytest

from microbench.system import cgroups

from .support import Groups


@pytest.mark.parametrize(("limit", "quota"), [("250000", 2.5), ("-1", None)])
def test_the_quota_of_an_older_control_group_is_read(limit: str, quota: float | None, groups: Groups) -> None:
    groups.are("5:memory:/elsewhere", "4:cpu,cpuacct:/job", "1:name=systemd:/user:one")
    groups.write("cpu/job/cpu.cfs_quota_us", limit)
    groups.write("cpu/job/cpu.cfs_period_us", "100000")
    assert cgroups.cpu_quota() == quota


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({"outer": "100000 50000", "outer/inner": "400000 100000"}, 2.0),  # the parent's is the tighter one
        ({"outer": "400000 100000", "outer/inner": "150000 100000"}, 1.5),
        ({"outer": "300000 100000", "outer/inner": "max 100000"}, 3.0),
        ({"outer": "300000 100000"}, 3.0),
        ({"": "250000 100000", "outer": "300000 100000"}, 2.5),  # a container's root has a limit of its own
        ({"outer/sibling": "100000 100000", "outer/inner/below": "100000 100000"}, None),
    ],
)
def test_the_tightest_quota_from_the_own_control_group_up_counts(
    limits: dict[str, str], quota: float | None, groups: Groups
) -> None:
    groups.are("0::/outer/inner")
    for group, limit in limits.items():
        groups.write(f"{group}/cpu.max".strip("/"), limit)
    assert cgroups.cpu_quota() == quota


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({"outer": ("100000", "50000"), "outer/inner": ("400000", "100000")}, 2.0),
        ({"outer": ("400000", "100000"), "outer/inner": ("150000", "100000")}, 1.5),
        ({"outer": ("300000", "100000"), "outer/inner": ("-1", "100000")}, 3.0),
        ({"": ("250000", "100000")}, 2.5),  # in a container, the path outside it is told
    ],
)
def test_the_tightest_quota_from_the_own_older_control_group_up_counts(
    limits: dict[str, tuple[str, str]], quota: float | None, groups: Groups
) -> None:
    groups.are("4:cpu,cpuacct:/outer/inner", "0::/")
    for group, (limit, period) in limits.items():
        groups.write(f"cpu/{group}/cpu.cfs_quota_us", limit)
        groups.write(f"cpu/{group}/cpu.cfs_period_us", period)
    assert cgroups.cpu_quota() == quota


def test_the_groups_of_another_controller_are_not_looked_at(groups: Groups) -> None:
    groups.are("4:cpuset:/job", "3:cpu:/")
    groups.write("cpu/job/cpu.cfs_quota_us", "100000")
    groups.write("cpu/job/cpu.cfs_period_us", "100000")
    assert cgroups.cpu_quota() is None


def test_nothing_above_the_root_of_the_control_groups_is_read(groups: Groups) -> None:
    groups.are("0::/job")
    groups.write("../cpu.max", "100000 100000")
    assert cgroups.cpu_quota() is None


@pytest.mark.usefixtures("groups")
def test_without_a_control_group_there_is_no_quota_and_no_count_of_kills() -> None:
    assert cgroups.cpu_quota() is None
    assert cgroups.oom_kills() is None


EVENTS = "low 0\nhigh 0\nmax 12\noom 4\noom_kill {}\noom_group_kill 0"
VMSTAT = "pgfault 12\noom_kill 7\nnuma_hit 5"


@pytest.mark.parametrize(
    ("line", "file", "text"),
    [
        ("0::/job", "job/memory.events", EVENTS.format(3)),
        ("4:memory:/job", "memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3"),
    ],
)
def test_kills_for_lack_of_memory_are_counted_in_the_own_control_group(
    line: str, file: str, text: str, groups: Groups
) -> None:
    groups.are(line)
    groups.told[Path("/proc/vmstat")] = VMSTAT
    groups.write(file, text)
    assert cgroups.oom_kills() == 3


def test_kills_are_those_of_the_nearest_control_group_that_counts_them(groups: Groups) -> None:
    groups.are("0::/outer/inner")
    groups.write("outer/memory.events", EVENTS.format(5))
    assert cgroups.oom_kills() == 5
    groups.write("outer/inner/memory.events", EVENTS.format(2))
    assert cgroups.oom_kills() == 2


@pytest.mark.parametrize(
    "text",
    [None, "oom_kill_disable 0\nunder_oom 0"],  # kernels before 4.13 do not count there
)
def test_kills_are_those_of_the_machine_where_no_control_group_counts_them(
    text: str | None, groups: Groups
) -> None:
    groups.are("4:memory:/job")
    groups.told[Path("/proc/vmstat")] = VMSTAT
    if text is not None:
        groups.write("memory/job/memory.oom_control", text)
    assert cgroups.oom_kills() == 7
