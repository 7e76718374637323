from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from microbench.system import cgroups, cpus

from .support import Groups


@pytest.fixture
def eight_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores of two hyper-threads each: CPU i and i + 4 are one core."""
    monkeypatch.setattr(cpus, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(cpus, "usable", lambda: set(range(8)))
    for cpu in range(8):
        topology = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")


def test_this_machine_has_at_least_a_core_and_no_more_than_cpus() -> None:
    assert 1 <= cpus.physical_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_cpu_has_one_core() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from microbench.system import cpus; print(cpus.physical_cores(), len(cpus.usable()))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "1"]


@pytest.mark.usefixtures("eight_threads")
def test_hyper_threads_are_counted_once() -> None:
    assert cpus.physical_cores() == 4


@pytest.mark.usefixtures("eight_threads")
@pytest.mark.parametrize(("usable", "cores"), [({0, 4}, 1), ({0, 1}, 2), ({5}, 1), ({0, 4, 5, 6}, 3)])
def test_affinity_is_obeyed(usable: set[int], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: usable)
    assert cpus.physical_cores() == cores


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
    assert cgroups.cpu_quota() == quota
    assert cpus.physical_cores() == cores
