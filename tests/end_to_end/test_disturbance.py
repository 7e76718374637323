"""Real disturbances, planted next to the command, cause warnings; a quiet run causes none."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .support import Record, measure, page_faults

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells of disturbances"),
]

# Long enough for what the kernel counts in hundredths of a second.
LONGER = ("measure.min_time=0.3", "measure.max_time=0.6")
TRIES = 6  # other processes of a shared machine disturb these tests as well
DISTURBANCES = {
    "bimodal",
    "drift",
    "foreign_load",
    "oversubscribed",
    "page_faults",
    "stolen",
    "thermal",
    "throttled",
}


def measured(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Record:
    """Return the record of a case's inference."""
    cwd.mkdir(exist_ok=True)
    done = measure("mode=infer", *LONGER, *arguments, cwd=cwd, env=env)
    assert done.code == 0, done
    return next(record for record in done.records if record["phase"] == "inference")


def codes(record: Record) -> set[str]:
    return {warning["code"] for warning in record["warnings"]}


def message(record: Record, code: str) -> str:
    return next(str(each["message"]) for each in record["warnings"] if each["code"] == code)


def until(wanted: Callable[[Record], bool], *arguments: str, folder: Path) -> Record:
    """Return the record of the first of several runs that meets a condition, or of the last one."""
    for attempt in range(TRIES):
        record = measured(*arguments, cwd=folder / str(attempt))
        if wanted(record):
            break
    return record


def one_cpu() -> int:
    return max(os.sched_getaffinity(0))


@contextmanager
def spinning(cpu: int) -> Iterator[None]:
    """Keep a CPU busy with a process."""
    script = f"import os; os.sched_setaffinity(0, {{{cpu}}}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def skip_if_busy() -> None:
    """Skip if the kernel's load average exceeds the number of CPUs."""
    load = os.getloadavg()[0]
    if load > len(os.sched_getaffinity(0)):
        pytest.skip(f"the machine is busy: load average {load:.1f}")


def test_a_quiet_run_is_not_disturbed(tmp_path: Path) -> None:
    record = until(
        lambda record: not codes(record) & DISTURBANCES, "model=dense", "allocator=tuned", folder=tmp_path
    )
    if "foreign_load" in codes(record):
        skip_if_busy()
    assert codes(record) & DISTURBANCES == set(), record["warnings"]
    assert record["run_delay"] < 0.1
    assert record["foreign_cpus"] is not None
    assert record["page_faults_per_call"] < 50
    assert record["page_fault_cost"] is None


def test_a_process_that_spins_on_the_same_cpu_is_foreign_load(tmp_path: Path) -> None:
    cpu = one_cpu()
    with spinning(cpu):
        record = measured("model=dense", f"affinity=[{cpu}]", cwd=tmp_path)
    assert "foreign_load" in codes(record)
    assert "end other processes" in message(record, "foreign_load")
    assert record["run_delay"] > 0.1
    assert record["foreign_cpus"] > 0.1


def test_two_threads_on_one_cpu_are_oversubscribed_and_no_foreign_load(tmp_path: Path) -> None:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {one_cpu()})  # which the command inherits
    try:
        record = until(
            lambda record: "foreign_load" not in codes(record),
            "model=dense",
            "threads=2",
            "allocator=tuned",
            folder=tmp_path,
        )
    finally:
        os.sched_setaffinity(0, cpus)
    assert "oversubscribed" in codes(record)
    assert "2 threads on the 1 CPU that the process may use" in message(record, "oversubscribed")
    assert "use threads=1" in message(record, "oversubscribed")
    if "foreign_load" in codes(record):
        skip_if_busy()
    assert "foreign_load" not in codes(record)
    assert record["run_delay"] > 0.1  # its threads wait, for each other


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep what is released")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="another allocator may be loaded")
def test_a_storm_of_page_faults_is_named_with_the_allocator_that_calms_it(tmp_path: Path) -> None:
    case = ("model=conv3x3_1", "batch_size=2")
    stormy = measured(*case, "allocator=system", cwd=tmp_path / "system")
    assert stormy["page_faults_per_call"] > 1000
    assert stormy["page_fault_cost"] > 0
    assert "page_faults" in codes(stormy)
    assert message(stormy, "page_faults").endswith("; try allocator=tuned")
    calm = measured(*case, "allocator=tuned", cwd=tmp_path / "tuned")
    output = 2 * 64 * 224 * 224 * 4 // os.sysconf("SC_PAGE_SIZE")  # pages of what a call returns
    assert page_faults(calm) < 2 * output  # the heap may still grow by one
    assert "page_faults" not in codes(calm)


QUOTA, PERIOD = 20_000, 100_000  # microseconds: a fifth of a CPU

SQUEEZED = """
import os
from pathlib import Path

from torch import nn


class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        Path(os.environ["GROUP"], "cgroup.procs").write_text(str(os.getpid()))

    def forward(self, x):
        return x @ x.T
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that grants a fifth of a CPU."""
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").exists()
    made = (root if second else root / "cpu") / f"microbench-test-{os.getpid()}"
    limits = (
        {"cpu.max": f"{QUOTA} {PERIOD}"}
        if second
        else {"cpu.cfs_period_us": f"{PERIOD}", "cpu.cfs_quota_us": f"{QUOTA}"}
    )
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group: {error}")
    try:
        for name, limit in limits.items():
            try:
                (made / name).write_text(limit)
            except OSError as error:
                pytest.skip(f"cannot limit a control group: {error}")
        yield made
    finally:
        _remove(made)


def _remove(group: Path) -> None:
    """Remove a control group; it is busy for a moment after its last process has ended."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_control_group_that_grants_less_than_a_cpu_throttles(group: Path, tmp_path: Path) -> None:
    (tmp_path / "squeezed.py").write_text(SQUEEZED)
    record = measured(
        *("model=layer", "model.cls=squeezed.Squeezed", "model.input_shape=[256]", "batch_size=256"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "GROUP": str(group)},
    )
    assert {"throttled", "oversubscribed"} <= codes(record)
    assert "quota of 0.2 CPUs" in message(record, "throttled")
    assert "(its quota)" in message(record, "oversubscribed")
    assert record["throttled"] > 0.01
