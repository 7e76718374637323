from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from microbench.metrics import machine


class Groups:
    """A made-up tree of control groups, and what the kernel tells this process of its place in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: dict[Path, str] = {}

    def are(self, *lines: str) -> None:
        """Let /proc/self/cgroup say this."""
        self.told[Path("/proc/self/cgroup")] = "\n".join(lines)

    def write(self, file: str, text: str) -> None:
        """Let a file below the root of all groups say this."""
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(text + "\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """No control groups yet, and a kernel that has none."""
    made_up, read = Groups(tmp_path / "cgroup"), machine._read
    monkeypatch.setattr(machine, "CGROUPS", made_up.root)

    def told(path: Path) -> str | None:
        return made_up.told.get(path) if path.is_relative_to("/proc") else read(path)

    monkeypatch.setattr(machine, "_read", told)
    return made_up


@pytest.fixture
def eight_threads(groups: Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores of two hyper-threads each: CPU i and i + 4 are one core."""
    monkeypatch.setattr(machine, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(machine, "usable_cpus", lambda: set(range(8)))
    for cpu in range(8):
        topology = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")


def test_this_machine_has_at_least_a_core_and_no_more_than_cpus() -> None:
    assert 1 <= machine.physical_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_cpu_has_one_core() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from microbench.metrics import machine; print(machine.physical_cores(), len(machine.usable_cpus()))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "1"]


@pytest.mark.usefixtures("eight_threads")
def test_hyper_threads_are_counted_once() -> None:
    assert machine.physical_cores() == 4


@pytest.mark.usefixtures("eight_threads")
@pytest.mark.parametrize(("usable", "cores"), [({0, 4}, 1), ({0, 1}, 2), ({5}, 1), ({0, 4, 5, 6}, 3)])
def test_affinity_is_obeyed(usable: set[int], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: usable)
    assert machine.physical_cores() == cores


@pytest.mark.usefixtures("eight_threads")
@pytest.mark.parametrize(
    ("limit", "quota", "cores"),
    [("max 100000", None, 4), ("150000 100000", 1.5, 1), ("50000 100000", 0.5, 1), ("900000 100000", 9.0, 4)],
)
def test_the_quota_of_a_control_group_is_obeyed(
    limit: str, quota: float | None, cores: int, groups: Groups
) -> None:
    groups.are("0::/job")
    groups.write("job/cpu.max", limit)
    assert machine.cpu_quota() == quota
    assert machine.physical_cores() == cores


@pytest.mark.parametrize(("limit", "quota"), [("250000", 2.5), ("-1", None)])
def test_the_quota_of_an_older_control_group_is_read(limit: str, quota: float | None, groups: Groups) -> None:
    groups.are("5:memory:/elsewhere", "4:cpu,cpuacct:/job", "1:name=systemd:/user:one")
    groups.write("cpu/job/cpu.cfs_quota_us", limit)
    groups.write("cpu/job/cpu.cfs_period_us", "100000")
    assert machine.cpu_quota() == quota


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
    assert machine.cpu_quota() == quota


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
    assert machine.cpu_quota() == quota


def test_the_groups_of_another_controller_are_not_looked_at(groups: Groups) -> None:
    groups.are("4:cpuset:/job", "3:cpu:/")
    groups.write("cpu/job/cpu.cfs_quota_us", "100000")
    groups.write("cpu/job/cpu.cfs_period_us", "100000")
    assert machine.cpu_quota() is None


def test_nothing_above_the_root_of_the_control_groups_is_read(groups: Groups) -> None:
    groups.are("0::/job")
    groups.write("../cpu.max", "100000 100000")
    assert machine.cpu_quota() is None


@pytest.mark.usefixtures("groups")
def test_without_a_control_group_there_is_no_quota_and_no_count_of_kills() -> None:
    assert machine.cpu_quota() is None
    assert machine.oom_kills() is None


EVENTS = "low 0\nhigh 0\nmax 12\noom 4\noom_kill {}\noom_group_kill 0"
VMSTAT = "pgfault 12\noom_kill 7\nnuma_hit 5"


@pytest.mark.parametrize(
    ("line", "file", "text"),
    [
        ("0::/job", "job/memory.events", EVENTS.format(3)),
        ("4:memory:/job", "memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3"),
    ],
)
def test_kills_for_want_of_memory_are_counted_in_the_own_control_group(
    line: str, file: str, text: str, groups: Groups
) -> None:
    groups.are(line)
    groups.told[Path("/proc/vmstat")] = VMSTAT
    groups.write(file, text)
    assert machine.oom_kills() == 3


def test_kills_are_those_of_the_nearest_control_group_that_counts_them(groups: Groups) -> None:
    groups.are("0::/outer/inner")
    groups.write("outer/memory.events", EVENTS.format(5))
    assert machine.oom_kills() == 5
    groups.write("outer/inner/memory.events", EVENTS.format(2))
    assert machine.oom_kills() == 2


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
    assert machine.oom_kills() == 7


def test_the_hosts_id_stays_the_same_and_tells_hosts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine.host_id()
    assert re.fullmatch(r"[0-9a-f]{12}", here)
    assert machine.host_id() == here
    monkeypatch.setattr(machine.platform, "node", lambda: "elsewhere")
    assert machine.host_id() != here


def test_the_environment_is_flat_and_says_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("KMP_AFFINITY", raising=False)
    environment = machine.environment()
    assert all(value is None or isinstance(value, (str, int, float)) for value in environment.values())
    assert environment["omp_num_threads"] == "3"
    assert environment["kmp_affinity"] is None
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    for package in ("torch", "torchvision", "numpy", "scipy", "microbench"):
        assert re.match(r"\d+\.\d+", str(environment[package])), package
    assert isinstance(environment["memory"], int)
    assert environment["memory"] > 2**28


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package",))
    assert machine.environment()["no-such-package"] is None
