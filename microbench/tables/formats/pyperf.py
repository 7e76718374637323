"""pyperf's JSON, version 1.0 of its format: a benchmark per case and phase, a run per round."""

from __future__ import annotations

from typing import Any

from microbench.analysis.timings import Timing, Timings
from microbench.records.record import RoundRecord, Series
from microbench.tables.formats import json_of, known, titles


def encode(found: Timings) -> bytes:
    """Encode timings; values in seconds per call."""
    benchmarks = [
        _benchmark(title, each) for title, each in zip(titles(found.timings), found.timings, strict=True)
    ]
    return json_of({"version": "1.0", "metadata": {"unit": "second"}, "benchmarks": benchmarks})


def _benchmark(title: str, timing: Timing) -> dict[str, Any]:
    machine = timing.case.machine
    metadata = known(
        name=title,
        command=timing.case.spec.command,
        case_id=timing.case.spec.id,
        run_id=timing.case.run.id,
        host_id=machine.host_id or None,
        cpu_model_name=machine.cpu,
        platform=machine.os,
        python_version=machine.python,
        torch_version=machine.torch,
        microbench_version=machine.microbench,
    )
    return {"metadata": metadata, "runs": [_run(*each) for each in timing.rounds]}


def _run(record: RoundRecord, series: Series) -> dict[str, Any]:
    metadata = known(
        loops=series.calls_per_sample,
        date=record.started_at,
        duration=record.seconds,
        load_avg_1min=record.machine.load_average,
    )
    warmups = {"warmups": [(1, seconds) for seconds in series.warmup]} if series.warmup else {}
    return {"metadata": metadata, **warmups, "values": series.samples}
