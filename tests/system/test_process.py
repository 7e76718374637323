from __future__ import annotations

import mmap
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from microbench.system import process
from microbench.system.process import PeakMemory, Usage, Used, page_fault_cost, used

from .support import Files

MIB = 2**20
SIZE = 64 * MIB

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")


def touched(size: int = SIZE) -> mmap.mmap:
    """Fresh memory, every small page of which has been written to."""
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for start in range(0, size, mmap.PAGESIZE):
        memory[start] = 1
    return memory


@linux
def test_peak_memory_counts_touched_memory_even_after_it_is_returned() -> None:
    meter = PeakMemory()
    touched().close()
    peak = meter.peak()
    assert peak is not None
    assert 60 * MIB < peak < 120 * MIB


@linux
def test_peak_memory_does_not_see_what_was_there_before() -> None:
    with touched():
        peak = PeakMemory().peak()
    assert peak is not None
    assert peak < 30 * MIB


@linux
def test_peak_memory_does_not_see_an_earlier_peak() -> None:
    touched().close()
    peak = PeakMemory().peak()
    assert peak is not None
    assert peak < 30 * MIB


@linux
def test_peak_memory_does_not_see_what_was_never_touched() -> None:
    meter = PeakMemory()
    with mmap.mmap(-1, SIZE):
        peak = meter.peak()
    assert peak is not None
    assert peak < 30 * MIB


@linux
def test_peak_memory_does_not_see_what_is_touched_and_given_back_while_it_pauses() -> None:
    meter = PeakMemory()
    touched(32 * MIB).close()
    with meter.paused():
        touched().close()
    peak = meter.peak()
    assert peak is not None
    assert 30 * MIB < peak < 60 * MIB  # what was touched before stays


@linux
def test_peak_memory_does_not_see_pages_of_files(tmp_path: Path) -> None:
    size = 32 * MIB
    (tmp_path / "file").write_bytes(bytes(size))
    meter, before = PeakMemory(), process._status_bytes("RssFile")
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert sum(data[start] for start in range(0, size, mmap.PAGESIZE)) == 0
        peak, after = meter.peak(), process._status_bytes("RssFile")
    assert before is not None
    assert after is not None
    assert after - before > 30 * MIB  # the pages did come in
    assert peak is not None
    assert peak < 8 * MIB


@linux
def test_peak_memory_counts_touched_memory_but_not_pages_of_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(32 * MIB))
    meter = PeakMemory()
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert sum(data[start] for start in range(0, 32 * MIB, mmap.PAGESIZE)) == 0
        touched().close()
        peak = meter.peak()
    assert peak is not None
    assert 60 * MIB < peak < 80 * MIB


