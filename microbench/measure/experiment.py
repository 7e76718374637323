"""What a mode gives to the sampler, and the clock that a device gives to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Mark = Any
"""A point in time as the device's clock notes it: a count of nanoseconds, a CUDA event."""

Marker = Callable[[], Mark]

Step = Callable[[Marker, int], Sequence[Mark]]
"""One observation: do the work of so many calls and return the marks set at the phases' borders."""


Burst = Callable[[int, int], Sequence[Sequence[Mark]]]
"""As many observations of so many calls as the second number says, without a break between them."""


class Clock(Protocol):
    """A device's clock.

    Attributes:
        name: what the records call it.
        ahead: the host may set marks that the device passes later, so that the host's time for setting one
            is on this clock only where the device waits for the host.
    """

    name: str
    ahead: bool

    def mark(self) -> Mark:
        """Note this point in time, as cheaply as the device can."""
        ...

    def seconds(self, marks: Sequence[Mark]) -> Sequence[float]:
        """Each mark's time in seconds after the first, once the device has passed them all."""
        ...

    def now(self) -> float:
        """Seconds on the host, from any fixed origin: what the rules' time limits are read on."""
        ...


@dataclass(frozen=True)
class Experiment:
    """Which work to repeat, and which phases to read from it.

    Attributes:
        step: the work.
        phases: each phase's first and last mark, as indices into what `step` returns.
        inner: parts of the step that are sampled for who asks for them, in the same way: they are no phases.
        of_layers: the phases in which a model's time is that of its layers together.
        main: the phases whose intervals the stopping rule watches.
        whole: the phase that spans the step; warm-up and display follow it.
        mergeable: several calls may make one sample.
        before: what to do before each sample, untimed; None for nothing.
        burst: makes many observations at once, where another process makes them; None for one by one.
        runs: how often the step runs the work, of which the phases are one.
    """

    step: Step
    phases: Mapping[str, tuple[int, int]]
    main: tuple[str, ...]
    whole: str
    mergeable: bool = False
    before: Callable[[], object] | None = None
    burst: Burst | None = None
    inner: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    runs: int = 1
    of_layers: tuple[str, ...] = ()
