"""Records as flat rows: the columns of `Result.to_frame`, in SI units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from microbench.records.record import (
    Call,
    DistinctLayer,
    Energy,
    GpuReadings,
    Readings,
    Role,
    RoundRecord,
    Series,
    Summary,
    phase_of_calls,
)
from microbench.schema import axes_of

Row = dict[str, Any]

UNITS = {
    "params": "1",
    "flops": "FLOP",
    "macc": "MAC",
    "backward": "FLOP",
    "unknown": "1",
    **dict.fromkeys(("mem_r", "mem_w", "mem_alloc", "mem_peak", "mem_total"), "B"),
}
"""The unit of each figure of a call."""

OF_A_CALL = ("name", "index", "order", "depth", "kind", "type", "in_shape", "out_shape", "dtype")
OF_A_LAYER = ("name", "index", "type", "arguments", "in_shape", "count")
OF_GPU = tuple(each for each in GpuReadings.__struct_fields__ if each != "timeline")
OF_ENERGY = tuple(each for each in Energy.__struct_fields__ if each != "joules")
NO_SAMPLING = dict.fromkeys(
    (
        *("stop_reason", "peak_memory", "joules"),
        *(f"energy_{each}" for each in OF_ENERGY),
        *Readings.__struct_fields__,
        *(f"gpu_{each}" for each in OF_GPU),
    )
)


def rows(record: RoundRecord) -> Iterator[Row]:
    """Yield one row per series and per figure of each call; if there are none, one row without a series."""
    series = [_of_series(each) for each in record.series]
    calls = [row for call in record.calls for row in _of_call(call, record)]
    shared, sampling = _shared(record), _sampling(record)
    found = [*series, *calls] or [_of_series(Series("", "", []))]
    for row in found:
        is_sampled = row.pop("is_sampled")
        yield {**shared, **(sampling if is_sampled else NO_SAMPLING), **row}


def environment(record: RoundRecord) -> Row:
    """Return the machine and the process as `env_*` columns."""
    machine = msgspec.structs.asdict(record.machine)
    outcome = record.outcome
    found = {
        **{name: value for name, value in machine.items() if name not in ("host_id", "extra")},
        **record.machine.extra,
        **msgspec.structs.asdict(outcome.process),
        "peaks": None if outcome.peaks is None else msgspec.to_builtins(outcome.peaks),
    }
    return {f"env_{name}": value for name, value in found.items()}


def axes(record: RoundRecord) -> Row:
    """Return the configuration's axes as `cfg_*` columns."""
    return {f"cfg_{name}": value for name, value in axes_of(record.case.config).items()}


def layer(found: DistinctLayer | None) -> Row:
    """Return the model's layer that a case measures, as `layer_*` columns; all None for other cases."""
    return {_column(name): None if found is None else getattr(found, name) for name in OF_A_LAYER}


def _shared(record: RoundRecord) -> Row:
    run, case, outcome = record.run, record.case, record.outcome
    return {
        "schema_version": record.schema_version,
        "status": outcome.status.value,
        "error": outcome.error,
        "traceback": outcome.traceback,
        "warnings": msgspec.to_builtins(outcome.warnings),
        "params": outcome.params,
        "inputs": outcome.inputs,
        "item": outcome.item,
        "items": outcome.items,
        "trace": outcome.trace,
        **msgspec.to_builtins(outcome.check),
        "run_id": run.id,
        "run_command": run.command_line,
        "invocation": run.invocation,
        "turn": record.turn,
        "schedule": run.schedule,
        "schedule_seed": run.schedule_seed,
        "run_cases": run.cases,
        "case_id": case.id,
        "host_id": record.machine.host_id,
        "started_at": record.started_at,
        "round": record.round,
        "order": case.order,
        "command": case.command,
        **axes(record),
        "config": msgspec.to_builtins(case.config),
        **dict.fromkeys(map(_column, OF_A_CALL)),
        **layer(case.layer),
        **environment(record),
    }


def _sampling(record: RoundRecord) -> Row:
    outcome = record.outcome
    readings = {} if outcome.readings is None else msgspec.structs.asdict(outcome.readings)
    return {
        **NO_SAMPLING,
        "stop_reason": outcome.stop_reason and outcome.stop_reason.value,
        "peak_memory": outcome.peak_memory,
        "joules": outcome.joules,
        **{f"energy_{each}": getattr(outcome.energy, each, None) for each in OF_ENERGY},
        **readings,
        **{f"gpu_{each}": getattr(outcome.gpu, each, None) for each in OF_GPU},
    }


def _of_series(series: Series) -> Row:
    return {
        "is_sampled": series.role is not Role.ONCE,
        "phase": series.phase or None,
        "metric": "time",
        "unit": "s",
        "clock": series.clock or None,
        **_summary(series.summary, len(series.samples)),
        "calls_per_sample": series.calls_per_sample,
        "samples": series.samples,
        "warmup": series.warmup,
    }


def _of_call(call: Call, record: RoundRecord) -> Iterator[Row]:
    """Yield one row per figure of a call; the backward pass's FLOPs have its phase."""
    from microbench.records.summary import summarize  # brings scipy

    phase = phase_of_calls(record.case.config.mode.training)
    clock = record.series[0].clock if record.series else None
    figures: dict[str, list[float]] = {
        name: [value] for name in UNITS if (value := getattr(call, name)) is not None
    }
    for name, samples in {**figures, **({"lat": call.times} if call.times else {})}.items():
        yield {
            "is_sampled": name == "lat",
            **{_column(each): getattr(call, each) for each in OF_A_CALL},
            "phase": "backward" if name == "backward" else phase,
            "metric": "flops" if name == "backward" else name,
            "unit": UNITS.get(name, "s"),
            "clock": clock if name == "lat" else None,
            **_summary(summarize(samples), len(samples)),
            "calls_per_sample": 1,
            "samples": samples,
            "warmup": [],
        }


def _summary(summary: Summary | None, n: int) -> Row:
    empty = {**dict.fromkeys(Summary.__struct_fields__), "n": n}
    return empty if summary is None else msgspec.structs.asdict(summary)


def _column(name: str) -> str:
    return "layer" if name == "name" else f"layer_{name}"
