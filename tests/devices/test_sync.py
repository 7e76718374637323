"""Each value of `device.sync` on a simulated GPU: the figure is what its definition says, within a tick."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import pytest
import torch
from simulated import Gpu, by_hand, installed

from microbench.devices.cuda import backlog
from microbench.devices.cuda.clock import EventClock, cost_of, tick_of
from microbench.devices.cuda.timers import BESIDE, TICKS, Tidying, timer_of
from microbench.errors import SkippedError
from microbench.measure import sampler
from microbench.measure.experiment import Experiment, Mark, Marker
from microbench.measure.sampler import Sampled
from microbench.measure.stopping import StoppingRule
from microbench.measure.timer import Timer
from microbench.modes.infer import step_of_calls
from microbench.options.compose import from_options
from microbench.records import clocks
from microbench.worker.steps import Steps

CUDA = torch.device("cuda")
RULE = StoppingRule(0.02, 0.02, 0.1, 20, 200)
US = 1e-6


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return installed(Gpu(), monkeypatch)


@dataclass
class Found:
    """What the sampler found."""

    timer: Timer
    sampled: Sampled
    experiment: Experiment

    def __getitem__(self, phase: str) -> float:
        found = {**self.sampled.samples, **self.sampled.beside}
        return median(found[phase])


def inference(call: Callable[[], None], before: Callable[[], object] | None = None) -> Experiment:
    return Experiment(
        step_of_calls(call),
        {"inference": (0, 1)},
        ("inference",),
        "inference",
        mergeable=before is None,
        before=before,
    )


def training(gpu: Gpu, seconds: float, *kernels: int) -> Experiment:
    """Return a step of three phases, with so many kernels of so many seconds each."""

    def step(mark: Marker, calls: int) -> Sequence[Mark]:
        marks = [mark()]
        for number in kernels:
            for _ in range(number):
                gpu.kernel(seconds)
            marks.append(mark())
        return marks

    phases = {"forward": (0, 1), "backward": (1, 2), "update": (2, 3), "total": (0, 3)}
    return Experiment(step, phases, ("forward", "backward", "total"), "total")


def kernels(gpu: Gpu, seconds: float, number: int = 1) -> Callable[[], None]:
    def call() -> None:
        for _ in range(number):
            gpu.kernel(seconds)

    return call


def measured(sync: str, experiment: Experiment, min_sample: float = 100 * US) -> Found:
    """Measure an experiment as a worker does: a first call, the warm-up, the number of calls, the samples."""
    timer = timer_of(sync, EventClock(), CUDA)
    experiment = timer.fitted(experiment)
    timer.observe(experiment)
    warmup = sampler.run_warmup(experiment, timer, 1.0)
    timer, calls = sampler.calibrated(experiment, timer, warmup.typical, min_sample)
    sampled = sampler.sample(experiment, timer, RULE, calls, lambda progress: None)
    return Found(timer, sampled, experiment)


@pytest.mark.parametrize("launch", [6 * US, 12 * US])
@pytest.mark.parametrize("seconds", [2 * US, 10 * US, 50 * US, 1000 * US])
def test_events_agree_with_a_loop_by_hand(seconds: float, launch: float, gpu: Gpu) -> None:
    gpu.launch = launch
    call = kernels(gpu, seconds)
    found = measured("events", inference(call))["inference"]
    assert found == pytest.approx(by_hand(gpu, call), rel=0.02)


@pytest.mark.parametrize("launch", [6 * US, 12 * US])
@pytest.mark.parametrize(
    ("seconds", "number"), [(10 * US, 20), (50 * US, 150), (5 * US, 700), (2 * US, 3000), (400 * US, 100)]
)
def test_events_agree_with_a_loop_by_hand_for_calls_of_many_kernels(
    seconds: float, number: int, launch: float, gpu: Gpu
) -> None:
    gpu.launch = launch
    call = kernels(gpu, seconds, number)
    found = measured("events", inference(call))["inference"]
    assert found == pytest.approx(by_hand(gpu, call, 20), rel=0.02)


def test_events_agree_where_some_kernels_wait_for_the_host_and_others_for_the_gpu(gpu: Gpu) -> None:
    def call() -> None:
        for seconds in (2 * US, 2 * US, 50 * US, 2 * US):
            gpu.kernel(seconds)

    assert measured("events", inference(call))["inference"] == pytest.approx(by_hand(gpu, call), rel=0.02)


def test_phases_of_a_short_step_have_no_launch_in_them_where_the_gpu_takes_longer(gpu: Gpu) -> None:
    found = measured("events", training(gpu, 10 * US, 1, 2, 1))
    one = gpu.gap + 10 * US
    for phase, number in (("forward", 1), ("backward", 2), ("update", 1)):
        assert found[phase] == pytest.approx(number * one + gpu.stamp, abs=gpu.tick)
    assert found["total"] == pytest.approx(4 * one + 3 * gpu.stamp, abs=gpu.tick)
    assert found.sampled.calls_per_sample == 1


def expected_step(gpu: Gpu, call: Callable[[], None]) -> float:
    gpu.synchronize()
    start = gpu.host
    call()
    gpu.synchronize()
    return gpu.host - start


SCENARIOS = [(2 * US, 1), (10 * US, 20), (1000 * US, 1), (2 * US, 150), (50 * US, 150)]


@pytest.mark.parametrize(("seconds", "number"), SCENARIOS)
def test_step_is_the_hosts_time_from_idle_to_idle(seconds: float, number: int, gpu: Gpu) -> None:
    call = kernels(gpu, seconds, number)
    found = measured("step", inference(call))
    assert found["inference"] == pytest.approx(expected_step(gpu, call), abs=2e-9)
    assert (found.timer.name, found.sampled.calls_per_sample) == (clocks.STEP, 1)


def test_step_times_a_training_step_as_a_whole_alone(gpu: Gpu) -> None:
    found = measured("step", training(gpu, 10 * US, 3, 6, 2))
    assert list(found.sampled.samples) == ["total"]
    assert found["total"] == pytest.approx(expected_step(gpu, kernels(gpu, 10 * US, 11)), abs=2e-9)
    assert "event" not in gpu.log[-100:]


def test_phase_is_the_hosts_time_with_a_wait_at_each_border(gpu: Gpu) -> None:
    found = measured("phase", training(gpu, 10 * US, 3, 6, 2))
    for phase, number in (("forward", 3), ("backward", 6), ("update", 2)):
        assert found[phase] == pytest.approx(expected_step(gpu, kernels(gpu, 10 * US, number)), abs=2e-9)
    assert found["total"] == pytest.approx(sum(found[each] for each in ("forward", "backward", "update")))
    assert found.timer.name == clocks.PHASE


@pytest.mark.parametrize(("seconds", "number"), [(2 * US, 1), (50 * US, 1), (2 * US, 20), (10 * US, 100)])
def test_none_is_the_hosts_time_to_launch(seconds: float, number: int, gpu: Gpu) -> None:
    found = measured("none", inference(kernels(gpu, seconds, number)))
    assert found["inference"] == pytest.approx(number * gpu.launch, abs=2e-9)
    assert found.timer.name == clocks.LAUNCH


@pytest.mark.parametrize("launch", [6 * US, 12 * US])
@pytest.mark.parametrize(("seconds", "number"), SCENARIOS)
def test_device_does_not_depend_on_the_host(seconds: float, number: int, launch: float, gpu: Gpu) -> None:
    gpu.launch = launch
    found = measured("device", inference(kernels(gpu, seconds, number)))
    calls = found.sampled.calls_per_sample
    whole = number * (gpu.gap + seconds) + gpu.stamp / calls
    assert found["inference"] == pytest.approx(whole, abs=gpu.tick / calls + 1e-12)
    assert found[clocks.HOST] == pytest.approx(number * launch + 2 * gpu.record / calls, abs=2e-9)
    assert found.timer.name == clocks.BACKLOG
    assert found.timer.fallback is None


def test_device_tells_the_clock_rate_of_each_sample(gpu: Gpu) -> None:
    def call() -> None:
        gpu.kernel(50 * US)
        gpu.sm_clock *= 0.999  # it gets warmer

    begun = gpu.sm_clock
    found = measured("device", inference(call))
    rates = found.timer.sm_clocks
    assert len(rates) == len(found.sampled.samples["inference"])
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] == pytest.approx(gpu.sm_clock, rel=0.02)
    assert rates[-1] < 0.95 * begun


@pytest.mark.parametrize("launch", [6 * US, 12 * US])
@pytest.mark.parametrize("hiccup", [0.0, 60 * US, 200 * US])
def test_the_clock_rate_does_not_depend_on_the_host(
    launch: float, hiccup: float, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.launch = launch
    sleep, spins = gpu.sleep, 0

    def slow(cycles: int) -> None:
        nonlocal spins
        spins += 1
        gpu.host += hiccup if spins % 20 == 0 else 0.0
        sleep(cycles)

    monkeypatch.setattr(torch.cuda, "_sleep", slow)
    rates = measured("device", inference(kernels(gpu, 50 * US))).timer.sm_clocks
    assert len(rates) >= 20
    assert list(rates) == pytest.approx([gpu.sm_clock] * len(rates), rel=0.002)


def test_device_splits_a_training_step_into_its_phases(gpu: Gpu) -> None:
    gpu.launch = 20 * US
    found = measured("device", training(gpu, 5 * US, 10, 20, 3))
    for phase, number in (("forward", 10), ("backward", 20), ("update", 3)):
        assert found[phase] == pytest.approx(number * (gpu.gap + 5 * US) + gpu.stamp, abs=gpu.tick)
    assert found[clocks.HOST] == pytest.approx(33 * gpu.launch + 4 * gpu.record, abs=2e-9)


def test_work_that_does_not_fit_into_the_queue_falls_back_to_events(gpu: Gpu) -> None:
    call = kernels(gpu, 5 * US, 3000)
    found = measured("device", inference(call))
    assert found.timer.fallback is not None
    assert "the GPU's queue has no room for it" in found.timer.fallback
    assert found.timer.name == clocks.EVENTS
    assert found["inference"] == pytest.approx(by_hand(gpu, call, 20), rel=0.02)
    assert list(found.sampled.beside) == []


def test_samples_that_become_too_long_for_the_queue_fall_back_to_events(gpu: Gpu) -> None:
    """The first call, which waits for the host, suggests fewer calls than device time needs."""
    call = kernels(gpu, 1 * US, 6)
    found = measured("device", inference(call), min_sample=5e-3)
    assert found.timer.fallback is not None
    assert "the GPU's queue has no room for it" in found.timer.fallback
    assert found.timer.name == clocks.EVENTS
    assert found["inference"] == pytest.approx(by_hand(gpu, call), rel=0.02)
    assert found["inference"] * found.sampled.calls_per_sample == pytest.approx(5e-3, rel=0.05)


def test_work_that_waits_falls_back_to_events_and_its_place_is_told(gpu: Gpu) -> None:
    def call() -> None:
        gpu.kernel(10 * US)
        gpu.item()
        gpu.kernel(10 * US)

    found = measured("device", inference(call))
    assert found.timer.fallback is not None
    assert found.timer.fallback.startswith(f"the work waits for the GPU in {__file__}:")
    assert found["inference"] == pytest.approx(by_hand(gpu, call), rel=0.02)
    assert gpu.mode == 0
    assert not found.timer.device_times(found.experiment)


def test_a_hiccup_of_the_host_makes_no_sample_too_long(gpu: Gpu) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            gpu.host += 5e-3
        gpu.kernel(600 * US)

    found = measured("device", inference(call))
    assert found.timer.fallback is None
    longest = max(found.sampled.samples["inference"])
    assert longest == pytest.approx(gpu.gap + 600 * US + gpu.stamp, abs=gpu.tick)


@pytest.mark.parametrize("sync", ["device", "step", "phase"])
@pytest.mark.parametrize("launch", [6 * US, 12 * US])
def test_cold_work_never_looks_faster_than_warm(sync: str, launch: float, gpu: Gpu) -> None:
    gpu.launch = launch
    is_cold = False

    def call() -> None:
        nonlocal is_cold
        gpu.kernel(4 * US if is_cold else 2 * US)
        is_cold = False

    def evict() -> None:
        nonlocal is_cold
        gpu.kernel(45 * US, "evict")
        is_cold = True

    single = replace(inference(call), mergeable=False)
    warm, cold = measured(sync, single), measured(sync, replace(single, before=evict))
    assert cold["inference"] - warm["inference"] == pytest.approx(2 * US, abs=gpu.tick + 2e-9)


def test_the_cache_is_evicted_behind_the_backlog_and_not_timed(gpu: Gpu) -> None:
    evict = lambda: gpu.kernel(45 * US, "evict")  # noqa: E731
    found = measured("device", inference(kernels(gpu, 10 * US), evict))
    number = len(found.sampled.samples["inference"])
    spin = ["synchronize", "sleep", "event", "sleep", "event"]
    sample = [*spin, "evict", "event", "kernel", "event", "wait", "wait"]
    assert gpu.log[-11 * number :] == sample * number


def test_what_comes_before_a_sample_does_not_hide_the_launch(gpu: Gpu) -> None:
    call = kernels(gpu, 2 * US)
    long = measured("events", inference(call, lambda: gpu.kernel(100 * US)))["inference"]
    short = measured("events", inference(call, lambda: gpu.kernel(1 * US)))["inference"]
    assert long == pytest.approx(short, abs=1.5 * gpu.tick)


def test_a_burst_waits_after_its_last_step_alone(gpu: Gpu) -> None:
    timer = timer_of("events", EventClock(), CUDA)
    experiment = training(gpu, 50 * US, 1, 2, 1)
    timer.observe(experiment)
    gpu.log.clear()
    assert len(list(timer.take(experiment, 1, 8))) == 8
    step = ["event", "kernel", "event", "kernel", "kernel", "event", "kernel", "event"]
    assert gpu.log[: 9 * len(step)] == step * 9  # the first fills the queue
    assert set(gpu.log[9 * len(step) :]) == {"wait"}


def test_a_burst_holds_some_milliseconds_and_some_hundred_launches(gpu: Gpu) -> None:
    for seconds, most in ((1000 * US, 10), (100 * US, 100), (2 * US, 500)):
        timer = timer_of("events", EventClock(), CUDA)
        experiment = inference(kernels(gpu, seconds))
        timer.observe(experiment)
        timer.observe(experiment)
        gpu.log.clear()
        number = len(list(timer.take(experiment, 1, 10_000)))
        assert number > 5
        assert gpu.log.count("kernel") == number + 1 <= most
        assert len(gpu.log) - gpu.log.count("wait") <= 500


def test_steps_that_take_longer_than_a_burst_are_waited_for_one_by_one(gpu: Gpu) -> None:
    timer = timer_of("events", EventClock(), CUDA)
    experiment = inference(kernels(gpu, 20e-3))
    timer.observe(experiment)
    gpu.log.clear()
    assert len(list(timer.take(experiment, 1, 10))) == 1
    assert gpu.log == ["event", "kernel", "event", "wait"]


def test_marks_that_each_step_sets_again_are_read_before_the_next(gpu: Gpu) -> None:
    timer = timer_of("events", EventClock(), CUDA)
    experiment = replace(inference(kernels(gpu, 50 * US)), reuses_marks=True)
    timer.observe(experiment)
    assert len(list(timer.take(experiment, 1, 10))) == 1


@pytest.mark.parametrize(("sync", "skips"), [("phase", True), ("none", True), ("step", False)])
def test_a_graph_has_no_borders_for_the_hosts_clock(sync: str, skips: bool, gpu: Gpu) -> None:
    timer = timer_of(sync, EventClock(), CUDA)
    experiment = replace(training(gpu, 50 * US, 1, 1, 1), reuses_marks=True)
    if skips:
        with pytest.raises(SkippedError, match=r"use device\.sync=events, step or device$"):
            timer.fitted(experiment)
    else:
        assert list(timer.fitted(experiment).phases) == ["total"]


@pytest.mark.parametrize("sync", ["step", "phase", "none", "device"])
def test_an_engine_that_times_itself_falls_back_to_events(sync: str, gpu: Gpu) -> None:
    timer = timer_of(sync, EventClock(), CUDA)
    own = replace(inference(kernels(gpu, US)), burst=lambda calls, samples: [])
    found = timer.ready(timer.fitted(own), 1)
    assert (found.name, found.fallback) == (clocks.EVENTS, "the engine times itself, in another process")
    assert list(timer.fitted(own).phases) == ["inference"]


def by_itself(gpu: Gpu, seconds: float) -> tuple[Experiment, list[int]]:
    """Return an experiment that another process times by events of its own, and the lengths of its bursts."""
    asked, clock = list[int](), EventClock()
    step = step_of_calls(kernels(gpu, seconds))

    def burst(calls: int, number: int) -> list[list[float]]:
        asked.append(number)
        taken = [step(clock.mark, calls) for _ in range(number)]
        return [clock.seconds(marks) for marks in taken]

    own = replace(
        inference(kernels(gpu, seconds)),
        step=lambda mark, calls: burst(calls, 1)[0],
        burst=burst,
        seconds=lambda marks: marks,
    )
    return own, asked


@pytest.mark.parametrize("sync", ["events", "step"])
def test_the_first_step_of_an_engines_own_burst_only_fills_the_queue(sync: str, gpu: Gpu) -> None:
    own, asked = by_itself(gpu, 50 * US)
    timer = timer_of(sync, EventClock(), CUDA).ready(own, 1)
    for number in (1, 8):
        gpu.synchronize()  # the GPU is idle
        taken = [each["inference"] for each in timer.take(own, 1, number)]
        assert taken == pytest.approx([gpu.gap + 50 * US + gpu.stamp] * number, abs=gpu.tick)
    assert asked == [2, 9]


@pytest.mark.parametrize("sync", ["step", "phase", "none", "device"])
def test_the_first_call_of_an_engine_that_times_itself_is_named_after_its_events(sync: str, gpu: Gpu) -> None:
    own, _ = by_itself(gpu, 50 * US)
    case = from_options({"model": "dense", "device": "cpu"}, sweep=False)[0]
    timer = timer_of(sync, EventClock(), CUDA)
    steps = Steps(case.config, lambda progress: None, None)
    assert steps.first_call(timer.fitted(own), timer).clock == clocks.EVENTS
    plain = timer.fitted(inference(kernels(gpu, 50 * US)))
    assert steps.first_call(plain, timer).clock == timer.clock.name


def test_an_engines_own_burst_of_long_steps_has_no_step_too_many(gpu: Gpu) -> None:
    own, asked = by_itself(gpu, 20e-3)
    timer = timer_of("events", EventClock(), CUDA)
    timer.observe(own)
    assert len(list(timer.take(own, 1, 3))) == 3
    assert asked == [1, 3]


class TestDeviceTimeBesideTheStreams:
    def found(self, gpu: Gpu, seconds: float, number: int = 1) -> list[float]:
        found = measured("events", inference(kernels(gpu, seconds, number)))
        return list(found.timer.device_times(found.experiment))

    def test_it_is_known_of_work_that_waits_for_the_host(self, gpu: Gpu) -> None:
        found = self.found(gpu, 2 * US, 20)
        assert len(found) == BESIDE
        assert median(found) == pytest.approx(20 * (gpu.gap + 2 * US) + gpu.stamp, abs=gpu.tick)

    def test_it_takes_little_time(self, gpu: Gpu) -> None:
        assert 1 <= len(self.found(gpu, 0.1)) < BESIDE
        assert self.found(gpu, 0.3) == []

    def test_it_is_not_known_of_work_that_does_not_fit_into_the_queue(self, gpu: Gpu) -> None:
        assert self.found(gpu, 2 * US, 3000) == []


@pytest.mark.parametrize("tick", [32e-9, 0.5e-6, 1.024e-6])
def test_the_tick_is_found(tick: float, gpu: Gpu) -> None:
    gpu.tick = tick
    gpu.launch = 4.7e-6
    assert tick_of(EventClock(), CUDA) == pytest.approx(tick, rel=1e-3)


@pytest.mark.parametrize("sync", ["events", "device"])
def test_a_sample_lasts_five_hundred_ticks(sync: str, gpu: Gpu) -> None:
    gpu.tick = 1.024e-6
    found = measured(sync, inference(kernels(gpu, 5 * US)))
    shortest = found["inference"] * found.sampled.calls_per_sample
    assert shortest >= 0.95 * TICKS * gpu.tick
    one = measured(sync, inference(kernels(gpu, 5 * US)), min_sample=0.0)  # as for percentiles of calls
    assert one.sampled.calls_per_sample == 1


def test_no_interval_is_narrower_than_a_tick(gpu: Gpu) -> None:
    gpu.tick = 1.024e-6
    timer = timer_of("events", EventClock(), CUDA)
    experiment = training(gpu, 3 * US, 1, 2, 1)
    timer.observe(experiment)
    precise = replace(RULE, rel_ci=0.05, max_samples=100, max_time=10.0)
    sampled = sampler.sample(experiment, timer, precise, 1, lambda progress: None)
    assert sampled.stop_reason == "max_samples"  # 0.5 µs of a forward pass of some µs


def test_setting_a_mark_costs_what_the_host_takes(gpu: Gpu) -> None:
    assert cost_of(EventClock()) == pytest.approx(gpu.record, rel=0.01)


def test_garbage_is_collected_between_bursts_if_the_reserved_memory_grows(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "collect", lambda: gpu.log.append("collect"))
    timer = timer_of("events", EventClock(), CUDA)
    assert isinstance(timer.tidy, Tidying)
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        gpu.reserved += calls in (30, 60)
        gpu.kernel(100 * US)

    experiment = inference(call)
    timer.observe(experiment)
    gpu.log.clear()
    sampler.sample(experiment, timer, replace(RULE, min_samples=8, max_samples=100), 1, lambda progress: None)
    assert gpu.log.count("collect") == 2
    for index, each in enumerate(gpu.log):
        if each == "collect":
            assert gpu.log[index - 1] == "wait"


def test_a_spin_is_no_longer_than_it_must_be(gpu: Gpu) -> None:
    held = backlog.Backlog(EventClock())
    experiment = inference(kernels(gpu, 2 * US, 500))
    assert held.refused(experiment, 1) is None
    sample = held.sample(experiment, 1)
    spin = held._cycles / gpu.sm_clock
    assert sample.launch < spin < 8 * sample.launch
