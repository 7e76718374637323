from __future__ import annotations

import math
from statistics import median
from typing import Any

import pytest
from factory import (
    FAST,
    IMPLAUSIBLE,
    NOISY,
    SLOW,
    WRONG,
    configured,
    record_of,
    result_of,
    series_of,
    told,
)
from msgspec.structs import replace
from scipy import stats

from microbench.analysis.compare import Compared, Row, compare
from microbench.analysis.verdict import ONE_ROUND, judge
from microbench.errors import UserError
from microbench.records.clocks import BACKLOG, EVENTS
from microbench.records.record import RoundRecord, Status
from microbench.records.result import Result
from microbench.stats.median import quantile
from microbench.stats.ratio import Part, Ratio


def only(compared: Compared) -> Row:
    (row,) = compared.rows
    return row


def complaint(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        compare(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


class TestPercentiles:
    """Rounds' own percentiles are compared in place of their medians."""

    @staticmethod
    def rounds(tail: float, n: int, order: int = 0, calls: int = 1, **settings: Any) -> list[RoundRecord]:
        """Six rounds with a median of about one second, of which a tenth of the samples take longer."""
        found = []
        for number in range(6):
            samples = [*[1.0] * (n - n // 10), *[tail * (1 + number / 1000)] * (n // 10)]
            series = series_of("inference", samples, calls_per_sample=calls)
            found.append(record_of({"inference": series}, configured(**settings), order=order, round=number))
        return found

    def test_a_slower_tail_is_slower_where_medians_are_the_same(self) -> None:
        run = result_of(self.rounds(2.0, 400), self.rounds(3.0, 400, 1, engine="compile"))
        assert only(compare(run, by="engine")).verdict == "same"
        row = only(compare(run, by="engine", at="p99"))
        assert (row.verdict, row.at, row.paired) == ("slower", "p99", True)
        assert row.ratio == pytest.approx(1.5)
        assert row.a_time == pytest.approx(2 * 1.0025)

    def test_the_time_of_a_round_is_its_own_percentile(self) -> None:
        case = result_of(self.rounds(2.0, 400)).cases()[0]
        samples = case.series("inference")[3].samples
        assert case.times("inference", 92.5)[3] == quantile(samples, 0.925)
        assert case.times("inference") == case.estimates["inference"].medians

    @pytest.mark.parametrize(
        ("at", "needs"),
        [("p99", "p99 needs 268 more samples a round"), ("p97.13", "p97.13 needs 27 more samples a round")],
    )
    def test_rounds_with_too_few_samples_have_no_verdict(self, at: str, needs: str) -> None:
        run = result_of(self.rounds(2.0, 400), self.rounds(3.0, 100, 1, engine="compile"))
        row = only(compare(run, by="engine", at=at))
        assert (row.verdict, row.reason, row.low, row.p, row.more_rounds) == (
            "inconclusive",
            needs,
            None,
            None,
            None,
        )
        assert only(compare(run, by="engine", at="p95")).verdict == "slower"

    def test_means_over_calls_have_no_verdict(self) -> None:
        run = result_of(self.rounds(2.0, 400), self.rounds(3.0, 400, 1, calls=16, engine="compile"))
        row = only(compare(run, by="engine", at="p90"))
        assert row.verdict == "inconclusive"
        assert row.reason == "a sample is the mean of 16 calls: measure.percentile=90 times each by itself"

    @pytest.mark.parametrize(
        "at", ["p0", "p100", "p100.5", "99x", "99", "median", "p-1", "p", "", "p1e1", 99]
    )
    def test_what_is_no_percentile_is_refused(self, at: Any) -> None:
        run = result_of(self.rounds(2.0, 40), self.rounds(3.0, 40, 1, engine="compile"))
        assert complaint(run, by="engine", at=at) == (
            f"at={at} is not possible: give a percentile between p0 and p100, both excluded, such as p99 or "
            "p99.9."
        )


class TestVerdicts:
    def test_an_interval_entirely_above_one_is_slower(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, engine="compile"))
        row = only(compare(run, by="engine"))
        reference = stats.ttest_rel([math.log(each) for each in SLOW], [math.log(each) for each in FAST])
        interval = reference.confidence_interval()
        assert (row.a, row.b, row.phase, row.case) == ("eager", "compile", "inference", "dense infer")
        assert row.ratio == pytest.approx(stats.gmean(SLOW) / stats.gmean(FAST))
        assert (row.low, row.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
        assert row.p == row.p_adjusted == pytest.approx(reference.pvalue)
        assert (row.verdict, row.reason, row.more_rounds) == ("slower", None, None)
        assert (row.a_rounds, row.b_rounds, row.paired) == (6, 6, True)
        assert (row.a_time, row.b_time) == (median(FAST), median(SLOW))

    def test_an_interval_entirely_below_one_is_faster(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, engine="compile"))
        row = only(compare(run, by="engine", baseline="compile"))
        assert (row.a, row.b, row.verdict) == ("compile", "eager", "faster")

    def test_an_interval_within_the_margin_is_same_even_if_it_excludes_one(self, timed: Any) -> None:
        tiny = [each * 1.002 for each in FAST]
        run = result_of(timed(FAST, 0), timed(tiny, 1, engine="compile"))
        assert only(compare(run, by="engine")).verdict == "same"
        assert only(compare(run, by="engine", margin=0.001)).verdict == "slower"
        assert only(compare(run, by="engine", margin=0)).verdict == "slower"

    def test_an_inconclusive_verdict_says_how_many_more_rounds_would_settle_it(self, timed: Any) -> None:
        row = only(compare(result_of(timed(FAST, 0), timed(NOISY, 1, engine="compile")), by="engine"))
        assert row.verdict == "inconclusive"
        assert row.more_rounds is not None
        assert row.reason == f"about {row.more_rounds} more rounds"

    def test_one_round_says_nothing_of_how_processes_differ(self, timed: Any) -> None:
        row = only(compare(result_of(timed([1.0], 0), timed([9.0], 1, engine="compile")), by="engine"))
        assert (row.ratio, row.low, row.high, row.p) == (pytest.approx(9), None, None, None)
        assert (row.verdict, row.reason, row.more_rounds) == ("inconclusive", ONE_ROUND, None)
        assert "measure.rounds=6" in ONE_ROUND

    def test_the_margin_is_symmetric(self) -> None:
        up, down = (Ratio(sign * math.log(1.04), (Part(1e-12, 6),)) for sign in (1, -1))
        assert [each.verdict for each in judge([up, down], margin=0.05)] == ["same", "same"]
        assert [each.verdict for each in judge([up, down], margin=0.03)] == ["slower", "faster"]

    def test_one_of_many_comparisons_needs_a_smaller_p(self) -> None:
        """p is 0.04 for the first, and 0.04 · 3 if adjusted for the other two, which are not significant."""
        error = 0.02
        log = float(stats.t.ppf(0.98, 5)) * error
        first, nothing = Ratio(log, (Part(6 * error**2, 6),)), Ratio(1e-4, (Part(6 * error**2, 6),))
        assert judge([first])[0].verdict == "slower"
        judged = judge([first, nothing, nothing])[0]
        assert judged.verdict == "inconclusive"
        assert judged.p_adjusted == pytest.approx(0.12)
        assert judged.reason is not None
        assert judged.reason.startswith("slower by itself, but not among 3 comparisons (p 0.12): about ")
        assert judged.more_rounds is not None
        rounds = 6 + judged.more_rounds
        half_widths = [
            float(stats.t.ppf(1 - 0.05 / 3 / 2, n - 1)) * math.sqrt(6 * error**2 / n)
            for n in (rounds - 1, rounds)
        ]
        assert half_widths[0] >= log > half_widths[1]

    def test_a_comparison_without_an_interval_does_not_count_among_the_others(self) -> None:
        log = float(stats.t.ppf(0.98, 5)) * 0.02
        first, unknown = Ratio(log, (Part(6 * 0.02**2, 6),)), Ratio(1.0, ())
        assert [each.verdict for each in judge([first, unknown])] == ["slower", "inconclusive"]

    def test_one_more_round_is_one(self) -> None:
        """As in test_ratio: twelve rounds do not settle it, thirteen do."""
        judged = judge([Ratio(0.0303, (Part(0.05**2, 12),))])[0]
        assert (judged.reason, judged.more_rounds) == ("about 1 more round", 1)

    def test_very_many_rounds_are_not_counted(self) -> None:
        judged = judge([Ratio(0.005, (Part(0.25, 6),))])[0]
        assert judged.reason == ">1000 more rounds"


class TestRounds:
    DISTURBED = (3.0, 9.0, 1.5, 6.0, 4.5, 12.0)

    def test_rounds_of_one_interleaved_run_are_compared_one_by_one(self, timed: Any) -> None:
        slower = [3.3, 9.9, 1.65, 6.7, 4.95, 13.1]
        run = result_of(timed(self.DISTURBED, 0), timed(slower, 1, engine="compile"))
        assert only(compare(run, by="engine")).verdict == "slower"

    def test_rounds_of_a_sequential_run_are_not_paired(self, timed: Any) -> None:
        slower = [each * 1.1 for each in self.DISTURBED]
        run = result_of(
            timed(self.DISTURBED, 0, schedule="sequential"),
            timed(slower, 1, schedule="sequential", engine="compile"),
        )
        compared = compare(run, by="engine")
        assert (only(compared).paired, only(compared).verdict) == (False, "inconclusive")
        assert [text for text in compared.warnings if "schedule=sequential" in text]

    def test_rounds_of_separate_runs_are_not_paired(self, timed: Any) -> None:
        a, b = timed(FAST), timed(SLOW[:3], run_id="s")
        row = only(compare(result_of(a), result_of(b)))
        reference = stats.ttest_ind(
            [math.log(each) for each in SLOW[:3]], [math.log(each) for each in FAST], equal_var=False
        )
        assert (row.paired, row.a_rounds, row.b_rounds) == (False, 6, 3)
        assert row.p == pytest.approx(reference.pvalue)

    def test_a_round_that_failed_on_one_side_is_left_out(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed([1.2, None, 1.2, 1.2, 1.2, 1.2], 1, engine="compile"))
        row = only(compare(run, by="engine"))
        assert (row.paired, row.a_rounds, row.b_rounds) == (True, 5, 5)
        assert row.a_time == median([FAST[0], *FAST[2:]])

    def test_rounds_that_different_commands_measured_are_not_paired(self, timed: Any) -> None:
        """A case that was added when the run was completed was not interleaved with the others."""
        of_run = timed(SLOW, 1, engine="compile")
        added = [replace(each, run=replace(each.run, invocation="later")) for each in of_run]
        compared = compare(result_of(timed(FAST, 0), added), by="engine")
        assert not only(compared).paired
        assert [text for text in compared.warnings if "different commands that completed the run" in text]

    def test_the_last_of_several_runs_in_a_folder_is_compared(self, timed: Any) -> None:
        before, stale, after = timed(FAST), timed([3.0] * 6, run_id="s"), timed(FAST, run_id="t")
        row = only(compare(result_of(before), result_of(stale, after)))
        assert row.ratio == pytest.approx(1.0)

    def test_one_round_in_common_is_not_paired(self, timed: Any) -> None:
        run = result_of(timed([1.0, 1.1, None, None], 0), timed([None, 1.2, 1.2, 1.3], 1, engine="compile"))
        row = only(compare(run, by="engine"))
        assert (row.paired, row.a_rounds, row.b_rounds) == (False, 2, 3)


class TestAcross:
    def test_cases_pair_if_they_agree_in_everything_else(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0), timed(FAST, 1, model="relu"))
        b = result_of(
            timed(SLOW, 0, run_id="s", engine="compile", model="relu"),
            timed(SLOW, 1, run_id="s", engine="compile"),
        )
        compared = compare(a, b)
        assert [row.case for row in compared.rows] == ["dense infer", "relu infer"]
        assert [str(each) for each in compared.differences] == ["engine: eager → compile"]
        assert compared.remarks == []

    def test_the_same_work_in_two_runs_differs_in_nothing(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0), timed(FAST, 1, batch_size=1))
        b = result_of(timed(SLOW, 0, run_id="s"), timed(SLOW, 1, run_id="s", batch_size=1))
        compared = compare(a, b)
        assert [row.case for row in compared.rows] == [
            "dense infer, batch_size=8",
            "dense infer, batch_size=1",
        ]
        assert compared.differences == []

    def test_measuring_options_are_not_part_of_the_work(self, timed: Any) -> None:
        a = result_of(timed(FAST), timed(FAST, 1, model="relu"))
        settings = {"run_id": "s", "isolation": "spawn", "measure__max_time": 1.0, "timeout": 9.0}
        b = result_of(timed(SLOW, **settings), timed(SLOW, 1, model="relu", **settings))
        compared = compare(a, b)
        assert [row.case for row in compared.rows] == ["dense infer", "relu infer"]
        assert compared.differences == []

    def test_a_cold_cache_is_part_of_the_work(self, timed: Any) -> None:
        compared = compare(
            result_of(timed(FAST)), result_of(timed(SLOW, run_id="s", measure__cold_cache=True))
        )
        assert [str(each) for each in compared.differences] == ["measure.cold_cache: false → true"]

    def test_two_single_cases_pair_if_only_their_configurations_differ(self, timed: Any) -> None:
        b = result_of(timed(SLOW, run_id="s", engine="compile", precision="bf16", threads=1))
        compared = compare(result_of(timed(FAST)), b)
        assert only(compared).verdict == "slower"
        assert {each.setting for each in compared.differences} == {"engine", "precision", "threads"}

    @pytest.mark.parametrize("settings", [{"batch_size": 1}, {"model": "relu"}, {"optimizer__lr": 0.5}])
    def test_two_single_cases_do_not_pair_if_their_work_differs(
        self, settings: dict[str, Any], timed: Any
    ) -> None:
        a, b = result_of(timed(FAST)), result_of(timed(SLOW, run_id="s", engine="compile", **settings))
        (key,) = settings
        option = key.replace("__", ".")
        text = complaint(a, b)
        assert f"the nearest two differ in {option}. " in text
        assert text.endswith(f"To compare them anyway: --by {option}.")
        assert only(compare(a, b, by=option)).verdict == "slower"

    def test_several_settings_of_the_work_may_differ(self, timed: Any) -> None:
        compared = compare(
            result_of(timed(FAST)),
            result_of(timed(SLOW, run_id="s", model="relu", batch_size=1, optimizer__lr=0.5)),
            by="model,cfg_batch_size, optimizer.lr",
        )
        assert only(compared).case == "dense→relu infer"
        assert [str(each) for each in compared.differences] == [
            "model: dense → relu",
            "optimizer.lr: 1e-06 → 0.5",
            "batch_size: 8 → 1",
        ]
        assert compared.by is None

    def test_settings_that_are_named_have_to_differ(self, timed: Any) -> None:
        a = result_of(timed(FAST), timed(FAST, 1, batch_size=1))
        b = result_of(timed(SLOW, run_id="s", engine="compile"))
        assert complaint(a, b, by="batch_size") == (
            "Nothing to compare by batch_size: A and B share values of it. These differ: engine."
        )
        assert "Did you mean batch_size?" in complaint(a, b, by="batchsize")

    def test_one_work_is_compared_with_each_that_matches(self, timed: Any) -> None:
        b = result_of(
            timed(SLOW, 0, run_id="s", engine="compile"), timed(SLOW, 1, run_id="s", engine="openvino")
        )
        compared = compare(result_of(timed(FAST)), b)
        assert [row.case for row in compared.rows] == [
            "dense infer, engine=eager→compile",
            "dense infer, engine=eager→openvino",
        ]

    def test_the_same_work_measured_twice_pairs_in_order(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0), timed(FAST, 0, run_id="r2"))
        b = result_of(timed(SLOW, 0, run_id="s"), timed(SLOW, 0, run_id="s2"))
        rows = compare(a, b).rows
        assert [(row.a_run_id, row.b_run_id) for row in rows] == [("r", "s"), ("r2", "s2")]
        assert [row.case for row in rows] == ["dense infer", "dense infer (2)"]

    def test_cases_without_a_counterpart_are_named(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0), timed(FAST, 1, model="relu"))
        b = result_of(timed(SLOW, 0, run_id="s"), timed(SLOW, 1, run_id="s", model="gelu"))
        compared = compare(a, b)
        assert only(compared).case == "dense infer"
        assert [text.rpartition(": ")[2] for text in compared.remarks] == ["relu infer", "gelu infer"]
        assert compared.remarks[0].startswith("not compared in A, because B has none")

    def test_an_error_says_why_nothing_pairs_and_what_there_is(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0, batch_size=1), timed(FAST, 1, batch_size=2, engine="compile"))
        b = result_of(timed(SLOW, 0, batch_size=2, run_id="s"), timed(SLOW, 1, batch_size=4, run_id="s"))
        text = complaint(a, b)
        assert "no case of A pairs with one of B: the nearest two differ in " in text
        assert (
            "A: dense infer, engine=eager, batch_size=1; dense infer, engine=compile, batch_size=2." in text
        )
        assert "B: dense infer, batch_size=2; dense infer, batch_size=4." in text

    def test_a_remedy_is_named_only_if_it_helps(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0, batch_size=1), timed(FAST, 1, batch_size=2, engine="compile"))
        b = result_of(timed(SLOW, 0, batch_size=2, run_id="s"), timed(SLOW, 1, batch_size=4, run_id="s"))
        assert "--by" not in complaint(a, b)

    def test_several_works_that_match_several_do_not_pair(self, timed: Any) -> None:
        a = result_of(timed(FAST, 0), timed(FAST, 1, engine="compile"))
        b = result_of(
            timed(FAST, 0, run_id="s", engine="openvino"), timed(FAST, 1, run_id="s", engine="torchscript")
        )
        assert "they differ in engine, and several match several" in complaint(a, b)


