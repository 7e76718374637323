"""Whether a batch fits in memory: a round as short as can be, and the memory that it took."""

from __future__ import annotations

from dataclasses import replace

from microbench import devices, registry
from microbench.config import Config
from microbench.records.progress import Fit, Watch
from microbench.records.record import Plan, RoundsReason
from microbench.worker import measure_case

SECONDS = 1e-3  # of its time: nothing that can be left out is worth it
PLAN = Plan(rounds=2, reason=RoundsReason.BUDGET, seconds=SECONDS)  # one of several may have a single sample


def fit(config: Config, watch: Watch) -> Fit:
    """Measure a first round of few calls, with all that one does besides, such as checking the answer.

    An engine that computes in another process takes its memory in addition to this one's.
    """
    device = devices.find(config.device.name)
    available, memory = device.available(), device.memory()
    few = replace(config.measure, budget=SECONDS, min_time=0.0, min_samples=1, max_samples=1, max_warmup=0.0)
    outcome = measure_case(replace(config, measure=few), watch, plan=PLAN).outcome
    peak, inner = memory.peak(), outcome.peak_memory
    if getattr(registry.find("engines", config.engine.name), "OWN_PROCESS", False) and inner is not None:
        peak = inner + (peak or 0)
    return Fit(outcome, peak, available)
