from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from microbench.system import load
from microbench.system.load import CpuTimes, cpu_times, run_delays, waited_between

from .support import Files

linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux tells")

STAT = """\
cpu  3000 0 0 0 0 0 0 0 0 0
cpu0 100 20 30 4000 500 6 7 80 9 10
cpu1 200 0 0 1 1 0 0 0 0 0
cpu10 1000 0 0 0 0 0 0 20 0 0
intr 5 6 7 8 9 10 11 12
"""


@pytest.fixture
def stat(files: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A made-up /proc/stat, in hundredths of a second."""
    monkeypatch.setattr(load, "STAT", files.root / "stat")
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    files.write("stat", STAT)
    return files


@pytest.mark.usefixtures("stat")
@pytest.mark.parametrize(
    ("among", "busy", "stolen"),
    [
        ([0], 1.63, 0.8),  # user, nice, system, irq, softirq; guests are in user and nice
        ([1], 2.0, 0.0),  # neither idle nor waiting for a disk
        ([10], 10.0, 0.2),
        ([0, 10], 11.63, 1.0),
    ],
)
def test_a_cpus_times_are_its_own_in_seconds(among: list[int], busy: float, stolen: float) -> None:
    times = cpu_times(among)
    assert times is not None
    assert (times.busy, times.stolen) == (pytest.approx(busy), pytest.approx(stolen))


@pytest.mark.usefixtures("stat")
def test_times_are_unknown_where_one_of_the_cpus_is_not_told() -> None:
    assert cpu_times([0, 2]) is None


@pytest.mark.parametrize("text", ["", "cpu 1 2 3 4 5 6 7 8", "cpu0 1 2 3 4"])  # before Linux 2.6.11: no steal
def test_times_are_unknown_where_the_kernel_does_not_tell_them(text: str, stat: Files) -> None:
    stat.write("stat", text)
    assert cpu_times([0]) is None


def test_times_are_unknown_without_the_file(stat: Files) -> None:
    (stat.root / "stat").unlink()
    assert cpu_times([0]) is None


@linux
def test_the_times_of_this_machine_grow() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    before = cpu_times(cpus)
    start = time.process_time()
    while time.process_time() - start < 0.1:
        pass
    after = cpu_times(cpus)
    assert isinstance(before, CpuTimes)
    assert isinstance(after, CpuTimes)
    assert after.busy > before.busy


@pytest.fixture
def tasks(files: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Made-up threads of this process: a folder each."""
    monkeypatch.setattr(load, "TASKS", files.root)
    return files


def test_how_long_each_thread_waited_is_its_second_number_in_seconds(tasks: Files) -> None:
    tasks.write("11/schedstat", "5000000000 250000000 17")
    tasks.write("12/schedstat", "0 0 1")
    assert run_delays() == {11: 0.25, 12: 0.0}


def test_a_thread_that_ends_while_it_is_read_is_left_out(tasks: Files) -> None:
    tasks.write("11/schedstat", "5000000000 250000000 17")
    (tasks.root / "12").mkdir()
    assert run_delays() == {11: 0.25}


def test_waiting_is_unknown_to_a_kernel_that_does_not_count(tasks: Files) -> None:
    tasks.write("11/schedstat", "0 0 0")
    assert run_delays() is None


def test_waiting_is_unknown_where_threads_are_not_told(tasks: Files) -> None:
    tasks.root.rmdir()
    assert load.threads() == []
    assert run_delays() is None


@pytest.mark.parametrize(
    ("before", "after", "waited"),
    [
        ({1: 0.5, 2: 1.0}, {1: 0.75, 2: 1.5}, 0.75),
        ({1: 0.5}, {1: 0.5, 2: 0.25}, 0.25),  # the second one has started meanwhile
        ({1: 0.5, 2: 1.0}, {1: 0.75}, 0.25),  # it has ended
        ({1: 0.5}, {1: 0.125}, 0.125),  # it has ended, and another one got its id
        ({}, {}, 0.0),
    ],
)
def test_waiting_is_added_over_threads_that_come_and_go(
    before: dict[int, float], after: dict[int, float], waited: float
) -> None:
    assert waited_between(before, after) == waited


@linux
def test_threads_that_share_a_cpu_wait_for_each_other() -> None:
    before = run_delays()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_spin_on_the_first_cpu, (0.2, 0.2)))
        after = run_delays()
    assert before is not None
    assert after is not None
    assert waited_between(before, after) > 0


def _spin_on_the_first_cpu(seconds: float) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread alone
    start = time.thread_time()
    while time.thread_time() - start < seconds / 2:
        pass


def test_the_cpus_of_a_process_are_those_of_all_its_threads(
    tasks: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where OpenMP binds each thread, the first one too, and one thread ends meanwhile."""
    bound = {11: {0}, 12: {1, 2}}

    def affinity(thread: int) -> set[int]:
        if thread not in bound:
            raise ProcessLookupError
        return bound[thread]

    for thread in (11, 12, 13):
        (tasks.root / str(thread)).mkdir()
    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    assert load.allowed_cpus() == {0, 1, 2}


@linux
def test_of_another_process_its_own_threads_are_reported() -> None:
    """A process bound to one CPU, which spins on it, and whose waiting for it is counted."""
    cpu = min(os.sched_getaffinity(0))
    script = f"import os; os.sched_setaffinity(0, [{cpu}]); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = load.threads(other.pid), load.allowed_cpus(other.pid), run_delays(other.pid)
        other.kill()
    assert found[0] == [other.pid]
    assert found[1] == {cpu}
    assert found[2] is not None
    assert list(found[2]) == [other.pid]


@linux
def test_this_process_may_run_somewhere() -> None:
    assert load.allowed_cpus() >= os.sched_getaffinity(0)
