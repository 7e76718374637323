"""The names of the machine and of cases in every report."""

from __future__ import annotations

from pathlib import Path

import pytest

from microbench.tables.labels import count, label, machine, machines, relative

from .support import INFER, TRAIN, MakeCase, case_of, cases

MACHINE = "Some CPU, 4 cores · 4 threads · torch 2.11 · Python 3.12 · glibc malloc · Linux 6"


def test_the_machine_is_what_all_cases_ran_on(make_case: MakeCase) -> None:
    assert machine([case_of(*make_case(INFER))]) == MACHINE


def test_a_gpu_is_named_before_the_processor(make_case: MakeCase) -> None:
    assert machine([case_of(*make_case(INFER, env={"gpu": "Some GPU"}))]) == f"Some GPU · {MACHINE}"


def test_one_core_and_one_thread_are_singular(make_case: MakeCase) -> None:
    named = machine([case_of(*make_case(INFER, threads=1, env={"physical_cores": 1}))])
    assert named.startswith("Some CPU, 1 core · 1 thread · ")


def test_threads_are_those_that_ran(make_case: MakeCase) -> None:
    ran = make_case(INFER, threads=4, env={"threads": 1})
    assert " · 1 thread · " in machine([case_of(*ran)])


def test_the_machines_line_has_only_what_cases_share(make_case: MakeCase) -> None:
    several = cases(
        make_case(INFER, order=0, threads=1),
        make_case(INFER, order=1, threads=2, env={"allocator": "jemalloc"}),
    )
    assert machine(several) == "Some CPU, 4 cores · torch 2.11 · Python 3.12 · Linux 6"


def test_several_hosts_have_a_line_each_and_are_named(make_case: MakeCase) -> None:
    a, b, c = (make_case(INFER, order=place, env={"host_id": host}) for place, host in enumerate("xyx"))
    assert machines(cases(a, c)) == [MACHINE]
    assert machines(cases(a, b, c)) == [f"host x: {MACHINE}", f"host y: {MACHINE}"]


def test_a_case_is_named_by_what_it_is(make_case: MakeCase) -> None:
    assert label(case_of(*make_case(TRAIN))) == "resnet18 train, batch 8, fp32, eager, cpu"


@pytest.mark.parametrize(("number", "text"), [(0, "0 rounds"), (1, "1 round"), (6, "6 rounds")])
def test_numbers_of_things_have_the_right_plural(number: int, text: str) -> None:
    assert count(number, "round") == text


def test_a_path_in_the_working_folder_is_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(tmp_path / "run" / "records.jsonl") == "run/records.jsonl"
    assert relative(Path("run")) == "run"
    assert relative(tmp_path.parent) == str(tmp_path.parent)


def test_a_path_is_not_taken_for_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(Path("-run")) == "./-run"