class TestWithin:
    def test_every_other_value_is_compared_with_the_first(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0, batch_size=1),
            timed(SLOW, 1, batch_size=1, allocator="tuned"),
            timed(SLOW, 2, batch_size=1, allocator="jemalloc"),
            timed(FAST, 3),
            timed(SLOW, 4, allocator="tuned"),
        )
        rows = compare(run, by="allocator").rows
        assert [(row.case, row.a, row.b) for row in rows] == [
            ("dense infer, batch_size=1", "system", "tuned"),
            ("dense infer, batch_size=1", "system", "jemalloc"),
            ("dense infer, batch_size=8", "system", "tuned"),
        ]

    def test_a_baseline_may_be_given_as_text_or_as_a_value(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0, batch_size=1), timed(SLOW, 1, batch_size=2))
        for baseline in ("2", 2):
            row = only(compare(run, by="batch_size", baseline=baseline))
            assert (row.a, row.b, row.case) == ("2", "1", "dense infer")

    @pytest.mark.parametrize("by", ["flush_denormal", "cfg_flush_denormal"])
    def test_values_are_named_as_on_the_command_line(self, by: str, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, flush_denormal=True))
        row = only(compare(run, by=by, baseline="true"))
        assert (row.a, row.b) == ("true", "false")

    def test_a_dotted_key_names_a_setting(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0, optimizer__lr=0.1), timed(SLOW, 1, optimizer__lr=0.2))
        row = only(compare(run, by="optimizer.lr"))
        assert (row.a, row.b) == ("0.1", "0.2")

    def test_a_group_covers_all_its_settings(self, timed: Any) -> None:
        conv = {"model": "conv", "model__cls": "torch.nn.Conv2d", "model__input_shape": [3, 8, 8]}
        compared = compare(result_of(timed(FAST, 0), timed(SLOW, 1, **conv)), by="model")
        assert (only(compared).a, only(compared).b, only(compared).case) == ("dense", "conv", "infer")

    def test_an_axis_that_does_not_vary_is_answered_with_those_that_do(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0, optimizer__lr=0.1), timed(SLOW, 1, optimizer__lr=0.2))
        row = only(compare(run, by="optimizer"))
        assert (row.a, row.b) == ("0.1", "0.2")
        run = result_of(
            timed(FAST, 0, optimizer__lr=0.1),
            timed(SLOW, 1, optimizer__lr=0.2, optimizer__cls="Adam"),
        )
        assert only(compare(run, by="optimizer")).b == "cls=Adam, lr=0.2"

    def test_measuring_options_can_be_compared_by(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, isolation="spawn"))
        compared = compare(run, by="isolation")
        assert (only(compared).b, compared.warnings) == ("spawn", [])

    def test_threads_that_follow_from_the_cpus_do_not_keep_cases_apart(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0, affinity=[0], threads=1), timed(SLOW, 1, affinity=[0, 1], threads=2))
        compared = compare(run, by="affinity")
        assert [str(each) for each in compared.differences] == ["affinity: 0 → 0,1", "threads: 1 → 2"]
        assert compared.warnings == []

    def test_other_machines_are_not_paired(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0, env={"host_id": "one"}),
            timed(SLOW, 1, engine="compile", env={"host_id": "one"}),
            timed(SLOW, 0, run_id="s", engine="compile", env={"host_id": "two"}),
        )
        compared = compare(run, by="engine")
        assert only(compared).b_run_id == "r"
        assert compared.remarks == [
            "not compared, because none agrees in everything but engine: dense infer, engine=compile"
        ]

    def test_unknown_names_are_reported_with_what_varies(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, allocator="tuned", batch_size=2))
        assert complaint(run, by="alocator") == (
            "Unknown setting to compare by 'alocator'. "
            "Did you mean allocator? Allowed: allocator, batch_size."
        )
        assert complaint(run, by="engine") == (
            "Nothing to compare by engine: it is the same in all cases. These vary: batch_size, allocator."
        )
        assert complaint(run, by="batch_size", baseline=3) == (
            "Unknown baseline of batch_size '3'. Allowed: 2, 8."
        )

    def test_cases_that_differ_in_more_are_not_paired(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, allocator="tuned", batch_size=2))
        assert complaint(run, by="allocator") == (
            "Nothing to compare by allocator: no two cases agree in everything else: "
            "dense infer, batch_size=8, allocator=system; dense infer, batch_size=2, allocator=tuned."
        )

    def test_one_case_has_nothing_to_compare(self, timed: Any) -> None:
        one = result_of(timed(FAST))
        assert "no setting differs between the cases (1)" in complaint(one, by="engine")
        assert complaint(one) == "Give a second run to compare with."

    def test_a_missing_setting_is_answered_with_those_that_vary(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, optimizer__lr=0.2, measure__cold_cache=True))
        assert complaint(run) == (
            "Give a second run to compare with, or a setting that varies in this one: optimizer, cold_cache."
        )

    def test_a_baseline_is_for_one_run(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, engine="compile"))
        assert "leave out the second" in complaint(run, run, baseline="eager")


