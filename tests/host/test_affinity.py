from __future__ import annotations

import os
from typing import Any

import pytest

from microbench.errors import SkippedError, UserError
from microbench.host.affinity import bound, chosen
from microbench.system import cpus

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to CPUs")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages of two cores of two CPUs each, as the kernel numbers them, without the last CPU."""
    cores = {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6"}
    monkeypatch.setattr(cpus, "usable", lambda: set(cores))
    monkeypatch.setattr(cpus, "siblings", lambda cpu: cores[cpu])
    monkeypatch.setattr(cpus, "package", lambda cpu: cpu % 2)


@pytest.mark.usefixtures("machine")
class TestChosen:
    @pytest.mark.parametrize("threads", [1, 4])
    def test_none_leaves_the_cpus_as_they_are(self, threads: int) -> None:
        assert chosen("none", threads) is None

    @pytest.mark.parametrize(
        ("threads", "cpus"), [(1, {0}), (2, {0, 2}), (3, {0, 2, 1}), (4, {0, 1, 2, 3}), (9, {0, 1, 2, 3})]
    )
    def test_compact_is_one_cpu_of_each_core_those_of_a_package_first(
        self, threads: int, cpus: set[int]
    ) -> None:
        assert chosen("compact", threads) == cpus

    @pytest.mark.parametrize("wanted", [[0], [4, 0], [6, 1, 1]])
    def test_a_list_is_its_cpus_whatever_the_threads(self, wanted: list[int]) -> None:
        assert chosen(wanted, threads=1) == set(wanted)

    @pytest.mark.parametrize(("wanted", "strange"), [([7], 7), ([0, 99, 7], 7), ([0, 1, 64], 64)])
    def test_a_cpu_that_the_process_may_not_use_is_reported_in_one_line(
        self, wanted: list[int], strange: int
    ) -> None:
        with pytest.raises(UserError) as caught:
            chosen(wanted, threads=1)
        assert str(caught.value) == f"affinity={wanted}: this process may not use CPU {strange}, only 0-6"


@linux
class TestBound:
    @pytest.fixture
    def one(self) -> int:
        """A CPU of this process."""
        return min(cpus.usable())

    def test_the_process_runs_on_the_cpus_and_then_as_before(self, one: int) -> None:
        before = cpus.usable()
        with bound([one], threads=1):
            assert cpus.usable() == {one}
        assert cpus.usable() == before

    def test_the_affinity_is_restored_after_an_error(self, one: int) -> None:
        before = cpus.usable()
        with pytest.raises(ZeroDivisionError), bound([one], threads=1):
            raise ZeroDivisionError
        assert cpus.usable() == before

    def test_compact_has_no_more_cpus_than_threads(self) -> None:
        with bound("compact", threads=1):
            assert len(cpus.usable()) == 1

    def test_the_cpus_near_the_gpu_are_those_that_are_given(self, one: int) -> None:
        with bound("gpu", threads=4, near={one}):
            assert cpus.usable() == {one}

    def test_none_binds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(os, "sched_setaffinity", lambda *each: asked.append(each))
        with bound("none", threads=1):
            pass
        assert asked == []

    def test_a_strange_cpu_leaves_it_where_it_was(self) -> None:
        before = cpus.usable()
        with pytest.raises(UserError), bound([max(before) + 1000], threads=1):
            pass
        assert cpus.usable() == before


@pytest.mark.parametrize("affinity", ["compact", [0]])
def test_a_system_that_cannot_bind_skips_the_case(affinity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: {0, 1})
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    told = "this system cannot bind a process to CPUs; use affinity=none"
    with pytest.raises(SkippedError, match=told), bound(affinity, threads=1):
        pytest.fail("it is not bound")
    with bound("none", threads=1):
        pass
