"""The energy of a call, by a counter that moves some ten times a second. No torch."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, median
from time import sleep
from types import TracebackType
from typing import Protocol

from microbench.measure.experiment import Clock, Mark, Step, no_mark
from microbench.records.record import Energy

IDLE = 2.0  # seconds for which the idle device is watched before
PERIODS = 50  # of the counter: one more or less at an end is then 2 %
SETTLED = 2  # periods of the counter until it shows what runs: some look at a part of each period only
LONGEST = 10.0  # seconds to wait for so many
PAUSE = 0.002  # seconds between readings: by how much the time of a movement may be wrong
AHEAD = 0.05  # seconds of work in flight
MOST_AHEAD = 64  # steps in flight
LEAST_MOVES = 3  # of the idle counter, to know its period

MOVES = "its counter of energy moved"


class Counter(Protocol):
    """What a device tells of its energy."""

    def energy(self) -> float | None:
        """Return the joules used since some moment; None if it has no counter."""
        ...

    def power(self) -> float | None:
        """Return the watts at this moment; None if it does not tell."""
        ...


class Moves:
    """A context manager whose thread notes when a counter moves, and the power.

    Attributes:
        moves: times, and the joules that the counter then showed.
        power: times, and the watts then.
    """

    def __init__(self, counter: Counter, now: Callable[[], float]) -> None:
        self.moves: list[tuple[float, float]] = []
        self.power: list[tuple[float, float]] = []
        self._counter, self._now = counter, now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="microbench-energy", daemon=True)

    def __enter__(self) -> Moves:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        last = self._counter.energy()
        while not self._stop.wait(PAUSE):
            at, joules, watts = self._now(), self._counter.energy(), self._counter.power()
            if watts is not None:
                self.power.append((at, watts))
            if joules is not None and joules != last:
                self.moves.append((at, joules))
                last = joules

    @property
    def period(self) -> float | None:
        """Seconds between two moves; None if it moved too rarely to tell."""
        times = [at for at, _ in self.moves]
        gaps = [after - before for before, after in pairwise(times)]
        return median(gaps) if len(times) >= LEAST_MOVES else None

    def between(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return the moves within some time."""
        return [each for each in list(self.moves) if start <= each[0] <= end]


def watts(moves: Sequence[tuple[float, float]]) -> float:
    """Return the mean power from the first of at least two moves of a counter to the last."""
    (start, before), (end, after) = moves[0], moves[-1]
    return (after - before) / (end - start)


def energy_per_call(
    step: Step, clock: Clock, counter: Counter, typical: float, longest: float, periods: int = PERIODS
) -> Energy:
    """Measure the energy of a call, beginning and ending when the counter moves, with calls enqueued ahead.

    It is the mean power between two movements of the counter while the device is kept busy, times the seconds
    that a call takes meanwhile: which call was running when the counter moved makes no difference.

    Args:
        step: does the work of a call.
        clock: the device's clock.
        counter: the device's counter.
        typical: seconds that a call takes.
        longest: seconds that the measurement may take.
        periods: how many periods of the counter it takes at least.
    """
    if counter.energy() is None:
        return Energy(missing="the device has no counter of energy that may be read")
    if longest < IDLE:
        return _too_long(IDLE, longest)
    with Moves(counter, clock.now) as idle:
        sleep(IDLE)
    period = idle.period
    if period is None:
        return Energy(missing=f"{MOVES} fewer than {LEAST_MOVES} times in {IDLE:g} s")
    resting = watts(idle.moves)
    needed = (periods + SETTLED + 1) * period
    if IDLE + needed > longest or needed > LONGEST:
        return _too_long(IDLE + needed, min(longest, IDLE + LONGEST))
    with Moves(counter, clock.now) as moves:
        start, end, calls = _keep_busy(step, clock, typical, _Enough(moves, period, periods, clock.now))
    counted = moves.between(start + SETTLED * period, end)
    if len(counted) <= periods:
        return Energy(idle=resting, period=period, missing=f"{MOVES} only {len(counted)} times under load")
    of_call = (end - start) / calls
    lasted = counted[-1][0] - counted[0][0]
    power = [each for at, each in moves.power if counted[0][0] <= at <= counted[-1][0]]
    return Energy(
        joules=watts(counted) * of_call,
        integral=fmean(power) * of_call if power else None,
        idle=resting,
        period=period,
        seconds=lasted,
        calls=lasted / of_call,
    )


def _too_long(seconds: float, longest: float) -> Energy:
    return Energy(
        missing=f"it takes {seconds:.1f} s, and there are {max(0.0, longest):.1f} s (measure.budget)"
    )


class _Enough:
    """Whether a counter has moved often enough since the device was busy, or certainly will not."""

    def __init__(self, moves: Moves, period: float, periods: int, now: Callable[[], float]) -> None:
        self._moves, self._period, self._periods, self._now = moves, period, periods, now

    def __call__(self, start: float) -> bool:
        now = self._now()
        found = self._moves.between(start + SETTLED * self._period, now)
        return len(found) > self._periods or now - start > LONGEST


def _keep_busy(
    step: Step, clock: Clock, typical: float, is_enough: Callable[[float], bool]
) -> tuple[float, float, int]:
    """Keep the device busy until it is enough.

    Returns:
        The time at which a first step had ended, that of a last one, and the number of steps between.
    """
    pending: deque[Mark] = deque()
    ahead = max(1, min(MOST_AHEAD, math.ceil(AHEAD / typical))) if typical > 0 else MOST_AHEAD
    start = end = 0.0
    ended = 0
    while not (ended >= 2 and is_enough(start)):
        for _ in range(ahead):
            step(no_mark, 1)
            pending.append(clock.mark())
        while len(pending) > ahead:
            clock.seconds([pending.popleft()])
            ended += 1
            if ended == 1:
                start = clock.now()
        end = clock.now()
    for mark in pending:
        clock.seconds([mark])
    return start, end, ended - 1
