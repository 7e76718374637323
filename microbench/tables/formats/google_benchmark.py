"""google-benchmark's JSON (`--benchmark_format=json`), which its compare.py reads; times in nanoseconds.

A case and phase is a benchmark, and a round is a repetition of it, with the round's median as its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from microbench.analysis.timings import Moments, Timing, Timings
from microbench.tables.formats import json_of, known, texts, titles

NANOSECONDS = 1e9  # in a second


def encode(found: Timings) -> bytes:
    """Encode timings."""
    named = zip(titles(found.timings), found.timings, strict=True)
    entries = [entry for place, (title, each) in enumerate(named) for entry in _entries(place, title, each)]
    return json_of({"context": _context(found), "benchmarks": entries})


def _context(found: Timings) -> dict[str, Any]:
    first = found.timings[0].case.first
    machine = first.machine
    return {
        **known(
            date=first.started_at,
            num_cpus=machine.usable_cpus,
            cpu_scaling_enabled=None if machine.governor is None else machine.governor != "performance",
            load_avg=None if machine.load_average is None else [machine.load_average],
        ),
        **texts(
            (name, getattr(machine, name))
            for name in ("cpu", "gpu", "os", "python", "torch", "microbench", "host_id")
        ),
        "json_schema_version": 1,
    }


def _entries(place: int, title: str, timing: Timing) -> Iterator[dict[str, Any]]:
    """Yield the rounds, and what describes them if there are several."""
    shared = {
        "family_index": place,
        "per_family_instance_index": 0,
        "run_name": title,
        "repetitions": len(timing.series),
        "threads": 1,
        "label": timing.case.spec.command,
    }
    for index, (number, series) in enumerate(timing.series.items()):
        used, rate = timing.cpu_times.get(number), timing.throughputs.get(number)
        yield {
            **shared,
            "name": title,
            "run_type": "iteration",
            "repetition_index": index,
            "iterations": len(series.samples) * series.calls_per_sample,
            "real_time": timing.estimate.medians[number] * NANOSECONDS,
            **({} if used is None else {"cpu_time": used.total * NANOSECONDS}),
            "time_unit": "ns",
            **known(items_per_second=rate),
        }
    if len(timing.series) > 1:
        yield from _aggregates(title, timing, shared)


def _aggregates(title: str, timing: Timing, shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    real, cpu = timing.of_rounds, timing.of_cpu_times
    for name, factor in (
        ("mean", NANOSECONDS),
        ("median", NANOSECONDS),
        ("stddev", NANOSECONDS),
        ("cv", 1.0),
    ):
        yield {
            **shared,
            "name": f"{title}_{name}",
            "run_type": "aggregate",
            "aggregate_name": name,
            "aggregate_unit": "percentage" if name == "cv" else "time",
            "iterations": len(timing.series),
            "real_time": _aggregate(real, name) * factor,
            **({} if cpu is None else {"cpu_time": _aggregate(cpu, name) * factor}),
            "time_unit": "ns",
        }


def _aggregate(found: Moments, name: str) -> float:
    """Return a statistic of several rounds; a variation that is unknown is zero, as in google-benchmark."""
    return {"mean": found.mean, "median": found.median, "stddev": found.std or 0.0, "cv": found.cv or 0.0}[
        name
    ]
