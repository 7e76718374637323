"""Fixtures of several rooms."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Protocol

import pytest

from microbench.config import Config, ModelConfig
from microbench.measure.summary import summarize
from microbench.results.record import (
    Caution,
    Check,
    Outcome,
    Record,
    Series,
    Status,
    StopReason,
    records_of,
    with_check,
)
from microbench.results.roofline import Peaks
from microbench.schedule.cases import Case

ENVIRONMENT = {
    "cpu": "Some CPU",
    "physical_cores": 4,
    "usable_cpus": 8,
    "torch": "2.11",
    "python": "3.12",
    "os": "Linux 6",
}
RESNET = ModelConfig("torchvision", "resnet18", input_shape=[3, 224, 224])


class Doctored(Protocol):
    """Makes the records of a doctor's run."""

    def __call__(
        self,
        first: Sequence[float],
        second: Sequence[float],
        peaks: Peaks | None = ...,
        within: float = ...,
        env: Mapping[str, Any] = ...,
        state: Mapping[str, Any] = ...,
        cautions: tuple[Caution, ...] = ...,
        allocator: str = ...,
    ) -> list[Record]:
        """The records.

        Args:
            first: the medians of the case's rounds, in seconds.
            second: those of its twin.
            peaks: the machine's.
            within: how far samples scatter around these medians, as a share of them.
            env: more `env_*` fields, without that prefix.
            state: what the sensors read.
            cautions: warnings on each round of the case and its twin.
            allocator: the option of the case and its twin.
        """
        ...


@pytest.fixture
def doctored() -> Doctored:
    """Makes the records of a doctor's run, as a run makes them."""

    def make(
        first: Sequence[float],
        second: Sequence[float],
        peaks: Peaks | None = None,
        within: float = 0.0,
        env: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        cautions: tuple[Caution, ...] = (),
        allocator: str = "system",
    ) -> list[Record]:
        told = {} if peaks is None else {"peaks": peaks.plain()}
        return [
            record
            for order, medians in enumerate((first, second))
            for number, median in enumerate(medians)
            for record in round_of(
                Case(config_of(allocator, len(medians)), (), order, number),
                Outcome(
                    series=(series_of(median, within),),
                    cautions=cautions,
                    state=state or {},
                ),
                ENVIRONMENT | told | dict(env or {}),
            )
        ]

    return make


def config_of(allocator: str, rounds: int) -> Config:
    config = Config(model=RESNET, batch_size=1, threads=2, allocator=allocator)
    config.mode.name, config.device.name = "infer", "cpu"
    config.engine.name, config.precision.name, config.optimizer.name = "eager", "fp32", "sgd"
    config.measure.rounds = rounds
    return config


def series_of(median: float, within: float) -> Series:
    """Forty samples with this median; a median of 0 is a round that failed."""
    samples = array("d", [median * (1 + within * step) for step in (-1, -0.5, 0.5, 1)] * 10)
    return Series("inference", "fake", samples, summary=summarize(samples))


def round_of(case: Case, outcome: Outcome, env: Mapping[str, Any]) -> list[Record]:
    """The records of a round; one whose median is 0 has failed."""
    if not outcome.series[0].samples[0]:
        outcome = Outcome(Status.ERROR, "it broke", state=outcome.state)
    identity = {
        "run_id": "r",
        "host_id": "h",
        "case_id": case.id,
        "started_at": f"{case.order} {case.round}",
        "round": case.round,
        "order": case.order,
        **{f"cfg_{axis}": value for axis, value in case.axes().items()},
        "config": asdict(case.config),
        "env_allocator": "glibc 2.36",
        **{f"env_{name}": value for name, value in env.items()},
    }
    return records_of(outcome, identity)


class Timed(Protocol):
    """Makes the records of one case of a run."""

    def __call__(
        self,
        times: Sequence[float | None] | Mapping[str, Sequence[float | None]],
        order: int = ...,
        run_id: str = ...,
        schedule: str = ...,
        env: Mapping[str, Any] = ...,
        error: tuple[Status, str] = ...,
        check: Check = ...,
        **settings: Any,
    ) -> list[Record]:
        """The records.

        Args:
            times: each round's median in seconds, of inference or by phase; None for a round that failed.
            order: its place in the run.
            run_id: the run.
            schedule: interleaved or sequential.
            env: more `env_*` fields, and `host_id`.
            error: how rounds failed, and what was said of it.
            check: what came of checking the answer, in the first round.
            settings: of the configuration; a group by its option's name, one in a group as `group__name`.
        """
        ...


@pytest.fixture(scope="session")
def timed() -> Timed:
    """Makes the records of one case of a run, as a run makes them."""

    def make(
        times: Sequence[float | None] | Mapping[str, Sequence[float | None]],
        order: int = 0,
        run_id: str = "r",
        schedule: str = "interleaved",
        env: Mapping[str, Any] | None = None,
        error: tuple[Status, str] = (Status.ERROR, "it broke"),
        check: Check | None = None,
        **settings: Any,
    ) -> list[Record]:
        phases = times if isinstance(times, Mapping) else {"inference": times}
        rounds = max(map(len, phases.values()))
        config = configured({"measure__rounds": rounds} | settings)
        found: list[Record] = []
        for number in range(rounds):
            medians = {phase: each[number] for phase, each in phases.items()}
            case = Case(config, (), order, number)
            outcome = Outcome(*error)
            if None not in medians.values():
                series = (
                    Series(phase, "fake", array("d", [median] * 6), summary=summarize([median] * 6))
                    for phase, median in medians.items()
                    if median is not None
                )
                outcome = Outcome(series=tuple(series), stop_reason=StopReason.REL_CI)
            if check is not None and number == 0:
                outcome = with_check(outcome, check)
            found += records_of(outcome, identity_of(case, run_id, schedule, env or {}))
        return found

    return make


def configured(settings: Mapping[str, Any]) -> Config:
    """A dense layer's inference, with these settings."""
    named = {"mode": "infer", "device": "cpu", "engine": "eager", "precision": "fp32", "optimizer": "sgd"}
    config = Config(model=ModelConfig("layer", "dense", "torch.nn.Linear", input_shape=[1024]), threads=2)
    for key, value in (named | dict(settings)).items():
        group, _, name = key.partition("__")
        if is_dataclass(getattr(config, group)):
            setattr(getattr(config, group), name or "name", value)
        else:
            setattr(config, group, value)
    return config


def identity_of(case: Case, run_id: str, schedule: str, env: Mapping[str, Any]) -> Record:
    """What all records of a round share, as a run has it."""
    fields = ENVIRONMENT | {"allocator": "glibc 2.36", "threads": case.config.threads, **env}
    host = fields.pop("host_id", "h")
    return {
        "run_id": run_id,
        "host_id": host,
        "case_id": case.id,
        "started_at": f"2026-01-01T00:{case.round:02}:{case.order:02}.000+00:00",
        "schedule": schedule,
        "round": case.round,
        "order": case.order,
        **{f"cfg_{axis}": value for axis, value in case.axes().items()},
        "config": asdict(case.config),
        **{f"env_{name}": value for name, value in fields.items()},
    }
