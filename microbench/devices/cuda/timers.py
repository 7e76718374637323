"""How samples are taken on a GPU: one timer for each value of `device.sync`."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from microbench.devices.cuda.backlog import Backlog
from microbench.devices.cuda.clock import EventClock, HostClock, cost_of, tick_of
from microbench.errors import SkippedError
from microbench.measure.experiment import Experiment, Mark, Marker, no_mark
from microbench.measure.timer import Timer, Times
from microbench.records import clocks

IN_FLIGHT = 0.01  # seconds of work that are set ahead of the GPU
LAUNCHING = 0.001  # seconds of launching without a wait: some hundred launches, for which the queue has room
TICKS = 500  # of the clock, that a sample lasts at least
COSTS = 100  # times the cost of a mark, likewise: marks take 1 % of it at most
BESIDE = 7  # samples of device time beside the stream's
TIME_BESIDE = 0.25  # seconds that they may take together; a step that takes longer has none


class Tidying:
    """Collects garbage where the memory that torch has reserved grows: cycles of objects may hold tensors."""

    def __init__(self) -> None:
        self._level: int | None = None

    def __call__(self) -> None:
        """Look at the memory, between bursts."""
        reserved = torch.cuda.memory_reserved()
        if self._level is not None and reserved > self._level:
            gc.collect()
        self._level = reserved


@dataclass
class StreamTimer(Timer):
    """Reads the stream's time, with steps set ahead of the GPU: the larger of the host's and the GPU's."""

    tidy: Tidying = field(default_factory=Tidying)

    def device_times(self, experiment: Experiment) -> array[float]:
        """Return a few samples of a whole step behind a backlog; none if it cannot be held back."""
        assert isinstance(self.clock, EventClock)
        found, backlog = array("d"), Backlog(self.clock)
        is_other = self.fallback is not None or experiment.burst is not None or experiment.runs > 1
        is_long = self._last is None or self._last[0] > TIME_BESIDE
        if is_other or is_long or backlog.refused(experiment, 1) is not None:
            return found
        start = time.perf_counter()
        while len(found) < BESIDE and time.perf_counter() - start < TIME_BESIDE:
            found.append(backlog.sample(experiment, 1).times[experiment.whole])
        return found


@dataclass
class _Fallible(Timer):
    """A timer of the work of this process alone.

    Attributes:
        instead: takes the samples of other work.
    """

    instead: Timer = field(kw_only=True)

    def ready(self, experiment: Experiment, calls: int) -> Timer:
        """Return the timer itself, or the one instead, which says why."""
        reason = self.refused(experiment, calls)
        return self if reason is None else replace(self.instead, fallback=reason)

    def observer(self, experiment: Experiment) -> str:
        """Return the name of its clock; of an engine that times itself, that of the timer instead."""
        return (self if experiment.burst is None else self.instead).clock.name

    def refused(self, experiment: Experiment, calls: int) -> str | None:
        """Return why it cannot take samples of so many calls; None if it can."""
        return None if experiment.burst is None else "the engine times itself, in another process"


@dataclass
class DeviceTimer(_Fallible):
    """Reads the GPU's time alone, of samples behind a backlog, and the host's time to launch each."""

    def __post_init__(self) -> None:
        assert isinstance(self.clock, EventClock)
        self._backlog = Backlog(self.clock)
        self.beside = {clocks.HOST: clocks.LAUNCH}

    @property
    def name(self) -> str:
        """The clock of its samples; those of the warm-up are not held back."""
        return clocks.BACKLOG

    def refused(self, experiment: Experiment, calls: int) -> str | None:
        """Look for a backlog that is long enough; return why there is none."""
        return super().refused(experiment, calls) or self._backlog.refused(experiment, calls)

    def take(self, experiment: Experiment, calls: int, most: int) -> Iterator[Times]:
        """Yield one sample, and the host's time to launch it.

        Raises:
            SkippedError: it cannot be held back after all.
        """
        held = self._backlog.sample(experiment, calls)
        self.sm_clocks.append(held.sm_clock)
        yield {**held.times, clocks.HOST: held.launch}


@dataclass
class HostTimer(_Fallible):
    """Reads the host's clock at each border of a phase: after a wait for the GPU, or without."""

    def fitted(self, experiment: Experiment) -> Experiment:
        """Return the experiment; calls are not merged where each of them is waited for.

        Raises:
            SkippedError: the GPU passes the borders of its phases by itself.
        """
        if experiment.reuses_marks:
            raise SkippedError(
                "a CUDA graph of a training step has no borders at which the host could read its clock: use "
                "device.sync=events, step or device"
            )
        return replace(experiment, mergeable=experiment.mergeable and self.clock.ahead)


@dataclass
class StepTimer(HostTimer):
    """Reads the host's clock before and after a whole step, and waits for the GPU before each reading."""

    def fitted(self, experiment: Experiment) -> Experiment:
        """Return the experiment with the whole step as its only phase."""
        if experiment.burst is not None:
            return experiment
        whole, step = experiment.whole, experiment.step

        def timed(mark: Marker, calls: int) -> Sequence[Mark]:
            start = mark()
            step(no_mark, calls)
            return start, mark()

        return super().fitted(
            replace(
                experiment,
                step=timed,
                phases={whole: (0, 1)},
                main=(whole,),
                of_layers=tuple(each for each in experiment.of_layers if each == whole),
                reuses_marks=False,
            )
        )


def timer_of(sync: str, clock: EventClock, place: torch.device) -> Timer:
    """Return the timer for a value of `device.sync`.

    Args:
        sync: the value.
        clock: the device's clock.
        place: the device, on which the clock's resolution is measured.
    """
    tick, tidy = tick_of(clock, place), Tidying()
    stream = StreamTimer(clock, IN_FLIGHT, tick, max(TICKS * tick, COSTS * cost_of(clock)))
    match sync:
        case "step":
            return StepTimer(HostClock(clocks.STEP, waits=True), tidy=tidy, instead=stream)
        case "phase":
            return HostTimer(HostClock(clocks.PHASE, waits=True), tidy=tidy, instead=stream)
        case "none":
            return HostTimer(HostClock(clocks.LAUNCH, waits=False), LAUNCHING, tidy=tidy, instead=stream)
        case "device":
            return DeviceTimer(clock, 0.0, tick, TICKS * tick, tidy=tidy, instead=stream)
    return stream
