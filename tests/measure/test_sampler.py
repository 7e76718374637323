from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, repeat

import pytest
from fakes import FakeClock

from microbench.measure.experiment import Experiment, Mark, Marker, Step
from microbench.measure.sampler import Sampled, calibrate, quiet_gc, run_warmup, sample
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import Timer, observe
from microbench.records.progress import Progress
from microbench.records.record import StopReason
from microbench.stats.median import relative_half_width


def rule(**settings: float) -> StoppingRule:
    """Return a rule that stops at the wanted precision, with these settings on top."""
    defaults = {"rel_ci": 0.01, "min_time": 0, "max_time": 1e9, "min_samples": 8, "max_samples": 1000}
    return StoppingRule(**(defaults | settings))  # type: ignore[arg-type]


def step_of(clock: FakeClock, durations: Iterable[Sequence[float]]) -> Step:
    """Return a step with these times between consecutive marks, once per call."""
    remaining = iter(durations)

    def step(mark: Marker, calls: int) -> list[Mark]:
        times = next(remaining)
        marks = [mark()]
        for seconds in times:
            clock.advance(seconds * calls)
            marks.append(mark())
        return marks

    return step


def one_phase(clock: FakeClock, durations: Iterable[float], mergeable: bool = False) -> Experiment:
    step = step_of(clock, ([seconds] for seconds in durations))
    return Experiment(step, {"work": (0, 1)}, main=("work",), whole="work", mergeable=mergeable)


def sampled(durations: Iterable[float], stop: StoppingRule, calls: int = 1) -> Sampled:
    clock = FakeClock()
    return sample(one_phase(clock, durations), Timer(clock), stop, calls, watch=lambda progress: None)


def test_a_phase_is_the_time_between_its_two_marks() -> None:
    clock = FakeClock()
    phases = {"first": (0, 1), "second": (2, 3), "total": (0, 3)}
    experiment = Experiment(step_of(clock, [[1, 2, 4]]), phases, main=("total",), whole="total")
    assert observe(experiment, clock) == {"first": 1, "second": 4, "total": 7}  # 2 s lie between the phases


def test_a_merged_sample_is_divided_by_its_calls() -> None:
    clock = FakeClock()
    assert observe(one_phase(clock, [0.25]), clock, calls=8) == {"work": 0.25}
    assert clock.now() == 2.0


def test_work_before_a_sample_is_in_no_sample() -> None:
    clock, done = FakeClock(), []

    def before() -> None:
        done.append(clock.now())
        clock.advance(8.0)

    cold = replace(one_phase(clock, [0.25, 0.5, 1.0] * 2), before=before)
    assert observe(cold, clock) == {"work": 0.25}
    assert done == [0.0]
    samples = sample(cold, Timer(clock), rule(max_samples=5), 1, lambda progress: None).samples["work"]
    assert samples.tolist() == [0.5, 1.0, 0.25, 0.5, 1.0]
    assert done == [0.0, 8.25, 16.75, 25.75, 34.0, 42.5]  # once for each, right before it


def test_the_time_it_takes_before_each_sample_counts_for_the_limit() -> None:
    clock = FakeClock()
    cold = replace(one_phase(clock, repeat(1.0)), before=lambda: clock.advance(4.0))
    result = sample(cold, Timer(clock), rule(max_time=35, min_samples=100), 1, lambda progress: None)
    assert (len(result.samples["work"]), result.stop_reason) == (7, StopReason.MAX_TIME)


def test_warm_up_does_the_work_before_each_sample_before_each_step() -> None:
    clock, done = FakeClock(), []
    cold = replace(one_phase(clock, repeat(0.25)), before=lambda: done.append(clock.now()))
    assert run_warmup(cold, Timer(clock), longest=10).times.tolist() == [0.25, 0.25]
    assert done == [0.0, 0.25]


def test_warm_up_follows_the_whole_step() -> None:
    clock = FakeClock()
    phases = {"first": (0, 1), "total": (0, 2)}
    experiment = Experiment(step_of(clock, repeat([0.25, 0.5])), phases, main=("first",), whole="total")
    warmup = run_warmup(experiment, Timer(clock), longest=10)
    assert warmup.times.tolist() == [0.75, 0.75]
    assert warmup.settled


@pytest.mark.parametrize(
    ("typical", "min_sample", "calls"),
    [(20e-6, 100e-6, 5), (30e-6, 100e-6, 4), (1.0, 100e-6, 1), (0.5, 0.0, 1), (0.0, 1.0, 1)],
)
def test_calls_are_merged_until_a_sample_is_long(typical: float, min_sample: float, calls: int) -> None:
    assert calibrate(one_phase(FakeClock(), [], mergeable=True), typical, min_sample) == calls


def test_calls_are_not_merged_where_the_experiment_forbids_it() -> None:
    assert calibrate(one_phase(FakeClock(), [], mergeable=False), 1e-6, 1.0) == 1


