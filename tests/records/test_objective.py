from __future__ import annotations

import pytest
from factory import configured, record_of, told
from msgspec.structs import replace

from microbench.records.cases import cases_of
from microbench.records.objective import figure, figures
from microbench.records.record import RoundRecord, Status

SAMPLES = [*[1.0] * 300, *[4.0] * 10]


def rounds(*times: list[float], memory: int | None = 64) -> list[RoundRecord]:
    """The rounds of a case with a batch of four."""
    config = configured(batch_size=4)
    return [
        record_of({"inference": each}, config, round=number, peak_memory=memory)
        for number, each in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("objective", "wanted"), [("latency", 1.0), ("throughput", 0.25), ("memory", 64.0), ("p99", 4.0)]
)
def test_each_objective_has_a_figure_that_is_the_less_the_better(objective: str, wanted: float) -> None:
    (case,) = cases_of(rounds(SAMPLES, [2.0] * 20))

    assert figures(case, objective)[0] == pytest.approx(wanted)
    assert figures(case, objective).keys() == {0, 1}


def test_a_case_has_the_median_of_its_rounds_figures() -> None:
    (case,) = cases_of(rounds([1.0] * 5, [5.0] * 5, [2.0] * 5))

    assert figure(case, "latency") == 2.0
    assert figure(case, "throughput") == 0.5


def test_throughput_is_for_the_items_of_the_workload() -> None:
    tokens = [replace(each, outcome=replace(each.outcome, items=8)) for each in rounds([1.0] * 5)]
    (case,) = cases_of(tokens)

    assert figure(case, "throughput") == 0.125


def test_there_is_none_of_what_was_not_read_or_may_not_win() -> None:
    (unread,) = cases_of(rounds([1.0] * 5, memory=None))
    (wrong,) = cases_of(told(rounds([1.0] * 5), status=Status.MISMATCH))
    (stopped,) = cases_of(rounds([1.0] * 5) + told(rounds([1.0], [9.0])[1:], status=Status.INTERRUPTED))

    assert figure(unread, "memory") is None
    assert figure(wrong, "latency") is None
    assert figure(stopped, "latency") == 1.0
