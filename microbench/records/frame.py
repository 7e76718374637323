"""The columns that records have as flat rows, in SI units."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from microbench.config import Config
from microbench.records.record import (
    DistinctLayer,
    Energy,
    GpuReadings,
    Readings,
    RoundRecord,
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
OF_ONE = ("median", "mean", "min", "max", "q25", "q75")
"""What a summary has of its only sample."""

OF_GPU = tuple(each for each in GpuReadings.__struct_fields__ if each != "timeline")
OF_ENERGY = tuple(each for each in Energy.__struct_fields__ if each != "joules")
OF_SAMPLING = (
    *("stop_reason", "peak_memory", "joules"),
    *(f"energy_{each}" for each in OF_ENERGY),
    *Readings.__struct_fields__,
    *(f"gpu_{each}" for each in OF_GPU),
)
"""The columns of what was found while a case was sampled: one-off phases and counted figures have none."""


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


def axes(config: Config) -> Row:
    """Return a configuration's axes as `cfg_*` columns."""
    return {f"cfg_{name}": value for name, value in axes_of(config).items()}


def layer(found: DistinctLayer | None) -> Row:
    """Return the model's layer that a case measures, as `layer_*` columns; all None for other cases."""
    return {column_of(name): None if found is None else getattr(found, name) for name in OF_A_LAYER}


def figures(call: Row) -> dict[str, list[float]]:
    """Return the figures of a call by name, each as a list; its times are called `lat`."""
    found = {name: [call[name]] for name in UNITS if call[name] is not None}
    return {**found, **({"lat": call["times"]} if call["times"] else {})}


def summary_of(samples: list[float]) -> Row:
    """Return the columns that summarize samples; the same of all single ones, except their value."""
    from microbench.records.summary import summarize  # brings scipy

    if len(samples) > 1:
        return msgspec.structs.asdict(summarize(samples))
    return {**_summary_of_one(), **dict.fromkeys(OF_ONE, samples[0])}


@cache
def _summary_of_one() -> Row:
    from microbench.records.summary import summarize  # brings scipy

    return msgspec.structs.asdict(summarize([1.0]))


def column_of(name: str) -> str:
    """Return the column of a call's or a layer's field."""
    return "layer" if name == "name" else f"layer_{name}"