def test_samples_are_raw_in_order_and_none_dropped() -> None:
    durations = [1.0, 0.5, 64.0, 0.25, 0.5, 1.0, 0.125, 2.0]  # an outlier among them
    assert sampled(durations, rule(max_samples=8)).samples["work"].tolist() == durations


def test_every_phase_has_a_sample_of_every_step() -> None:
    clock = FakeClock()
    phases = {"first": (0, 1), "second": (1, 2), "total": (0, 2)}
    steps = [[float(i), float(2 * i)] for i in range(1, 10)]
    experiment = Experiment(step_of(clock, steps), phases, main=("total",), whole="total")
    samples = sample(experiment, Timer(clock), rule(max_samples=9), 1, lambda progress: None).samples
    assert {phase: values.tolist() for phase, values in samples.items()} == {
        "first": [float(i) for i in range(1, 10)],
        "second": [float(2 * i) for i in range(1, 10)],
        "total": [float(3 * i) for i in range(1, 10)],
    }


def test_merged_samples_are_per_call_and_their_calls_are_reported() -> None:
    result = sampled(repeat(0.25), rule(min_samples=8), calls=4)
    assert set(result.samples["work"]) == {0.25}
    assert result.calls_per_sample == 4


def test_stops_at_the_least_samples_when_these_are_precise() -> None:
    result = sampled(repeat(0.25), rule(min_samples=8))
    assert (len(result.samples["work"]), result.stop_reason) == (8, StopReason.REL_CI)


def test_looks_at_the_precision_at_the_geometric_counts_only() -> None:
    # 0.25 s each: the least time of 2.75 s is over at 11 samples, and the looks are at 8, 10, 13.
    result = sampled(repeat(0.25), rule(min_samples=8, min_time=2.75))
    assert (len(result.samples["work"]), result.stop_reason) == (13, StopReason.REL_CI)


def test_sampling_stops_at_the_time_limit() -> None:
    result = sampled(cycle([1.0, 2.0]), rule(max_time=30))
    assert (len(result.samples["work"]), result.stop_reason) == (20, StopReason.MAX_TIME)


def test_a_slow_case_overruns_its_time_for_six_samples() -> None:
    result = sampled(repeat(60.0), rule(max_time=10))
    assert (len(result.samples["work"]), result.stop_reason) == (6, StopReason.MAX_TIME)


def test_a_slow_round_overruns_its_time_for_no_more_than_its_own_least_samples() -> None:
    result = sampled(repeat(60.0), rule(max_time=10, least=3))
    assert (len(result.samples["work"]), result.stop_reason) == (3, StopReason.MAX_TIME)


def test_sampling_stops_at_the_most_samples() -> None:
    result = sampled(cycle([1.0, 2.0]), rule(max_samples=12))
    assert (len(result.samples["work"]), result.stop_reason) == (12, StopReason.MAX_SAMPLES)


def test_the_rule_watches_all_main_phases_and_no_other() -> None:
    clock = FakeClock()
    phases = {"steady": (0, 1), "noisy": (1, 2), "total": (0, 2)}
    steps = cycle([[8.0, 0.125], [8.0, 0.0625]])  # the total differs by 0.8 %, the noisy phase by half
    quiet = Experiment(step_of(clock, steps), phases, main=("steady", "total"), whole="total")
    assert sample(quiet, Timer(clock), rule(), 1, lambda progress: None).stop_reason is StopReason.REL_CI
    strict = Experiment(step_of(clock, steps), phases, main=("noisy", "total"), whole="total")
    stopped = sample(strict, Timer(clock), rule(max_samples=100), 1, lambda progress: None).stop_reason
    assert stopped is StopReason.MAX_SAMPLES