@pytest.mark.parametrize(("files_after", "peak"), [(300, 600), (100, 800), (50, 800)])
def test_growth_of_file_pages_is_subtracted_and_shrinking_is_not_added(
    files_after: int, peak: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STATUS", tmp_path / "status")
    monkeypatch.setattr(process, "CLEAR_REFS", tmp_path / "clear_refs")
    lines = "Name:\tx\nVmHWM:\t{} kB\nVmRSS:\t{} kB\nRssFile:\t{} kB\n"
    (tmp_path / "status").write_text(lines.format(1000, 1000, 100))
    meter = PeakMemory()
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text(lines.format(1800, 1200, files_after))
    assert meter.peak() == peak * 1024


def test_peak_memory_is_unknown_where_the_kernel_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STATUS", tmp_path / "status")
    monkeypatch.setattr(process, "CLEAR_REFS", tmp_path / "no" / "clear_refs")
    meter = PeakMemory()
    with meter.paused():
        assert meter.peak() is None
    assert meter.peak() is None


@pytest.mark.skipif(not hasattr(mmap, "MADV_NOHUGEPAGE"), reason="huge pages may hide the small ones")
def test_usage_counts_the_faults_of_fresh_memory() -> None:
    pages = SIZE // mmap.PAGESIZE
    with Usage() as usage:
        touched().close()
    assert pages <= usage.page_faults < 1.5 * pages


def test_usage_tells_the_kernels_time_from_the_programs() -> None:
    with Usage() as usage:
        start = time.process_time()
        while time.process_time() - start < 0.05:
            pass
    assert usage.cpu_seconds >= 0.05
    assert 0 <= usage.system_seconds <= usage.cpu_seconds


BUSY = """
import mmap, sys, threading
print("ready", flush=True)
sys.stdin.readline()
def work():
    sum(range(4_000_000))
    memory = mmap.mmap(-1, 64 * 2**20)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[:: mmap.PAGESIZE] = bytes(len(memory) // mmap.PAGESIZE)
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("done", flush=True)
sys.stdin.readline()
"""


@linux
def test_what_another_process_uses_is_reported_of_all_its_threads_and_not_of_this_one() -> None:
    pages = 2 * SIZE // mmap.PAGESIZE
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdin is not None
        assert busy.stdout is not None
        busy.stdout.readline()
        meter, idle = PeakMemory(busy.pid), PeakMemory()
        with Usage(busy.pid) as usage, Usage() as own:
            busy.stdin.write("\n")
            busy.stdin.flush()
            busy.stdout.readline()
        peaks = meter.peak(), idle.peak()
        busy.stdin.write("\n")
    assert pages <= usage.page_faults < 1.5 * pages
    assert own.page_faults < pages / 4
    assert usage.cpu_seconds > 0.02 > own.cpu_seconds
    assert peaks[0] is not None
    assert peaks[1] is not None
    assert peaks[0] > 60 * MIB > peaks[1]


STATUS_OF_THREAD = "Name:\tx\nvoluntary_ctxt_switches:\t900\nnonvoluntary_ctxt_switches:\t{}\n"


def test_the_kernels_counts_of_another_process_are_read_in_their_units(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microbench.system.files.PROCESSES", files.root)
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.__getitem__)
    files.write("7/stat", "7 (a) b) S 1 1 1 0 -1 0 4096 55 9 8 250 50 7 7 20 0 2")  # utime, stime: 250, 50
    files.write("7/task/7/status", STATUS_OF_THREAD.format(3))
    files.write("7/task/8/status", STATUS_OF_THREAD.format(40))
    assert used(7) == Used(user=2.5, system=0.5, page_faults=4096, involuntary_switches=43)


def test_a_process_that_has_ended_has_used_nothing(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microbench.system.files.PROCESSES", files.root)
    assert used(7) == Used(0.0, 0.0, 0, 0)


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What the kernel and the clock tell, made up."""
    told = SimpleNamespace(usages=[], times=[])
    monkeypatch.setattr(resource, "getrusage", lambda who: told.usages.pop(0))
    monkeypatch.setattr(time, "perf_counter", lambda: told.times.pop(0))
    yield told
    assert told.usages == told.times == []


def usage_of(user: float, system: float, faults: int, switches: int) -> SimpleNamespace:
    return SimpleNamespace(ru_utime=user, ru_stime=system, ru_minflt=faults, ru_nivcsw=switches)


def test_usage_is_the_difference_between_entering_and_leaving(counters: SimpleNamespace) -> None:
    counters.usages = [usage_of(1.0, 2.0, 100, 7), usage_of(4.0, 3.0, 150, 10)]
    counters.times = [10.0, 12.0]
    with Usage() as usage:
        pass
    assert (usage.seconds, usage.cpu_seconds, usage.system_seconds) == (2.0, 4.0, 1.0)
    assert (usage.page_faults, usage.involuntary_switches) == (50, 3)


def test_a_page_fault_costs_the_cpu_time_over_the_faults_it_took(
    counters: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters.usages = [usage_of(0, 0, 1000, 0), usage_of(0, 0, 1004, 0)]  # four faults: larger pages
    cpu_times = [1.0, 1.5]
    monkeypatch.setattr(time, "thread_time", lambda: cpu_times.pop(0))
    assert page_fault_cost(pages=16) == 0.125


def test_what_a_page_fault_costs_is_unknown_where_none_came(counters: SimpleNamespace) -> None:
    counters.usages = [usage_of(0, 0, 1000, 0)] * 2
    assert page_fault_cost(pages=16) is None


@pytest.mark.skipif(not hasattr(mmap, "MADV_NOHUGEPAGE"), reason="without them a fault may not be small")
def test_a_real_page_fault_costs_something() -> None:
    cost = page_fault_cost()
    assert cost is not None
    assert cost > 0
