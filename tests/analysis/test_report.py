"""The kind of report that each case of a run is in."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from microbench.analysis.report import report
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Call, Kind


def case_of(made: Any) -> CaseResult:
    (case,) = cases_of(made)
    return case


def test_one_case_is_no_sweep(timed: Any) -> None:
    found = report([case_of(timed([0.1]))])
    assert (found.layers, found.profiles, found.sweep, found.rankings) == (None, [], None, ())
    assert found.case is not None


def test_alternatives_are_a_sweep_and_are_ranked(timed: Any) -> None:
    found = report([case_of(timed([0.1], 0)), case_of(timed([0.2], 1, threads=1))])
    assert found.case is None
    assert found.sweep is not None
    assert len(found.rankings) == 1


def test_a_profile_is_neither_a_case_nor_a_sweep(timed: Any) -> None:
    call = Call(name="", index=0, order=0, depth=0, kind=Kind.MODULE, type="Net", times=[0.1])
    profiled = [replace(each, calls=(call,)) for each in timed([0.1], 1, mode="profile")]
    found = report([case_of(timed([0.1])), case_of(profiled)])
    assert [each.profile.name for each in found.profiles] == ["dense"]
    assert found.case is not None
    assert found.sweep is None