class TestPhases:
    TRAIN = {"forward": FAST, "total": SLOW, "first_call": NOISY}  # noqa: RUF012

    def run(self, timed: Any) -> Result:
        return result_of(
            timed(self.TRAIN, 0, mode="train"), timed(self.TRAIN, 1, mode="train", engine="compile")
        )

    @pytest.mark.parametrize(
        ("phase", "phases"),
        [
            (None, ["total"]),
            ("forward,total", ["forward", "total"]),
            (["total", "forward", "total"], ["total", "forward"]),
            ("all", ["forward", "total", "first_call"]),
        ],
    )
    def test_the_chosen_phases_are_compared(self, phase: Any, phases: list[str], timed: Any) -> None:
        assert [row.phase for row in compare(self.run(timed), by="engine", phase=phase).rows] == phases

    def test_an_unknown_phase_is_reported_with_those_measured(self, timed: Any) -> None:
        assert complaint(self.run(timed), by="engine", phase="forwrd") == (
            "Unknown phase 'forwrd'. Did you mean forward? Allowed: all, first_call, forward, total."
        )

    def test_an_error_says_that_no_phase_is_in_common(self, timed: Any) -> None:
        run = result_of(timed(self.TRAIN, 0, mode="train"), timed(FAST, 1))
        assert complaint(run, by="mode") == (
            "Nothing to compare: total or inference was not measured on both sides: "
            "train has forward, total, first_call, infer has inference."
        )

    def test_a_phase_that_took_no_time_is_not_compared(self, timed: Any) -> None:
        short = {"forward": [0.0, 1.0], "total": [1.0, 1.1]}
        run = result_of(timed(short, 0, mode="train"), timed(short, 1, mode="train", engine="compile"))
        compared = compare(run, by="engine", phase="all")
        assert only(compared).phase == "total"
        assert "eager: dense train: forward is too short for its clock" in compared.remarks
        assert "forward is too short" in complaint(run, by="engine", phase="forward")


