"""The axes of the CPU: allocator, affinity, threads, denormals, caches; each compared within one run."""

from __future__ import annotations

import os
import platform
import sys
from itertools import product
from pathlib import Path
from statistics import median

import pytest

from microbench.host.allocator import find
from microbench.system import cpus

from .support import Finished, Record, by_case, cell, measure, page_faults

INSTALLED = {name: find(name) is not None for name in ("jemalloc", "tcmalloc")}
INSTALL = {
    name: f"allocator={name} needs {library}, which is not installed: `apt install {debian}`, or "
    f"`conda install -c conda-forge {conda}`"
    for name, library, debian, conda in (
        ("jemalloc", "libjemalloc", "libjemalloc2", "jemalloc"),
        ("tcmalloc", "libtcmalloc_minimal", "libtcmalloc-minimal4", "gperftools"),
    )
}
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the thresholds are glibc's")
linux = pytest.mark.skipif(sys.platform != "linux", reason="binds a process to CPUs")


def first_of(records: list[Record], axis: str) -> dict[str, Record]:
    """Return the record of inference of each case, by the case's value on an axis."""
    main = [record for record in records if record["phase"] in ("inference", None)]
    return {record[f"cfg_{axis}"]: record for record in main}


@pytest.fixture(scope="module")
def allocators(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A convolution whose output is large enough for the C library to map it apart, with each allocator."""
    return measure(
        "-m",
        "model=conv3x3_1",
        "batch_size=2",
        "mode=infer",
        "device=cpu",
        "allocator=system,tuned,jemalloc,tcmalloc",
        cwd=tmp_path_factory.mktemp("allocators"),
    )


@glibc
def test_a_tuned_allocator_takes_far_fewer_page_faults(allocators: Finished) -> None:
    found = first_of(allocators.records, "allocator")
    output = 2 * 64 * 224 * 224 * 4 // os.sysconf("SC_PAGE_SIZE")  # pages of what a call returns
    assert found["system"]["page_faults_per_call"] > 100
    assert page_faults(found["tuned"]) < 2 * output  # the heap may still grow by one


@glibc
def test_the_allocator_is_recorded_as_it_turned_out(allocators: Finished) -> None:
    found = first_of(allocators.records, "allocator")
    assert found["system"]["env_allocator"].startswith("glibc ")
    assert found["tuned"]["env_allocator"] == found["system"]["env_allocator"] + ", tuned"
    for name, installed in INSTALLED.items():
        assert not installed or name in found[name]["env_allocator"]


def test_an_allocator_that_is_not_installed_is_skipped(allocators: Finished) -> None:
    for name, record in first_of(allocators.records, "allocator").items():
        there = INSTALLED.get(name, True)
        assert record["status"] == ("ok" if there else "skipped"), name
        assert record["error"] == (None if there else INSTALL[name])


def test_a_sweep_is_well_where_all_that_can_run_did(allocators: Finished) -> None:
    assert allocators.code == 0, allocators


def test_each_allocator_is_another_case_with_a_row_of_its_own(allocators: Finished) -> None:
    found = first_of(allocators.records, "allocator")
    assert len({record["case_id"] for record in found.values()}) == 4
    for name in found:
        assert cell(allocators.out, f"conv3x3_1 {name}", "allocator") == name


@pytest.fixture(scope="module")
def without_libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine on which no other allocator is installed."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text(
        "from microbench.host import allocator\nallocator.find = lambda name: None\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_one_case_of_a_missing_allocator_measures_nothing_and_exits_with_1(
    without_libraries: dict[str, str], tmp_path: Path
) -> None:
    done = measure("model=dense", "allocator=tcmalloc", cwd=tmp_path, env=without_libraries)
    assert done.code == 1, done
    (record,) = done.records
    assert (record["status"], record["error"]) == ("skipped", INSTALL["tcmalloc"])
    assert (record["phase"], record["samples"], record["env_allocator"]) == (None, [], None)
    assert f"skipped: {INSTALL['tcmalloc']}" in done.out.splitlines()
    assert "Traceback" not in done.out + done.err


def test_a_missing_allocator_next_to_one_that_is_there_exits_with_0(
    without_libraries: dict[str, str], tmp_path: Path
) -> None:
    axes = ("model=relu", "model.input_shape=[4]", "allocator=jemalloc,system")
    done = measure("-m", *axes, cwd=tmp_path, env=without_libraries)
    assert done.code == 0, done
    statuses = [[record["status"] for record in case] for case in by_case(done.records)]
    assert statuses == [["skipped"], ["ok"] * 3]
    assert cell(done.out, "relu jemalloc", "status") == "skipped"
    assert cell(done.out, "relu system", "status") == "ok"
    assert f"skipped: relu infer, allocator=jemalloc: {INSTALL['jemalloc']}" in done.out.splitlines()


FIRST = min(cpus.usable())
NOWHERE = max(cpus.usable()) + 1000
THREADS = (1, 2)[: cpus.physical_cores()]


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Every combination of threads, of CPUs to run on, one there is none of, and of denormal numbers."""
    return measure(
        "-m",
        "model=relu",
        "model.input_shape=[4]",
        "mode=infer",
        f"threads={','.join(map(str, THREADS))}",
        f"affinity=none,compact,[{FIRST}],[{NOWHERE}]",
        "flush_denormal=false,true",
        "interop_threads=1",
        cwd=tmp_path_factory.mktemp("bound"),
    )


def well(done: Finished) -> list[Record]:
    """Return the records of the cases that ended well."""
    return [record for record in done.records if record["status"] == "ok"]


@linux
def test_every_combination_of_axes_is_measured(bound: Finished) -> None:
    found = {
        (each["cfg_threads"], each["cfg_affinity"], each["cfg_flush_denormal"])
        for each in bound.records
        if each["status"] == "ok"
    }
    assert found == set(product(THREADS, ("none", "compact", str(FIRST)), (False, True)))


@linux
def test_the_cpus_are_recorded_as_they_turned_out(bound: Finished) -> None:
    usable = cpus.text(cpus.usable())
    for record in well(bound):
        cpus_of_record = record["env_cpus"]
        if record["cfg_affinity"] == "none":
            assert cpus_of_record == usable
        elif record["cfg_affinity"] == str(FIRST):
            assert cpus_of_record == str(FIRST)
        else:
            compact = cpus.one_of_each_core(cpus.usable())[: record["cfg_threads"]]
            assert cpus_of_record == cpus.text(set(compact))


@linux
def test_the_threads_are_recorded_as_they_turned_out(bound: Finished) -> None:
    assert {(each["cfg_threads"], each["env_threads"]) for each in well(bound)} == {
        (number, number) for number in THREADS
    }
    assert {(each["cfg_interop_threads"], each["env_interop_threads"]) for each in well(bound)} == {(1, 1)}


@linux
def test_denormals_are_flushed_if_requested(bound: Finished) -> None:
    found = {(each["cfg_flush_denormal"], each["env_flush_denormal"]) for each in well(bound)}
    assert found == {(False, False), (True, True)}


@linux
def test_no_axis_shares_an_identity_with_another(bound: Finished) -> None:
    assert len({each["case_id"] for each in bound.records}) == len(by_case(bound.records))


@linux
def test_a_cpu_that_is_not_there_is_reported_in_one_line_with_those_that_are(bound: Finished) -> None:
    assert bound.code == 1
    error = f"affinity=[{NOWHERE}]: this process may not use CPU {NOWHERE}, only {cpus.text(cpus.usable())}"
    failed = [record for record in bound.records if record["status"] != "ok"]
    assert {record["cfg_affinity"] for record in failed} == {str(NOWHERE)}
    assert [(record["status"], record["error"]) for record in failed] == [("error", error)] * 2 * len(THREADS)
    told = [line for line in bound.out.splitlines() if line.startswith("error: ")]
    assert len(told) == len(failed)
    assert all(line.endswith(f": {error}") for line in told)
    assert "Traceback" not in bound.out + bound.err


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Record]:
    """A layer that lives in a cache, with the caches as they are and evicted; by whether they were."""
    done = measure(
        "-m",
        "model=dense",
        "batch_size=1",
        "mode=infer",
        "device=cpu",
        "measure.cold_cache=false,true",
        cwd=tmp_path_factory.mktemp("caches"),
    )
    assert done.code == 0, done
    return {record["cfg_cold_cache"]: record for record in done.records if record["phase"] == "inference"}


def test_a_cold_cache_makes_a_layer_slower(caches: dict[bool, Record]) -> None:
    """Compared with a warm one, not with the clock: its weights (2 MiB) come from memory."""
    warm, cold = (median(caches[evicted]["samples"]) for evicted in (False, True))
    assert cold / warm > 1


def test_with_a_cold_cache_a_sample_is_one_call(caches: dict[bool, Record]) -> None:
    assert caches[True]["calls_per_sample"] == 1  # several where it is warm, unless the machine is busy
    assert caches[True]["n"] >= 3


def test_a_cold_cache_is_another_work(caches: dict[bool, Record]) -> None:
    assert caches[False]["case_id"] != caches[True]["case_id"]
    assert [caches[evicted]["config"]["measure"]["cold_cache"] for evicted in (False, True)] == [False, True]
