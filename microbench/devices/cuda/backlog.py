"""Device time: a sample whose work waits in the stream's queue until all of it has been launched."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import torch

from microbench.devices.cuda.clock import EventClock
from microbench.errors import SkippedError
from microbench.measure.experiment import Experiment, no_mark
from microbench.measure.timer import Times, read

FIRST = 1_000_000
"""Cycles of the first spin, about half a millisecond. It is doubled at least once: events around it, which
themselves take about a microsecond, then tell the clock rate to 0.2 %."""

LEADS = (200_000, 800_000, 3_200_000)
"""Cycles of the spin before, about a tenth of a millisecond, and of those where the host took longer."""

LONGEST = 0.05  # seconds of a spin: work that has not been launched by then does not fit into the queue
WAITS = "called a synchronizing CUDA operation"  # how torch's warning begins


@dataclass(frozen=True)
class Held:
    """A sample of work that was held back.

    Attributes:
        times: by phase, in seconds per call.
        launch: the host's seconds per call for launching it.
        sm_clock: the clock rate of the GPU's processors meanwhile, in Hz.
    """

    times: Times
    launch: float
    sm_clock: float


class Backlog:
    """Holds the stream back by a kernel that spins for some cycles, and counts them against two events.

    Args:
        clock: sets the events.
    """

    def __init__(self, clock: EventClock) -> None:
        self._clock = clock
        self._cycles = FIRST
        self._spin = 0.0  # seconds of the last one

    def refused(self, experiment: Experiment, calls: int) -> str | None:
        """Return why samples of so many calls cannot be held back; None if they can be.

        The work is done once before, to see whether it waits for the GPU: held back, it would wait for the
        spin to end.
        """
        if (place := waits_at(experiment)) is not None:
            return f"the work waits for the GPU in {place}"
        while self._try(experiment, calls, self._cycles) is None:
            if self._spin >= LONGEST:
                return (
                    f"the host takes more than {LONGEST * 1e3:.0f} ms to launch the work, or the GPU's queue "
                    "has no room for it"
                )
            self._cycles *= 2
        self._cycles *= 2  # the host is not always as fast
        return None

    def sample(self, experiment: Experiment, calls: int) -> Held:
        """Take a sample of work that can be held back.

        Raises:
            SkippedError: the work of so many calls cannot be.
        """
        cycles = self._cycles
        while (held := self._try(experiment, calls, cycles)) is None:
            if self._spin >= LONGEST:
                raise SkippedError(
                    f"device.sync=device cannot hold back {calls} calls until the host has launched them: "
                    "lower measure.min_sample, or use device.sync=events"
                )
            cycles *= 2
        return held

    def _try(self, experiment: Experiment, calls: int, cycles: int) -> Held | None:
        """Take a sample behind so many cycles; None if they were over before all was launched."""
        clock, before = self._clock, experiment.before
        begin, end = self._spinning(cycles)
        if before is not None:
            before()
        start = time.perf_counter_ns()
        marks = experiment.step(clock.mark, calls)
        launch = (time.perf_counter_ns() - start) * 1e-9 / calls
        is_held = not end.query()  # type: ignore[no-untyped-call]
        times = read(experiment, clock, calls, marks)
        self._spin = clock.seconds([begin, end])[1]
        return Held(times, launch, cycles / self._spin) if is_held else None

    def _spinning(self, cycles: int) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        """Let an idle stream spin, and return the events around it.

        A short spin comes before: while the stream is busy with it, the host launches the other one, so that
        the launch is not counted. Where the host took longer than that, it tries again.
        """
        for lead in LEADS:
            torch.cuda.synchronize()
            torch.cuda._sleep(lead)  # type: ignore[no-untyped-call]
            begin = self._clock.mark()
            torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
            is_counted = not begin.query()  # type: ignore[no-untyped-call]
            end = self._clock.mark()
            if is_counted or lead == LEADS[-1]:
                break
            self._clock.seconds([begin, end])
        return begin, end


def waits_at(experiment: Experiment) -> str | None:
    """Do the work once, and return where it waits for the GPU, as `FILE:LINE`; None if it does not."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            if experiment.before is not None:
                experiment.before()
            experiment.step(no_mark, 1)
        finally:
            torch.cuda.set_sync_debug_mode(before)
    places = (f"{each.filename}:{each.lineno}" for each in told if WAITS in str(each.message))
    return next(places, None)