class TestFailures:
    def test_a_case_that_failed_is_a_remark(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0),
            timed(SLOW, 1, allocator="tuned"),
            timed([None], 2, allocator="jemalloc", error=(Status.SKIPPED, "not installed")),
        )
        compared = compare(run, by="allocator")
        assert only(compared).b == "tuned"
        assert compared.remarks == ["jemalloc: dense infer: skipped: not installed"]

    def test_a_case_with_a_wrong_answer_is_not_compared_and_reported(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed([0.1], 1, engine="compile", check=WRONG))
        told = "Nothing to compare: compile: dense infer: mismatch: the output is off."
        assert complaint(run, by="engine") == told
        others = timed(FAST, 2, seed=1), timed(SLOW, 3, seed=1, engine="compile")
        compared = compare(result_of(run.records, *others), by="engine")
        assert len(compared.rows) == 1
        assert compared.remarks == ["compile: dense infer, seed=0: mismatch: the output is off"]

    def test_an_error_says_that_there_are_only_failures(self, timed: Any) -> None:
        failed = result_of(timed([None], run_id="s"))
        assert (
            complaint(result_of(timed(FAST)), failed)
            == "Nothing to compare: B: dense infer: error: it broke."
        )

    def test_absences_are_what_only_the_baseline_has_measured(self, timed: Any) -> None:
        names = ("well", "broken", "gone", "unfit", "flaky", "never", "wrong")
        a = result_of(
            *(timed(FAST if name != "never" else [None], i, model=name) for i, name in enumerate(names))
        )
        b = result_of(
            timed(FAST, 0, run_id="s", model="well"),
            timed([None], 1, run_id="s", model="broken"),
            timed([None], 2, run_id="s", model="unfit", error=(Status.SKIPPED, "no such library")),
            timed([*FAST[:5], None], 3, run_id="s", model="flaky"),
            timed([None], 4, run_id="s", model="never"),
            timed([1.0], 5, run_id="s", model="wrong", check=WRONG),
        )
        assert {(each.kind, each.case, each.reason) for each in compare(a, b).absences} == {
            ("failed", "broken infer", "B: error: it broke"),
            ("missing", "gone infer", "B has no such case"),
            ("missing", "unfit infer", "B: skipped: no such library"),
            ("failed", "flaky infer", "B: 1 of 6 rounds: error: it broke"),
            ("failed", "wrong infer", "B: mismatch: the output is off"),
        }
        assert {each.kind for each in compare(b, b).absences} == set()

    def test_a_phase_that_the_other_has_not_measured_is_missing(self, timed: Any) -> None:
        train = {"forward": FAST, "total": SLOW}
        a, b = (
            result_of(timed(train, mode="train")),
            result_of(timed({"total": SLOW}, run_id="s", mode="train")),
        )
        (absence,) = compare(a, b, phase="all").absences
        assert (absence.kind, absence.reason) == ("missing", "B has not measured forward")
        assert compare(a, b).absences == []

    def test_runs_in_a_folder_before_the_last_are_not_missing(self, timed: Any) -> None:
        a = result_of(timed(FAST), timed(FAST, run_id="r2"))
        assert compare(a, result_of(timed(SLOW, run_id="s"))).absences == []

    def test_within_a_run_a_value_without_a_case_is_missing(self, timed: Any) -> None:
        run = result_of(
            timed(FAST, 0),
            timed(SLOW, 1, engine="compile"),
            timed(FAST, 2, batch_size=1),
        )
        (absence,) = compare(run, by="engine").absences
        assert (absence.kind, absence.reason) == ("missing", "compile has no such case")
        assert "batch_size=1" in absence.case

    def test_a_run_without_records_is_an_error(self, timed: Any) -> None:
        assert complaint(result_of(), result_of(timed(FAST))).endswith("records.jsonl has no records.")
        assert complaint(result_of(timed(FAST)), result_of()).endswith("records.jsonl has no records.")

    @pytest.mark.parametrize("margin", [-0.01, 1.0, math.nan, math.inf])
    def test_an_invalid_margin_is_an_error(self, margin: float, timed: Any) -> None:
        run = result_of(timed(FAST))
        assert f"margin={margin:g} is not possible" in complaint(run, run, margin=margin)


