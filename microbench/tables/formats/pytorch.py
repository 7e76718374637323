"""The PyTorch benchmark database's records, version 3: one per case and metric, with a value per round.

The action that uploads them adds the repository, the commit and the workflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from microbench.analysis.timings import Timing, Timings
from microbench.config import NAMES_OF_TORCH
from microbench.records.cases import CaseResult
from microbench.tables.formats import began, json_of, known, texts

DTYPES = {ours: theirs for theirs, ours in NAMES_OF_TORCH.items()}
GIB = 2**30


def encode(found: Timings) -> bytes:
    """Encode timings; a metric's name has its unit."""
    metrics = [metric for each in found.timings for metric in _metrics(each)]
    memory = [metric for case in found.cases for metric in _memory(case)]
    return json_of([*metrics, *memory])


def _metrics(timing: Timing) -> Iterator[dict[str, Any]]:
    """Yield the latency, and the throughput of a whole step."""
    yield _record(timing.case, f"{timing.phase}_latency(s)", timing.estimate.medians.values())
    if rates := timing.throughputs:
        yield _record(timing.case, f"{timing.phase}_throughput({timing.case.item}/s)", rates.values())


def _memory(case: CaseResult) -> Iterator[dict[str, Any]]:
    """Yield the peak memory, if it is known."""
    if peaks := case.peak_memories:
        yield _record(case, "peak_memory(bytes)", list(peaks.values()))


def _record(case: CaseResult, metric: str, values: Iterable[float]) -> dict[str, Any]:
    config, outcome = case.config, case.first.outcome
    return {
        "timestamp": int(began(case.first).timestamp()),
        "schema_version": "v3",
        "benchmark": {
            "name": "microbench",
            "mode": "training" if config.mode.training else "inference",
            "dtype": DTYPES.get(config.precision.name, config.precision.name),
            "extra_info": texts(
                [
                    ("case_id", case.spec.id),
                    ("run_id", case.run.id),
                    ("command", case.spec.command),
                    *case.axes.items(),
                ]
            ),
        },
        "model": {
            "name": case.name,
            "type": "layer" if config.model.source == "layer" else "model",
            "backend": config.engine.name,
            "origins": [config.model.source],
        },
        "inputs": {
            "input": {
                "dtype": config.model.input_dtype,
                "extra_info": texts([("shape", outcome.inputs), ("batch_size", config.batch_size)]),
            }
        },
        "metric": {"name": metric, "benchmark_values": list(values)},
        "dependencies": _dependencies(case),
        "runners": [_runner(case)],
    }


def _dependencies(case: CaseResult) -> dict[str, Any]:
    machine, engine = case.machine, case.first.outcome.process.engine
    versions = {name: getattr(machine, name) for name in ("torch", "torchvision", "python")}
    found: dict[str, Any] = {name: {"version": each} for name, each in versions.items() if each is not None}
    if machine.microbench is not None:
        found["microbench"] = known(version=machine.microbench, sha=machine.git)
    if engine is not None:
        name, _, version = engine.partition(" ")
        found.setdefault(name, known(version=version or None))
    return found


def _runner(case: CaseResult) -> dict[str, Any]:
    machine = case.machine
    return known(
        name=case.config.device.name,
        type=machine.gpu or machine.cpu,
        cpu_info=machine.cpu,
        cpu_count=machine.usable_cpus,
        avail_mem_in_gb=None if machine.memory is None else machine.memory // GIB,
        gpu_info=machine.gpu,
        gpu_count=None if machine.gpu is None else 1,
        avail_gpu_mem_in_gb=None if machine.gpu_memory is None else machine.gpu_memory // GIB,
        extra_info=texts([("host_id", machine.host_id or None), ("os", machine.os), ("arch", machine.arch)]),
    )
