"""pytest-benchmark's JSON, which `pytest-benchmark compare` reads: a benchmark per case and phase."""

from __future__ import annotations

from typing import Any

from microbench.analysis.timings import Timing, Timings
from microbench.distribution import NAME, VERSION
from microbench.tables.formats import json_of, known, titles


def encode(found: Timings) -> bytes:
    """Encode timings; times in seconds, with the samples of all rounds as its rounds."""
    first = found.timings[0].case.first
    machine = first.machine
    return json_of(
        {
            "machine_info": known(
                processor=machine.cpu,
                machine=machine.arch,
                system=machine.os,
                python_version=machine.python,
                torch_version=machine.torch,
                cpu=known(brand_raw=machine.cpu, arch_string_raw=machine.arch, count=machine.usable_cpus),
            ),
            "commit_info": {},  # of the benchmarked project, which records do not have
            "benchmarks": [
                _benchmark(title, each)
                for title, each in zip(titles(found.timings), found.timings, strict=True)
            ],
            "datetime": first.started_at,
            "version": f"{NAME} {VERSION}",
        }
    )


def _benchmark(title: str, timing: Timing) -> dict[str, Any]:
    case = timing.case
    extra = known(
        command=case.spec.command,
        case_id=case.spec.id,
        run_id=case.run.id,
        rounds=timing.estimate.rounds,
        median_of_rounds=timing.estimate.median,
        ci_low=timing.estimate.low,
        ci_high=timing.estimate.high,
        confidence=timing.estimate.confidence,
    )
    return {
        "group": None,
        "name": title,
        "fullname": title,
        "params": None,
        "param": None,
        "extra_info": extra,
        "options": {},
        "stats": _stats(timing),
    }


def _stats(timing: Timing) -> dict[str, Any]:
    moments, spread, samples = timing.of_samples, timing.spread, timing.samples
    return {
        "min": moments.least,
        "max": moments.most,
        "mean": moments.mean,
        "stddev": moments.std or 0,
        "rounds": len(samples),
        "median": moments.median,
        "iqr": spread.q3 - spread.q1,
        "q1": spread.q1,
        "q3": spread.q3,
        "iqr_outliers": spread.outliers,
        "stddev_outliers": spread.far,
        "outliers": f"{spread.far};{spread.outliers}",
        "ld15iqr": spread.least_within,
        "hd15iqr": spread.most_within,
        "ops": 1 / moments.mean,
        "total": moments.mean * len(samples),
        "data": samples,
        "iterations": timing.calls_per_sample,
    }
