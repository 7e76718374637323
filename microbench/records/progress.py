"""Events of a running run: where cases will run, which round begins, how far it has come."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from microbench.config import Config
from microbench.records.record import Machine, Measured, Outcome, Scalar

OPENED, SAMPLING, SAMPLED = "opened", "sampling", "sampled"
"""Stages of which only a device that is watched is told: its context is made, sampling begins, and ends."""


@dataclass(frozen=True)
class Described:
    """A device's description.

    Attributes:
        device: its name, `auto` resolved.
        facts: its facts, such as `gpu`: fields of `Machine`, or others.
        emulated: the number formats without instructions on it, by torch's names.
        slow: the number formats that it multiplies without instructions of their own, but without emulation.
        by_engine: for engines that do not run on it, what `auto` is for them.
        notes: sentences on the choice of the device, and on what it lacks, that the user should know.
    """

    device: str
    facts: Mapping[str, Scalar]
    emulated: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    by_engine: Mapping[str, Described] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """The place where cases will run.

    Attributes:
        device: the device's name, `auto` resolved.
        machine: its machine.
        emulated: the number formats without instructions on it, by torch's names.
        slow: the number formats that it multiplies without instructions of their own, but without emulation.
        by_engine: for engines that do not run on it, the place of their cases.
    """

    device: str
    machine: Machine
    emulated: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    by_engine: Mapping[str, Place] = field(default_factory=dict)

    def of(self, engine: str) -> Place:
        """Return the place of an engine's cases."""
        return self.by_engine.get(engine, self)


@dataclass(frozen=True)
class Fit:
    """What a round of a case with a certain batch needs.

    Attributes:
        outcome: how it ended.
        peak: the most bytes of the device's memory that it took.
        available: how many there were for it.
    """

    outcome: Outcome
    peak: int | None = None
    available: int | None = None


@dataclass(frozen=True)
class Heading:
    """The start of a round of a case.

    Attributes:
        config: the case's configuration.
        settings: the options that distinguish it from the run's other cases.
        turn: its place among all rounds of all cases, from 0.
        turns: the number of these; None if not known yet.
        round: the round's number, from 0.
        rounds: the case's number of rounds.
        eta: seconds that the rest of the run may take, this round included; None if unknown.
        order: the case's place in the run, from 0.
        cases: the run's number of cases, as far as it is known.
    """

    config: Config
    settings: Sequence[str]
    turn: int
    turns: int | None
    round: int = 0
    rounds: int = 1
    eta: float | None = None
    order: int = 0
    cases: int = 1


@dataclass(frozen=True)
class Progress:
    """Progress of a case's sampling, for the display and so that a crash loses nothing.

    Attributes:
        stage: what the worker is doing: context, build, prepare, warmup, sample, energy, findings or verify;
            on a device that is watched also `OPENED`, `SAMPLING` and `SAMPLED`.
        samples: by phase, the samples taken since the last report, in seconds per call.
        whole: the phase that spans the step, if the samples are of sampled phases.
        phase: the phase of the figures below.
        n: samples so far.
        median: their running median, or `percentile`, in seconds.
        medians: the same of every sampled phase, in the order of the phases.
        half_width: half-width of its interval, relative to it.
        percentile: the percentile that the sampling is to find, and these figures are; None for the median.
        eta: seconds that sampling may still take.
        clock: the clock that the samples were read on.
        calls_per_sample: number of calls per sample.
        built: what is known of the workload, once it is built: its inputs and items.
        measured: everything measured before the answer is checked; it stands if the check ends the process.
        pid: the process that measures; 0 if it makes no difference.
    """

    stage: str
    samples: Mapping[str, array[float]] = field(default_factory=dict)
    whole: str = ""
    phase: str | None = None
    n: int = 0
    median: float | None = None
    half_width: float | None = None
    percentile: float | None = None
    eta: float | None = None
    medians: Mapping[str, float] = field(default_factory=dict)
    clock: str = ""
    calls_per_sample: int = 1
    built: Outcome | None = None
    measured: Measured | None = None
    pid: int = 0


Watch = Callable[[Progress], None]
"""Receives a case's progress. It is called between samples, never within one."""