class TestSuite:
    def test_a_suite_has_the_geometric_mean_of_all_cases_of_a_phase(self, timed: Any) -> None:
        b = [each * 2 for each in FAST]
        run = result_of(
            timed(FAST, 0),
            timed(b, 1, engine="compile"),
            timed(FAST, 2, model="relu"),
            timed([each * 4 for each in b], 3, model="relu", engine="compile"),
        )
        (suite,) = compare(run, by="engine").suite
        assert (suite.phase, suite.a, suite.b, suite.cases) == ("inference", "eager", "compile", 2)
        assert (suite.ratio, suite.low, suite.high) == pytest.approx((4, 4, 4))

    def test_pairs_that_share_a_case_make_no_suite(self, timed: Any) -> None:
        b = result_of(timed(SLOW, 0, run_id="s", threads=1), timed(SLOW, 1, run_id="s", threads=3))
        compared = compare(result_of(timed(FAST)), b)
        assert (len(compared.rows), compared.suite) == (2, [])

    def test_one_case_makes_no_suite(self, timed: Any) -> None:
        assert compare(result_of(timed(FAST)), result_of(timed(SLOW, run_id="s"))).suite == []


class TestSurroundings:
    def separate(self, timed: Any, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
        return list(compare(result_of(timed(FAST, **a)), result_of(timed(SLOW, run_id="s", **b))).warnings)

    def test_separate_runs_are_not_interleaved(self, timed: Any) -> None:
        (text,) = self.separate(timed, {}, {})
        assert text.startswith("separate runs are not interleaved: what the machine did meanwhile")

    @pytest.mark.parametrize(
        ("field", "name", "first", "second"),
        [
            ("host_id", "host", "h", "other"),
            ("cpu", "CPU", "Some CPU", "Another"),
            ("torch", "torch", "2.11", "2.12"),
            ("python", "Python", "3.12", "3.13"),
            ("microbench", "microbench", "null", "0.2"),
            ("git", "git commit of microbench", "null", "abc-dirty"),
            ("gpu_uuid", "the GPU's UUID", "null", "GPU-1"),
            ("allocator", "allocator", "glibc 2.36", "tcmalloc"),
            ("threads", "threads", "2", "1"),
        ],
    )
    def test_a_surrounding_that_differs_is_named_with_both_values(
        self, field: str, name: str, first: str, second: str, timed: Any
    ) -> None:
        _, text = self.separate(timed, {}, {"env": {field: second}})
        assert text == f"{name} differs: A has {first}, B has {second}"

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({"measure__max_time": 1.0}, "measure.max_time differs: A has 5.0, B has 1.0"),
            ({"isolation": "spawn"}, "isolation differs: A has fork, B has spawn"),
            ({"schedule": "sequential"}, "schedule differs: A has interleaved, B has sequential"),
        ],
    )
    def test_differing_measuring_options_are_named(
        self, settings: dict[str, Any], text: str, timed: Any
    ) -> None:
        assert self.separate(timed, {}, settings)[1:] == [text]

    @pytest.mark.parametrize(
        ("sync", "clock", "text"),
        [
            ("device", BACKLOG, None),
            ("device", EVENTS, "what is timed differs: A has device time, B has stream time"),
            ("events", EVENTS, None),  # which was asked for
        ],
    )
    def test_times_of_another_kind_are_named_unless_they_were_asked_for(
        self, sync: str, clock: str, text: str | None
    ) -> None:
        def on_gpu(run: str, sync: str, clock: str) -> Result:
            config = configured(device="cuda", device__sync=sync)
            series = series_of("inference", FAST, clock=clock)
            return result_of([record_of({"inference": series}, config, run=run, round=n) for n in range(6)])

        found = compare(on_gpu("r", "device", BACKLOG), on_gpu("s", sync, clock))
        assert [each for each in found.warnings if "what is timed" in each] == ([text] if text else [])

    @pytest.mark.parametrize("b", [{"device__index": 1}, {"device": "cpu"}])
    def test_another_gpu_that_was_asked_for_causes_no_warning(self, b: dict[str, Any], timed: Any) -> None:
        a = {"device": "cuda", "env": {"gpu": "Some GPU", "gpu_uuid": "GPU-1"}}
        other = {"gpu": "Another", "gpu_uuid": "GPU-2"} if "device__index" in b else {}
        assert len(self.separate(timed, a, {"device": "cuda", "env": other} | b)) == 1

    def test_the_compared_setting_causes_no_warning(self, timed: Any) -> None:
        b = {"allocator": "tuned", "threads": 1, "measure__cold_cache": True, "env": {"allocator": "tuned"}}
        assert len(self.separate(timed, {}, b)) == 1

    def test_one_interleaved_run_needs_no_warning(self, timed: Any) -> None:
        run = result_of(timed(FAST, 0), timed(SLOW, 1, engine="compile"))
        assert compare(run, by="engine").warnings == []

    def test_a_run_compared_with_itself_is_a_warning(self, timed: Any) -> None:
        run = result_of(timed(FAST))
        compared = compare(run, run)
        assert only(compared).verdict == "same"
        assert compared.warnings == ["both sides are the same measurement"]


def test_what_is_implausibly_fast_is_not_compared(timed: Any) -> None:
    doubted = told(timed([0.1], 1, engine="export"), warnings=(IMPLAUSIBLE,))
    run = result_of(timed(FAST, 0), doubted, timed(SLOW, 2, engine="compile"))
    compared = compare(run, by="engine")
    assert only(compared).b == "compile"
    assert compared.remarks == ["export: dense infer: implausible: 3e+15 FLOP/s"]
    assert complaint(result_of(timed(FAST, 0), doubted), by="engine").startswith(
        "Nothing to compare: export: "
    )
