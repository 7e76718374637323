"""The process state of a case, tested in separate processes because some of it cannot be undone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from msgspec import convert

from microbench.config import Config
from microbench.errors import SkippedError, UserError
from microbench.host import allocator, state
from microbench.records.record import Process
from microbench.system import cpus, machine

SCRIPT = """
import json, resource, sys
import msgspec, torch
from microbench.config import Config
from microbench.host import state

def look():
    denormals = torch.full((2**20,), torch.finfo(torch.float32).tiny / 4)
    return {
        "not_zero": int((denormals * 1.0).count_nonzero()),
        "threads": torch.get_num_threads(),
        "cpus": state.turned_out(tuned=False).cpus,
    }

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

config = Config(**json.loads(sys.argv[1]))
before, faults_before = look(), (faults(), faults())[1]
with state.prepared(config, threads=2) as process:
    within, faults_within = look(), (faults(), faults())[1]
print(json.dumps([before, msgspec.to_builtins(process), within, look(), faults_before, faults_within]))
"""


def in_a_process(**settings: Any) -> tuple[Process, dict[str, Any], dict[str, Any], float]:
    """Return a process's settings, its observations in and after that state, and the share of faults left."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(settings)]
    # Each block of this size is allocated on its own, however the shell has set the allocator.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
    before, process, within, after, faults_before, faults_within = json.loads(done.stdout)
    assert after == before  # what can be put back is
    return convert(process, Process), within, before, faults_within / faults_before


def test_a_process_that_asks_for_nothing_is_as_it_was() -> None:
    process, within, before, faults = in_a_process()
    assert process == Process(
        allocator=machine.allocator(),
        threads=2,
        interop_threads=torch.get_num_interop_threads(),
        cpus=cpus.text(cpus.usable()),
        flush_denormal=False,
    )
    assert within == before | {"threads": 2}
    assert within["not_zero"] == 2**20
    assert faults > 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="binds to CPUs and tunes glibc")
def test_a_process_is_brought_into_the_state_that_is_requested() -> None:
    one = min(cpus.usable())
    process, within, _, faults = in_a_process(
        affinity=[one], allocator="tuned", flush_denormal=True, interop_threads=3
    )
    assert process == Process(
        allocator=f"{machine.allocator()}, tuned",
        threads=2,
        interop_threads=3,
        cpus=str(one),
        flush_denormal=True,
    )
    assert within == {"not_zero": 0, "threads": 2, "cpus": str(one)}  # in both threads
    assert faults < 0.1


class TestDenormals:
    def test_they_are_flushed_within_and_not_after(self) -> None:
        assert not state.flushes_denormals()
        with state.denormals_flushed(True):
            assert state.flushes_denormals()
        assert not state.flushes_denormals()

    def test_denormals_are_unchanged_by_default(self) -> None:
        with state.denormals_flushed(False):
            assert not state.flushes_denormals()

    def test_a_cpu_that_cannot_is_a_reason_to_skip(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: False)
        told = r"^flush_denormal=true: this CPU cannot"
        with pytest.raises(SkippedError, match=told), state.denormals_flushed(True):
            pytest.fail("it is not flushed")
        with state.denormals_flushed(False):
            pass


class TestAllocator:
    @pytest.mark.parametrize("name", ["jemalloc", "tcmalloc"])
    def test_one_that_does_not_serve_this_process_is_the_users_mistake(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "allocator", lambda: "glibc 2.36")
        with pytest.raises(UserError) as caught:
            state.set_allocator(name)
        assert str(caught.value) == (
            f"allocator={name} has to be loaded when a process starts, and this one uses glibc 2.36: use "
            "isolation=fork"
        )

    @pytest.mark.parametrize("name", ["jemalloc", "tcmalloc"])
    def test_one_that_serves_this_process_is_as_requested(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "allocator", lambda: name)
        monkeypatch.setattr(allocator, "tune", lambda: pytest.fail("it was tuned"))
        state.set_allocator(name)
        state.set_allocator("system")

    def test_only_the_c_librarys_own_can_be_tuned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tuned: list[bool] = []
        monkeypatch.setattr(allocator, "tune", lambda: tuned.append(True))
        monkeypatch.setattr(machine, "allocator", lambda: "jemalloc")
        with pytest.raises(SkippedError, match="but jemalloc is loaded: unset LD_PRELOAD"):
            state.set_allocator("tuned")
        assert tuned == []
        monkeypatch.setattr(machine, "allocator", lambda: "glibc 2.36")
        state.set_allocator("tuned")
        assert tuned == [True]


class TestThreads:
    @pytest.mark.parametrize("fails", [False, True])
    def test_they_are_set_within_and_put_back(self, fails: bool) -> None:
        before = torch.get_num_threads()
        try:
            with state.threads_set(before + 1):
                assert torch.get_num_threads() == before + 1
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        assert torch.get_num_threads() == before

    def test_those_between_operations_cannot_be_set_once_torch_is_in_use(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(threads: int) -> None:
            raise RuntimeError("Error: cannot set number of interop threads after parallel work has started")

        monkeypatch.setattr(torch, "set_num_interop_threads", refuse)
        with pytest.raises(UserError, match=r"^interop_threads=\d+ cannot be set in a process that has used"):
            state.set_interop_threads(torch.get_num_interop_threads() + 1)
        state.set_interop_threads(torch.get_num_interop_threads())  # it has as many: nothing to set
        state.set_interop_threads(None)


def test_a_state_that_cannot_be_reached_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: False)
    before = cpus.usable(), torch.get_num_threads()
    wanted = replace(Config(), affinity="compact", flush_denormal=True)
    with pytest.raises(SkippedError), state.prepared(wanted, threads=1):
        pytest.fail("it is not in that state")
    assert (cpus.usable(), torch.get_num_threads()) == before
