from __future__ import annotations

import pytest

from microbench.measure.cautions import foreign_load


@pytest.mark.parametrize(
    ("switches", "seconds", "cpus", "threads", "warned"),
    [
        (280, 1.0, 1.0, 2, True),  # a busy process beside two threads, as seen
        (45, 1.0, 1.98, 2, False),  # a quiet machine, as seen
        (143, 1.0, 1.98, 2, False),  # many switches, but the CPUs were there
        (5, 1.0, 1.0, 2, False),  # a layer that keeps one thread busy
        (2, 0.005, 1.0, 2, False),  # two switches in a moment are no rate
        (280, 1.0, None, 2, False),  # not known
    ],
)
def test_foreign_load_is_warned_of_where_cpus_were_taken_and_missing(
    switches: int, seconds: float, cpus: float | None, threads: int, warned: bool
) -> None:
    found = list(foreign_load(switches, seconds, cpus, threads))
    assert [caution.code.value for caution in found] == (["foreign_load"] if warned else [])


def test_foreign_load_says_how_often_what_was_missing_and_what_to_do() -> None:
    (caution,) = foreign_load(560, 2.0, 1.0, 2)
    assert caution.message == (
        "other processes took a CPU away 280 times a second, and 2 threads got 1.00 CPUs: the times are not "
        "the case's own; quieten the machine, or lower threads"
    )
