"""What a comment on a pull request says."""

from __future__ import annotations

from typing import Any

from factory import FAST, NOISY, SLOW, result_of

import microbench
from microbench.tables.comment import comment

NAME = "a|b`<c>@me"


def test_names_are_shown_as_they_are_and_mention_nobody(timed: Any) -> None:
    a, b = (result_of(timed(times, run_id=run, model=NAME)) for times, run in ((FAST, "r"), (SLOW, "s")))
    row = next(line for line in comment(microbench.compare(a, b)).splitlines() if line.startswith("| a"))
    assert row.startswith(r"| a\|b\`&lt;c&gt;@<!-- -->me infer | inference |")


def test_absences_are_counted_and_named(timed: Any) -> None:
    a = result_of(timed(FAST), timed(FAST, 1, model="relu"), timed(FAST, 2, model="gelu"))
    b = result_of(timed(FAST, run_id="s"), timed([None], 1, run_id="s", model="relu"))
    lines = comment(microbench.compare(a, b)).splitlines()
    assert lines[0] == "**1 of 1 case is inconclusive, 1 failed, 1 is missing**"
    assert [line for line in lines if line.startswith(("- failed", "- missing"))] == [
        "- failed: relu infer: B: error: it broke",
        "- missing: gelu infer: B has no such case",
    ]


def test_several_phases_are_comparisons_and_a_limit_tells_what_may_be_beyond_it(timed: Any) -> None:
    train = {"forward": FAST, "total": FAST}
    a, b = (
        result_of(timed(train, mode="train")),
        result_of(timed({"forward": NOISY, "total": SLOW}, mode="train")),
    )
    found = comment(microbench.compare(a, b, phase="all"), 0.05)
    assert found.startswith("**1 of 2 comparisons is slower, 1 is inconclusive**\n")
    assert "\nLimit: 5.0 % slower. 1 certainly beyond it; 1 more may be.\n" in found


def test_two_machines_are_both_named(timed: Any) -> None:
    a, b = result_of(timed(FAST)), result_of(timed(FAST, run_id="s", env={"cpu": "Other CPU"}))
    lines = comment(microbench.compare(a, b)).splitlines()
    named = [line.partition(",")[0] for line in lines if "malloc" in line]
    assert named == ["- A: Some CPU", "- B: Other CPU"]


def test_the_values_of_an_option_share_a_machine(timed: Any) -> None:
    found = result_of(timed(FAST), timed(SLOW, 1, engine="export", env={"engine": "aoti 1"}))
    lines = comment(microbench.compare(found, by="engine")).splitlines()
    assert [line for line in lines if "malloc" in line] == [
        "- Some CPU, 4 cores · 2 threads · torch 2.11 · aoti 1 · Python 3.12 · glibc 2.36 malloc · Linux 6"
    ]
