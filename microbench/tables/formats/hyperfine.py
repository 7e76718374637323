"""hyperfine's JSON (`hyperfine --export-json`), which its scripts read: one result per case and phase."""

from __future__ import annotations

from typing import Any

from microbench.analysis.timings import Timing, Timings
from microbench.tables.formats import json_of, texts


def encode(found: Timings) -> bytes:
    """Encode timings; times in seconds, with the samples of all rounds as the times of runs."""
    return json_of({"results": [_result(each) for each in found.timings]})


def _result(timing: Timing) -> dict[str, Any]:
    moments = timing.of_samples
    used = timing.cpu_time
    return {
        "command": f"{timing.case.spec.command} # {timing.phase}",  # a shell leaves the comment out
        "mean": moments.mean,
        "stddev": moments.std,
        "median": moments.median,
        "user": None if used is None else used.user,
        "system": None if used is None else used.system,
        "min": moments.least,
        "max": moments.most,
        "times": timing.samples,
        "exit_codes": [None] * len(timing.samples),  # a sample is no process
        "parameters": texts([*timing.case.axes.items(), ("phase", timing.phase)]),
    }
