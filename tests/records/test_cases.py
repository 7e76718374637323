"""A case over its rounds: what counts of several attempts, and what the rounds say together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from factory import busy_in, configured, record_of, series_of, told

from microbench.analysis.quantities import quantities, reading
from microbench.analysis.timings import timings
from microbench.config import ModelConfig
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import BenchmarkWarning, Check, Correctness, RoundRecord, Status, WarningCode
from microbench.stats.percentiles import PERCENTILES, over_calls
from microbench.stats.rounds import over_rounds
from microbench.tables.formats import pytorch
from microbench.verify.judging import Checked

MakeRecord = Callable[..., RoundRecord]
SAME = Checked(Check(Correctness.SAME, error_abs=0.25, error_rel=0.5, tolerance=1.0))
WRONG = Checked(
    Check(Correctness.MISMATCH, error_abs=0.25, error_rel=0.5, tolerance=0.1), "the output is off"
)


def only(records: list[RoundRecord]) -> CaseResult:
    """Return the one case of these records."""
    (case,) = cases_of(records)
    return case


def warned(*found: tuple[str, str]) -> tuple[BenchmarkWarning, ...]:
    return tuple(BenchmarkWarning(WarningCode(code), message) for code, message in found)


def test_memory_is_that_of_the_rounds_that_count_for_every_reader() -> None:
    """Six rounds of 1 to 6 GB, of which others disturbed the last three."""
    records = [record_of({"inference": 1.0}, round=n, peak_memory=(n + 1) * 10**9) for n in range(6)]
    case = only(busy_in(records, 3, 4, 5))
    assert case.peak_memory == 2e9
    (memory,) = quantities([case], ["memory"])
    found = reading(case, memory)
    assert found is not None
    assert (found.value, found.rounds) == (2e9, 3)
    exported = json.loads(pytorch.encode(timings([case])))
    (uploaded,) = (each for each in exported if each["metric"]["name"] == "peak_memory(bytes)")
    assert uploaded["metric"]["benchmark_values"] == [1e9, 2e9, 3e9]


def test_memory_is_that_of_all_rounds_if_none_counts() -> None:
    failed = told([record_of({}, round=n, peak_memory=n) for n in (1, 2, 6)], status=Status.MISMATCH)
    assert only(failed).peak_memory == 2


class TestAttempts:
    def test_an_attempt_that_ended_well_counts_whatever_failed_before_and_after(
        self, record: MakeRecord
    ) -> None:
        failed, good = record(None, None, "timeout", started_at="1"), record("total", 1.0, started_at="2")
        later = record(None, None, "error", started_at="3")
        case = only([failed, good, later])
        assert case.rounds == {0: good}
        assert (case.status, case.ok, case.failures) == ("ok", True, {})

    def test_the_first_of_two_attempts_that_ended_well_counts(self, record: MakeRecord) -> None:
        one, two = record("total", 1.0, started_at="1"), record("total", 2.0, started_at="2")
        assert only([one, two]).rounds == {0: one}

    def test_the_last_of_several_failed_attempts_counts(self, record: MakeRecord) -> None:
        first = record(None, None, "timeout", started_at="1")
        last = record(None, None, "oom", started_at="2", error="no memory")
        case = only([first, last])
        assert case.rounds == {0: last}
        assert (case.status, case.ok, case.failures) == ("oom", False, {0: last})

    def test_only_rounds_that_ended_well_are_measured(self, record: MakeRecord) -> None:
        case = only(
            [
                record("total", 1.0, round=0, rounds=6),
                record(None, None, "error", round=2, rounds=6),
                record("total", 1.0, round=4, rounds=6),
            ]
        )
        assert case.measured_rounds == [0, 4]


def test_rounds_are_in_order_however_they_were_written(record: MakeRecord) -> None:
    case = only([record("total", float(i), round=i, rounds=3) for i in (2, 0, 1)])
    assert list(case.rounds) == [0, 1, 2]


def test_cases_are_in_the_order_of_the_runs_and_of_their_places(record: MakeRecord) -> None:
    """An interleaved run writes them in the order of its turns."""
    turns = [("a", 1, 0), ("a", 0, 0), ("b", 0, 0), ("a", 0, 1), ("a", 1, 1), ("b", 1, 0)]
    records = [record("total", 1.0, run=run, order=order, round=i) for run, order, i in turns]
    found = [(case.run.id, case.spec.order, list(case.rounds)) for case in cases_of(records)]
    assert found == [("a", 0, [0, 1]), ("a", 1, [0, 1]), ("b", 0, [0]), ("b", 1, [0])]
    assert cases_of([]) == []


class TestOutcome:
    def test_a_case_of_which_some_rounds_failed_is_ok_with_failures(self, record: MakeRecord) -> None:
        good = record("total", 1.0, round=1, rounds=3)
        failed = [record(None, None, "oom", round=i, rounds=3, error="no memory") for i in (0, 2)]
        case = only([good, *failed])
        assert (case.status, case.ok) == ("ok", False)
        assert case.failures == {0: failed[0], 2: failed[1]}
        assert case.first == good  # what all rounds share is taken from one that ended well

    def test_a_case_of_which_no_round_ended_well_has_its_firsts_status(self, record: MakeRecord) -> None:
        failed = [record(None, None, status, round=i) for i, status in enumerate(["timeout", "error"])]
        case = only(failed)
        assert (case.status, case.ok, case.first) == ("timeout", False, failed[0])

    def test_a_skipped_case_is_neither_ok_nor_measured(self, record: MakeRecord) -> None:
        case = only([record(None, None, "skipped", error="no library")])
        assert (case.status, case.ok, case.measured_rounds) == ("skipped", False, [])

    def test_an_interrupted_round_counts_for_nothing_if_another_ended(self, timed: Any) -> None:
        first, second = timed([1.0, 2.0])
        (begun,) = told([second], status=Status.INTERRUPTED)
        case = only([first, begun])
        assert (case.status, case.measured_rounds, case.preliminary) == ("ok", [0], {})
        assert case.whole is not None
        assert case.whole.median == 1.0

    def test_the_time_of_an_interrupted_case_is_preliminary(self, timed: Any) -> None:
        case = only(told(timed([1.0]), status=Status.INTERRUPTED))
        assert (case.status, case.whole, list(case.rows())) == ("interrupted", None, [])
        assert case.preliminary["inference"].median == 1.0


class TestAnswer:
    def test_times_of_a_wrong_answer_are_kept_apart(self, timed: Any) -> None:
        case = only(timed({"forward": [1.0], "total": [2.0]}, check=WRONG))
        assert (case.status, case.ok, case.measured_rounds) == ("mismatch", False, [])
        assert (case.estimates, case.whole) == ({}, None)
        assert {phase: each.median for phase, each in case.discarded.items()} == {
            "forward": 1.0,
            "total": 2.0,
        }
        assert case.failures[0].outcome.error == "the output is off"
        assert list(case.rows()) == []

    def test_what_the_first_round_found_is_the_cases(self, timed: Any) -> None:
        records = timed([1.0, 1.0, 1.0], check=SAME)
        assert [record.outcome.check.answer for record in records] == ["same", None, None]
        case = only(records)
        assert (case.check.answer, case.check.error_rel) == ("same", 0.5)
        (row,) = case.rows()
        assert (row["answer"], row["error_abs"], row["error_rel"]) == ("same", 0.25, 0.5)
        assert case.discarded == {}

    def test_records_that_know_of_no_answer_have_none(self, record: MakeRecord) -> None:
        case = only([record("total", 1.0)])
        assert case.check.answer is None
        assert next(case.rows())["answer"] is None


class TestEstimates:
    MEDIANS = (1.0, 1.5, 1.25, 1.375, 1.125, 1.0625)

    def test_an_estimate_is_over_the_medians_of_the_rounds(self, record: MakeRecord) -> None:
        records = [
            record("total", median, round=i, rounds=6, n=10 + i, ci_low=0.0, ci_high=9.0)
            for i, median in enumerate(self.MEDIANS)
        ]
        found = only(records).estimates["total"]
        over = over_rounds(self.MEDIANS)
        assert (found.phase, found.median, found.low, found.high) == ("total", 1.1875, 1.0, 1.5)
        assert (found.low, found.high, found.confidence) == (over.low, over.high, over.confidence)
        assert found.spread == over.spread
        assert found.medians == dict(enumerate(self.MEDIANS))
        assert (found.rounds, found.samples) == (6, 75)
        assert found.half_width == 0.25
        assert found.relative_half_width == 0.25 / 1.1875

    def test_the_estimate_of_one_round_is_the_interval_within_it(self, record: MakeRecord) -> None:
        (found,) = only(
            [record("total", 2.0, ci_low=1.5, ci_high=2.25, confidence=0.95, n=40)]
        ).estimates.values()
        assert (found.median, found.low, found.high, found.confidence) == (2.0, 1.5, 2.25, 0.95)
        assert (found.rounds, found.samples, found.spread) == (1, 40, None)
        assert found.relative_half_width == 0.1875

    def test_one_round_of_few_samples_has_no_interval(self, record: MakeRecord) -> None:
        found = only([record("total", 2.0, ci_low=None, ci_high=None, n=3)]).estimates["total"]
        assert (found.low, found.high, found.half_width, found.relative_half_width) == (None,) * 4

    def test_a_median_of_zero_has_no_share(self, record: MakeRecord) -> None:
        found = only([record("update", 0.0, ci_low=0.0, ci_high=1.0)]).estimates["update"]
        assert (found.half_width, found.relative_half_width) == (0.5, None)

    def test_each_phase_has_its_own_estimate(self, record: MakeRecord) -> None:
        case = only(
            [record_of({"forward": 1.0 + i, "total": 3.0 + i}, round=i) for i in range(2)],
        )
        assert {phase: each.median for phase, each in case.estimates.items()} == {
            "forward": 1.5,
            "total": 3.5,
        }
        assert case.whole == case.estimates["total"]

    def test_percentiles_are_over_the_calls_of_the_rounds_that_count(self) -> None:
        rounds = [[1.0 + number + i / 1000 for i in range(100)] for number in range(3)]
        case = only(
            [
                *(record_of({"inference": samples}, round=i) for i, samples in enumerate(rounds)),
                record_of({"inference": [99.0] * 100}, round=3, status=Status.ERROR),
            ]
        )
        assert case.percentiles("inference") == over_calls(rounds, PERCENTILES)
        (row,) = case.rows()
        assert (row["p50"], row["p99"], row["p99_9"]) == (2.049, 3.096, None)
        p50 = case.percentiles("inference")[0]
        assert (row["p50_ci_low"], row["p50_ci_high"]) == (p50.low, p50.high)

    def test_the_percentile_that_rounds_stopped_at_is_among_them(self) -> None:
        case = only(
            [record_of({"inference": [1.0] * 20, "first_call": 9.0}, configured(measure__percentile=75.5))]
        )
        row, once = case.rows()
        assert [name for name in row if name.startswith("p75")] == ["p75_5", "p75_5_ci_low", "p75_5_ci_high"]
        assert (row["p75_5"], once["p75_5"], once["p50"]) == (1.0, None, None)

    def test_a_row_says_how_many_calls_a_sample_is_the_mean_of(self) -> None:
        merged = [
            record_of({"inference": series_of("inference", [1.0], calls_per_sample=k)}, round=k)
            for k in (2, 3)
        ]
        assert [row["calls_per_sample"] for row in only(merged).rows()] == [3]

    def test_failed_rounds_do_not_count(self, record: MakeRecord) -> None:
        case = only(
            [
                record("total", 1.0, round=0, rounds=3),
                record("total", 9.0, "timeout", round=1, rounds=3),
                record("total", 2.0, round=2, rounds=3),
            ]
        )
        assert case.estimates["total"].medians == {0: 1.0, 2: 2.0}

    def test_a_case_without_medians_has_none(self, record: MakeRecord) -> None:
        case = only([record("total", None, "timeout")])
        assert case.estimates == {}
        assert case.whole is None


class TestWarnings:
    def test_they_are_by_code_with_what_each_round_says(self, record: MakeRecord) -> None:
        case = only(
            [
                record("total", 1.0, round=0, warnings=warned(("drift", "by 3 %"), ("stolen", "it is"))),
                record("total", 1.0, round=1),
                record("total", 1.0, round=2, warnings=warned(("drift", "by 5 %"))),
            ]
        )
        assert case.warnings == {"drift": ["by 3 %", "by 5 %"], "stolen": ["it is"]}

    def test_those_of_an_attempt_that_does_not_count_are_left_out(self, record: MakeRecord) -> None:
        failed = record(None, None, "timeout", started_at="1", warnings=warned(("drift", "it is")))
        assert only([failed, record("total", 1.0, started_at="2")]).warnings == {}


def test_throughput_counts_what_the_workload_says() -> None:
    told_of = record_of({"inference": 2.0}, configured(batch_size=4), item="tokens", items=512)
    case, batch = (
        only([told_of]),
        only([record_of({"inference": 2.0}, configured(batch_size=4), item="images")]),
    )
    assert (case.item, case.throughput(case.estimates["inference"])) == ("tokens", 256.0)
    assert (batch.item, batch.throughput(batch.estimates["inference"])) == ("images", 2.0)


def test_older_records_count_images_for_torchvision_and_items_elsewhere() -> None:
    vgg = configured(model=ModelConfig("torchvision", "vgg16"))
    assert only([record_of({"inference": 2.0}, vgg)]).item == "images"
    assert only([record_of({"inference": 2.0})]).item == "items"