class TestReports:
    DURATIONS = (0.25, 0.125, 0.25, 0.5) * 5

    def reports(self, slow_watch: float = 0.0) -> tuple[list[Progress], Sampled]:
        """Return the reports on twenty samples of 5.625 s in total, with a watch that takes time itself."""
        clock = FakeClock()
        told: list[Progress] = []

        def watch(progress: Progress) -> None:
            told.append(progress)
            clock.advance(slow_watch)

        stop = rule(max_samples=20, max_time=20, min_samples=20)
        return told, sample(one_phase(clock, self.DURATIONS), Timer(clock), stop, 1, watch)

    def test_reports_come_half_a_second_apart(self) -> None:
        told, _ = self.reports()
        # A report at 0.625, 1.125, 1.75, 2.25, … s: after 0.25 + 0.125 + 0.25, then after 0.5, and again.
        assert [progress.n for progress in told] == [3, 4, 7, 8, 11, 12, 15, 16, 19]

    def test_reports_carry_every_sample_once_and_in_order(self) -> None:
        told, result = self.reports()
        carried = [seconds for progress in told for seconds in progress.samples["work"]]
        assert carried == result.samples["work"].tolist()[: told[-1].n]

    def test_the_time_a_report_takes_is_in_no_sample_and_brings_no_report(self) -> None:
        told, result = self.reports(slow_watch=0.4375)
        assert result.samples["work"].tolist() == list(self.DURATIONS)
        assert [progress.n for progress in told] == [progress.n for progress in self.reports()[0]]

    def test_a_report_says_how_far_it_has_come(self) -> None:
        told, result = self.reports()
        last = told[-1]
        first_19 = result.samples["work"][:19]
        assert (last.stage, last.phase, last.clock, last.calls_per_sample) == ("sample", "work", "fake", 1)
        assert (last.median, last.half_width) == relative_half_width(first_19)
        assert last.eta == 20 - sum(first_19)  # far from precise: the time limit comes first

    def test_a_report_has_the_percentile_that_is_wanted(self) -> None:
        clock, told = FakeClock(), list[Progress]()
        stop = replace(rule(max_samples=200, max_time=200, min_samples=200), quantile=0.9)
        result = sample(one_phase(clock, self.DURATIONS * 10), Timer(clock), stop, 1, told.append)
        last = told[-1]
        before = result.samples["work"][: last.n]
        assert (last.percentile, last.median, last.medians) == (90.0, 0.5, {"work": 0.5})
        assert (last.median, last.half_width) == relative_half_width(before, 0.9)

    def test_a_report_is_on_the_widest_main_phase(self) -> None:
        clock = FakeClock()
        told: list[Progress] = []
        phases = {"steady": (0, 1), "noisy": (1, 2), "total": (0, 2)}
        steps = cycle([[4.0, 1.0], [4.0, 3.0]])
        experiment = Experiment(
            step_of(clock, steps), phases, main=("steady", "noisy", "total"), whole="total"
        )
        sample(experiment, Timer(clock), rule(max_samples=10), 1, told.append)
        assert {progress.phase for progress in told[5:]} == {"noisy"}
        assert told[7].median == 2.0


@pytest.fixture(autouse=True)
def _gc_as_before() -> Iterator[None]:
    """Put the collector back, whatever a test did to it."""
    enabled = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if enabled else gc.disable)()


class TestQuietGc:
    def test_the_collector_is_off_and_existing_objects_are_frozen(self) -> None:
        gc.enable()
        with quiet_gc():
            assert not gc.isenabled()
            assert gc.get_freeze_count() > 0

    def test_collector_that_was_on_is_on_again(self) -> None:
        gc.enable()
        with quiet_gc():
            pass
        assert gc.isenabled()
        assert gc.get_freeze_count() == 0

    def test_collector_that_was_off_stays_off(self) -> None:
        gc.disable()
        with quiet_gc():
            pass
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0

    @pytest.mark.parametrize("enabled", [True, False])
    def test_collector_is_restored_after_an_exception(self, enabled: bool) -> None:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), quiet_gc():
            raise ZeroDivisionError
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() == 0

    def test_what_was_frozen_before_stays_frozen(self) -> None:
        gc.freeze()
        with quiet_gc():
            pass
        assert gc.get_freeze_count() > 0

    def test_garbage_is_collected_before_not_within(self) -> None:
        collections: list[str] = []

        def note(phase: str, info: dict[str, int]) -> None:
            collections.append(phase)

        gc.enable()
        gc.callbacks.append(note)
        try:
            with quiet_gc():
                before = len(collections)
                nodes = [[i] for i in range(100_000)]  # enough for many collections, were it on
                within = len(collections) - before
        finally:
            gc.callbacks.remove(note)
        assert len(nodes) == 100_000
        assert before > 0
        assert within == 0


def test_a_step_of_seconds_needs_no_warm_up_and_is_a_sample() -> None:
    clock = FakeClock()
    experiment = one_phase(clock, [2.0, 3.0, 4.0])
    first, second = observe(experiment, clock), observe(experiment, clock)
    warmup = run_warmup(experiment, Timer(clock), 100.0, first["work"], second)
    assert (len(warmup.times), warmup.windows, warmup.settled, warmup.typical) == (0, 0, True, 3.0)
    stop = rule(max_time=5.0, least=1)
    found = sample(experiment, Timer(clock), stop, 1, lambda progress: None, second)
    assert found.samples["work"].tolist() == [3.0, 4.0]


def test_a_sample_that_was_taken_before_may_be_enough() -> None:
    clock = FakeClock()
    stop = rule(max_time=0.0, least=1)
    found = sample(one_phase(clock, []), Timer(clock), stop, 1, lambda progress: None, {"work": 3.0})
    assert (found.samples["work"].tolist(), found.stop_reason) == ([3.0], StopReason.MAX_TIME)
    assert clock.now() == 0.0
