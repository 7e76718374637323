"""Memory that runs out for real: refused by the C library, or taken by the kernel's own killer."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from .support import QUICK, Finished, by_case, cell, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory")

GIB = 2**30
ITEM = 4096  # bytes of one item of the input
SWEEP = ("-m", *QUICK, "model=dense", "mode=infer", "schedule=sequential")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group whose processes may take no more than 1 GiB together, of either version."""
    root = Path("/sys/fs/cgroup")
    first = root / "memory"
    path = (first if first.is_dir() else root) / f"microbench-{uuid4().hex[:8]}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not limited(path):
            pytest.skip("the control groups do not limit memory here")
        yield path
    finally:
        path.rmdir()


def limited(group: Path) -> bool:
    """Limit a control group's memory, and keep it from the swap."""
    limits = {"memory.limit_in_bytes": GIB, "memory.memsw.limit_in_bytes": GIB}  # version 1
    limits |= {"memory.max": GIB, "memory.swap.max": 0}
    there = {name: limit for name, limit in limits.items() if (group / name).exists()}
    for name, limit in there.items():
        (group / name).write_text(str(limit))
    return bool(there)


def run(folder: Path, greedy: int, first: Callable[[], None]) -> Finished:
    """Run a case with that many items, and one with few."""
    sweep = start(*SWEEP, f"batch_size={greedy},4", cwd=folder, first=first)
    try:
        return sweep.finished()
    finally:
        sweep.kill()


def assert_only_the_greedy_case_ran_out(done: Finished, because: str) -> None:
    assert done.code == 1, done
    greedy, modest = by_case(done.records)
    items = greedy[0]["cfg_batch_size"]
    assert [record["status"] for record in greedy] == ["oom"], greedy
    assert because in greedy[0]["error"]
    assert {record["status"] for record in modest} == {"ok"}
    assert cell(done.out, f"dense {items}", "status") == "oom"
    assert cell(done.out, "dense 4", "status") == "ok"
    assert f"oom: dense infer, batch_size={items}: {greedy[0]['error']}" in done.out.splitlines()
    assert "Traceback" not in done.out + done.err


def test_a_worker_that_the_kernel_kills_for_its_memory_leaves_the_next_case_alone(
    group: Path, tmp_path: Path
) -> None:
    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    because = "the worker was killed by SIGKILL; the kernel sends it when memory runs out"
    assert_only_the_greedy_case_ran_out(run(tmp_path, 4 * GIB // ITEM, enter), because)


def test_an_allocation_that_is_refused_leaves_the_next_case_alone(tmp_path: Path) -> None:
    """The address space is enough for torch, but not for the input as well."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (16 * GIB, resource.RLIM_INFINITY))

    assert_only_the_greedy_case_ran_out(run(tmp_path, 32 * GIB // ITEM, limit), "out of memory")


LINEAR = ("model=layer", "model.cls=torch.nn.Linear", "model.args=[4096,1]", "model.input_shape=[4096]")


@pytest.mark.long
def test_the_largest_batch_that_fits_is_found_and_measured_and_nothing_is_killed(
    group: Path, tmp_path: Path
) -> None:
    """An item is 4096 numbers of four bytes, which is nearly all that grows with the batch."""

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    sweep = start(
        *("-m", *QUICK, *LINEAR, "mode=infer", "verify=false", "batch_size=1,max"), cwd=tmp_path, first=enter
    )
    try:
        done = sweep.finished()
    finally:
        sweep.kill()
    assert done.code == 0, done
    one, most = by_case(done.records)
    assert {record["status"] for record in (*one, *most)} == {"ok"}
    (size,) = {record["cfg_batch_size"] for record in most}
    assert {record["cfg_max_batch"] for record in most} == {True}
    (told,) = re.findall(r"batch_size=(\d+) takes [\d.]+ MiB of ([\d.]+) MiB", done.err)
    assert int(told[0]) == size
    available = float(told[1]) * 2**20
    assert 0.9 * available < size * 4 * 4097 <= available < GIB
    assert f"batch_size={size}" in most[0]["command"]
    memory = next(record["peak_memory"] for record in most if record["phase"] == "inference")
    assert size * 4 * 4097 <= memory <= available
