from __future__ import annotations

from factory import configured, record_of, result_of, series_of

from microbench.analysis.tails import tails
from microbench.records.record import RoundRecord, Status
from microbench.stats.percentiles import PERCENTILES, of_typical_process, over_calls

SAMPLES = [[1.0 + number / 10 + i / 1000 for i in range(100)] for number in range(6)]


def rounds(phases: tuple[str, ...] = ("inference",), order: int = 0, **settings: object) -> list[RoundRecord]:
    """Six rounds of a case in which every phase has the same samples."""
    config = configured(**settings)
    return [
        record_of(dict.fromkeys(phases, samples), config, order=order, round=number)
        for number, samples in enumerate(SAMPLES)
    ]


def test_a_case_has_the_percentiles_of_each_phase_that_is_shown() -> None:
    found = tails(result_of(rounds(("forward", "total", "first_call"), mode="train")).cases())
    assert found is not None
    assert (found.rounds, found.calls_per_sample) == ((6, 6), (1, 1))
    assert [(row.case, row.phase, row.over_calls.percent) for row in found.rows] == [
        ("", phase, percent) for phase in ("forward", "total") for percent in PERCENTILES
    ]
    for row, expected in zip(found.rows, [*over_calls(SAMPLES, PERCENTILES)] * 2, strict=True):
        assert row.over_calls == expected
        assert row.typical == of_typical_process(SAMPLES, expected.percent)
    assert [row.typical is None for row in found.rows[:5]] == [False, False, False, True, True]


def test_several_cases_have_those_of_whole_steps_by_name() -> None:
    cases = result_of(rounds(), rounds(("forward", "total"), 1, mode="train")).cases()
    found = tails(cases)
    assert found is not None
    assert {(row.case, row.phase) for row in found.rows} == {
        ("dense infer", "inference"),
        ("dense train", "total"),
    }


def test_what_failed_and_what_was_profiled_have_none() -> None:
    failed = [record_of(status=Status.ERROR)]
    profiled = rounds(mode="profile")
    assert tails(result_of(failed).cases()) is None
    assert tails(result_of(profiled).cases()) is None
    found = tails(result_of(failed, rounds(order=1)).cases())
    assert found is not None
    assert {row.case for row in found.rows} == {"dense infer"}


def test_samples_of_several_calls_are_known_as_such() -> None:
    merged = [
        record_of({"inference": series_of("inference", SAMPLES[0], calls_per_sample=calls)}, round=number)
        for number, calls in enumerate((3, 2))
    ]
    found = tails(result_of(merged).cases())
    assert found is not None
    assert (found.rounds, found.calls_per_sample) == ((2, 2), (2, 3))
