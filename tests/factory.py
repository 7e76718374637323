"""The one factory of records: rounds as a run makes them, from the times of their phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from microbench.analysis.calls import Row
from microbench.config import Config, ModelConfig
from microbench.records.record import (
    BenchmarkWarning,
    Check,
    Correctness,
    DistinctLayer,
    Kind,
    Machine,
    Outcome,
    Process,
    Readings,
    Role,
    RoundRecord,
    RunInfo,
    Series,
    Summary,
    WarningCode,
)
from microbench.records.result import Result
from microbench.records.summary import summarize
from microbench.run.case import Case
from microbench.verify.judging import Checked

MACHINE = Machine(
    host_id="h", cpu="Some CPU", physical_cores=4, usable_cpus=8, torch="2.11", python="3.12", os="Linux 6"
)
PROCESS = Process(allocator="glibc 2.36")
ROLES = {"total": Role.WHOLE, "inference": Role.WHOLE, "prepare": Role.ONCE, "first_call": Role.ONCE}
OF_LAYERS = ("forward", "backward", "inference")
NAMED = {
    "mode": "infer",
    "device": "cpu",
    "engine": "eager",
    "precision": "fp32",
    "optimizer": "sgd",
}

QUIET = Readings(
    sampling_seconds=1.0,
    page_faults_per_call=0.0,
    page_fault_cost=None,
    page_fault_share=None,
    involuntary_switches=0,
    cpu_utilization=1.0,
    system_utilization=0.0,
    run_delay=None,
    foreign_cpus=None,
    steal=None,
    throttled=None,
    thermal_throttles=None,
    cpu_frequency=None,
)
BUSY = replace(QUIET, foreign_cpus=1.5, run_delay=1.0)
"""What sensors read while nothing else ran, and while others kept CPUs busy that it waited for."""

SLOW, FAST = [1.20, 1.22, 1.21, 1.19, 1.20, 1.21], [1.00, 1.02, 1.01, 1.00, 0.99, 1.01]
"""The times of six rounds of two cases, of which the second is certainly faster."""
NOISY = [0.9, 1.3, 1.0, 1.2, 0.8, 1.1]
"""The times of six rounds that tell nothing apart."""
WRONG = Checked(Check(Correctness.MISMATCH), "the output is off")
IMPLAUSIBLE = BenchmarkWarning(WarningCode.IMPLAUSIBLE, "3e+15 FLOP/s")


def busy_in(records: Sequence[RoundRecord], *numbers: int) -> list[RoundRecord]:
    """The records of a case, of which others disturbed the rounds with these numbers, and no other."""
    return [
        replace(each, outcome=replace(each.outcome, readings=BUSY if each.round in numbers else QUIET))
        for each in records
    ]


def result_of(*cases: Sequence[RoundRecord]) -> Result:
    """The result of a run with the records of these cases."""
    return Result([record for case in cases for record in case], Path("outputs/x/records.jsonl"))


def call_of(order: int, name: str, kind: Kind, type_: str, depth: int, **figures: Any) -> Row:
    """A row of a profile, with the shapes of a small vector unless others are given."""
    shapes = {"index": order, "in_shape": "(1, 4)", "out_shape": "(1, 4)", "dtype": "float32"}
    return Row(name=name, order=order, depth=depth, kind=kind, type=type_, **shapes | figures)


def configured(**settings: Any) -> Config:
    """A dense layer's inference with these settings: a group by its name, one in it as `group__name`."""
    config = Config(model=ModelConfig("layer", "dense", "torch.nn.Linear", input_shape=[1024]), threads=2)
    config.optimizer.cls, config.optimizer.lr = "SGD", 1e-6
    for key, value in (NAMED | settings).items():
        group, _, name = key.partition("__")
        if is_dataclass(getattr(config, group)) and not is_dataclass(value):
            setattr(getattr(config, group), name or "name", value)
        else:
            setattr(config, group, value)
    return config


def series_of(phase: str, samples: Sequence[float], summary: Summary | None = None, **fields: Any) -> Series:
    """The series of a phase with at least one sample, summarized unless it is given a summary."""
    return Series(
        phase,
        **{"clock": "fake", "role": ROLES.get(phase, Role.PART), "of_layers": phase in OF_LAYERS} | fields,
        samples=list(samples),
        summary=summarize(samples) if summary is None else summary,
    )


def machine_of(**facts: Any) -> Machine:
    """A machine of which some things are known."""
    return replace(MACHINE, **facts)


def record_of(
    times: Mapping[str, float | Sequence[float] | Series] | None = None,
    config: Config | None = None,
    *,
    order: int = 0,
    round: int = 0,  # noqa: A002 - the field's name
    run: RunInfo | str = "r",
    started_at: str | None = None,
    machine: Machine = MACHINE,
    outcome: Outcome | None = None,
    case: Case | None = None,
    calls: Sequence[Any] = (),
    **fields: Any,
) -> RoundRecord:
    """The record of one round.

    Args:
        times: by phase, its samples in seconds, or one time that each of 20 has, or the series itself.
        config: the case's configuration; by default a dense layer's inference.
        order: the case's place in the run.
        round: the round's number.
        run: the run, or its id.
        started_at: when; by default by round and order.
        machine: where.
        outcome: how it ended; by default well.
        case: the case, in place of `config`, `order` and `round`.
        calls: of a profile.
        fields: of the outcome.
    """
    case = case or Case(config or configured(), (), order, round)
    outcome = Outcome(process=replace(PROCESS, threads=case.config.threads)) if outcome is None else outcome
    return RoundRecord(
        run=RunInfo(id=run) if isinstance(run, str) else run,
        case=case.spec,
        round=case.round,
        started_at=started_at or f"2026-01-01T00:{case.round:02}:{case.order:02}.000+00:00",
        machine=machine,
        outcome=replace(outcome, **fields),
        series=tuple(_series(phase, each) for phase, each in (times or {}).items()),
        calls=tuple(calls),
    )


def _series(phase: str, times: float | Sequence[float] | Series) -> Series:
    if isinstance(times, Series):
        return times
    return series_of(phase, [times] * 20 if isinstance(times, (int, float)) else times)


def told(records: Sequence[RoundRecord], **outcome: Any) -> list[RoundRecord]:
    """The records with these fields of their outcome."""
    return [replace(each, outcome=replace(each.outcome, **outcome)) for each in records]


def checked(check: Check | Checked) -> Checked:
    return check if isinstance(check, Checked) else Checked(check)


def split(facts: Mapping[str, Any]) -> tuple[Machine, Process]:
    """The machine and the process of which these things are known."""
    own = {name: value for name, value in facts.items() if name in Process.__struct_fields__}
    return (
        replace(MACHINE, **{name: value for name, value in facts.items() if name not in own}),
        replace(PROCESS, **own),
    )


def with_layer(records: Sequence[RoundRecord], layer: DistinctLayer) -> list[RoundRecord]:
    """The records as those of a model's layer."""
    return [replace(each, case=replace(each.case, layer=layer)) for each in records]
