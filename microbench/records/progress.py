"""What is told of a run while it goes on: where cases will run, which round begins, how far it has come."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from microbench.config import Config
from microbench.records.record import Machine, Measured, Scalar


@dataclass(frozen=True)
class Described:
    """What a device is.

    Attributes:
        device: its name, `auto` resolved.
        facts: what it says of itself, such as `gpu`: fields of `Machine`, or others.
        emulated: torch's names of the number formats that it has no instructions for.
    """

    device: str
    facts: Mapping[str, Scalar]
    emulated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where cases will run.

    Attributes:
        device: the device's name, `auto` resolved.
        machine: the machine that it is in.
        emulated: torch's names of the number formats that it has no instructions for.
    """

    device: str
    machine: Machine
    emulated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heading:
    """Which round of which case begins.

    Attributes:
        config: the case's configuration.
        settings: the options that tell it from the run's other cases.
        turn: its place among all rounds of all cases, from 0.
        turns: how many these are; None where that is not known yet.
        round: the round's number, from 0.
        rounds: how many rounds the case has.
    """

    config: Config
    settings: Sequence[str]
    turn: int
    turns: int | None
    round: int = 0
    rounds: int = 1


@dataclass(frozen=True)
class Progress:
    """How far the sampling of a case has come: for the display, and so that a crash loses nothing.

    Attributes:
        stage: what the worker is doing: build, prepare, warmup, sample or verify.
        samples: by phase, the samples taken since the last report, in seconds per call.
        whole: the phase that spans the step, where the samples are of phases that are sampled.
        phase: the phase that the figures below are of.
        n: samples so far.
        median: their running median in seconds.
        half_width: half the width of its interval, relative to the median.
        eta: seconds the sampling may still take.
        clock: what the samples were read on.
        calls_per_sample: how many calls one sample spans.
        measured: all that was measured, before the answer is checked: it stands if that ends the process.
    """

    stage: str
    samples: Mapping[str, array[float]] = field(default_factory=dict)
    whole: str = ""
    phase: str | None = None
    n: int = 0
    median: float | None = None
    half_width: float | None = None
    eta: float | None = None
    clock: str = ""
    calls_per_sample: int = 1
    measured: Measured | None = None


Watch = Callable[[Progress], None]
"""Is told how far a case has come. It is called between samples, never within one."""
