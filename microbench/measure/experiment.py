"""The sampler's inputs: a mode's experiment, and a device's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Mark = Any
"""A point in time on the device's clock: a count of nanoseconds, or a CUDA event."""

Marker = Callable[[], Mark]


def no_mark() -> Mark:
    """Mark nothing: a `Marker` for steps whose phases are not read."""


Step = Callable[[Marker, int], Sequence[Mark]]
"""Makes one observation: does the work of that many calls and returns the marks at the phases' borders."""


Burst = Callable[[int, int], Sequence[Sequence[Mark]]]
"""Makes several observations without a break: takes the calls per observation, and their number."""


class Clock(Protocol):
    """A device's clock.

    Attributes:
        name: its name in records.
        ahead: whether the host may set marks that the device passes later, so that the host's time for
            setting one counts only if the device waits for the host.
    """

    name: str
    ahead: bool

    def mark(self) -> Mark:
        """Mark this point in time, as cheaply as the device can."""
        ...

    def seconds(self, marks: Sequence[Mark]) -> Sequence[float]:
        """Return each mark's time in seconds after the first, once the device has passed them all."""
        ...

    def now(self) -> float:
        """Return the host's time in seconds from any fixed origin, which the rules' time limits use."""
        ...


@dataclass(frozen=True)
class Experiment:
    """The work to repeat, and the phases to read from it.

    Attributes:
        step: the work.
        phases: each phase's first and last mark, as indices into what `step` returns.
        inner: parts of the step that are sampled in the same way but are no phases.
        of_layers: the phases in which a model's time is the sum of its layers' times.
        main: the phases whose intervals the stopping rule watches.
        whole: the phase that spans the step; warm-up and display follow it.
        mergeable: whether several calls may make one sample.
        before: called before each sample, untimed; None for nothing.
        burst: makes many observations at once, if another process makes them; None for one by one.
        seconds: each mark's time in seconds after the first, if another process makes the marks; None for
            marks of the device's clock.
        runs: how often the step runs the work; the phases are one of these runs.
        reuses_marks: whether each step sets the same marks again, so that a sample must be read before the
            next step.
    """

    step: Step
    phases: Mapping[str, tuple[int, int]]
    main: tuple[str, ...]
    whole: str
    mergeable: bool = False
    before: Callable[[], object] | None = None
    burst: Burst | None = None
    seconds: Callable[[Sequence[Mark]], Sequence[float]] | None = None
    inner: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    runs: int = 1
    reuses_marks: bool = False
    of_layers: tuple[str, ...] = ()
