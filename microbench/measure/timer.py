"""How samples are taken: one after another, or in bursts that are set ahead of the device."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from microbench.measure.experiment import Burst, Clock, Experiment, Mark

LAUNCHES = 500
"""Calls and marks that a burst may hold: a GPU's queue has room for about a thousand launches."""

Times = Mapping[str, float]
"""The times of one sample by phase, in seconds per call."""


def observe(experiment: Experiment, clock: Clock, calls: int = 1) -> dict[str, float]:
    """Return one sample of each phase, in seconds per call.

    What comes before a sample has ended when the sample begins: the device must not be busy with it while the
    host is launching the work, which would hide how long that takes.
    """
    if experiment.before is not None:
        experiment.before()
        if clock.ahead:
            clock.seconds([clock.mark()])
    return read(experiment, clock, calls, experiment.step(clock.mark, calls))


def read(experiment: Experiment, clock: Clock, calls: int, marks: Sequence[Mark]) -> dict[str, float]:
    """Return the times between a sample's marks, by phase and inner part, in seconds per call."""
    times = (experiment.seconds or clock.seconds)(marks)
    spans = {**experiment.phases, **experiment.inner}
    return {name: (times[last] - times[first]) / calls for name, (first, last) in spans.items()}


def _nothing() -> None:
    pass


@dataclass
class Timer:
    """Takes the samples of an experiment: this one, of any device, in the plainest way.

    Attributes:
        clock: the clock.
        in_flight: seconds of work that may be set ahead of the device; 0 to read each sample before the next
            begins.
        tick: the clock's resolution in seconds; 0 if it is finer than any sample.
        least_sample: the shortest sample in seconds that its resolution, and the cost of its marks, allow.
        tidy: called between bursts.
        beside: further series that `take` yields, each with the name of its clock.
        sm_clocks: for each sample that `take` has yielded, the device's clock rate in Hz, if it is measured.
        fallback: why samples are not taken in the way that was asked for; None if they are.
    """

    clock: Clock
    in_flight: float = 0.0
    tick: float = 0.0
    least_sample: float = 0.0
    tidy: Callable[[], object] = _nothing
    beside: Mapping[str, str] = field(default_factory=dict)
    sm_clocks: array[float] = field(default_factory=lambda: array("d"))
    fallback: str | None = None
    _last: tuple[float, int] | None = field(init=False, default=None)  # of a sample: seconds a call, marks

    @property
    def name(self) -> str:
        """The name of the samples' clock in records."""
        return self.clock.name

    def observer(self, experiment: Experiment) -> str:
        """Return the name of the clock by which `observe` reads a sample."""
        return self.clock.name

    def fitted(self, experiment: Experiment) -> Experiment:
        """Return what it can time of an experiment.

        Raises:
            SkippedError: nothing.
        """
        return experiment

    def ready(self, experiment: Experiment, calls: int) -> Timer:
        """Return what takes samples of so many calls: itself, or another timer with a `fallback`."""
        return self

    def observe(self, experiment: Experiment, calls: int = 1) -> dict[str, float]:
        """Return one sample that begins on an idle device."""
        times = observe(experiment, self.clock, calls)
        self._last = times[experiment.whole], 1 + len(experiment.phases)
        return times

    def take(self, experiment: Experiment, calls: int, most: int) -> Iterator[Times]:
        """Yield at least one sample, and at most so many."""
        if experiment.burst is not None and experiment.before is None:
            yield from self._own_burst(experiment, experiment.burst, calls, most)
            return
        room = self._room(experiment, calls)
        if room < 2:
            yield self.observe(experiment, calls)
            return
        yield from self._burst(experiment, calls, min(most, room - 1))

    def _room(self, experiment: Experiment, calls: int) -> int:
        """Return how many samples may be in flight at once."""
        is_steady = experiment.before is None and experiment.runs == 1 and not experiment.reuses_marks
        if not self.in_flight or not is_steady or self._last is None:
            return 1
        seconds, marks = self._last
        longest = self.in_flight / (seconds * calls) if seconds > 0 else LAUNCHES
        return int(min(longest, LAUNCHES / (calls + marks)))

    def _burst(self, experiment: Experiment, calls: int, number: int) -> Iterator[Times]:
        """Yield samples of a device that always has work in its queue, if the host is fast enough.

        The first step, during which the host gets ahead, is no sample.
        """
        taken = [experiment.step(self.clock.mark, calls) for _ in range(number + 1)]
        for index, marks in enumerate(taken):
            times = read(experiment, self.clock, calls, marks)
            if index:
                self._last = times[experiment.whole], len(marks)
                yield times

    def _own_burst(self, experiment: Experiment, burst: Burst, calls: int, number: int) -> Iterator[Times]:
        """Yield samples that another process takes; of work set ahead, the first step is none here either."""
        seconds = 0.0 if self._last is None else self._last[0] * calls
        lead = int(2 * seconds <= self.in_flight) if self.in_flight else 0
        for marks in burst(calls, number + lead)[lead:]:
            times = read(experiment, self.clock, calls, marks)
            self._last = times[experiment.whole], len(marks)
            yield times

    def device_times(self, experiment: Experiment) -> array[float]:
        """Return a few samples of a whole step's device time; none if it is not known."""
        return array("d")
