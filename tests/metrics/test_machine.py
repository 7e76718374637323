from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from microbench.metrics import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty control group."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    (tmp_path / "cgroup" / "cpu").mkdir(parents=True)
    (tmp_path / "cgroup" / "memory").mkdir()
    return tmp_path / "cgroup"


@pytest.fixture
def eight_threads(cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    limit: str, quota: float | None, cores: int, cgroup: Path
) -> None:
    (cgroup / "cpu.max").write_text(limit + "\n")
    assert machine.cpu_quota() == quota
    assert machine.physical_cores() == cores


@pytest.mark.parametrize(("limit", "quota"), [("250000", 2.5), ("-1", None)])
def test_the_quota_of_an_older_control_group_is_read(limit: str, quota: float | None, cgroup: Path) -> None:
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(limit + "\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.cpu_quota() == quota


@pytest.mark.usefixtures("cgroup")
def test_without_a_control_group_there_is_no_quota_and_no_count_of_kills() -> None:
    assert machine.cpu_quota() is None
    assert machine.oom_kills() is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 4\noom_kill 3\noom_group_kill 0\n"),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
    ],
)
def test_kills_for_want_of_memory_are_counted(file: str, text: str, cgroup: Path) -> None:
    (cgroup / file).write_text(text)
    assert machine.oom_kills() == 3


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
