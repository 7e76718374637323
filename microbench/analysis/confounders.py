"""What else differs between two compared cases, and may explain why their times do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from microbench.analysis.case import figure_of
from microbench.analysis.pairing import Pair
from microbench.analysis.verdict import are_interleaved
from microbench.config import option_at
from microbench.records.cases import CaseResult
from microbench.records.settings import as_given, is_work, meant, settings_of

FACTS: Mapping[str, Callable[[CaseResult], object]] = {
    "host": lambda case: case.machine.host_id,
    "CPU": lambda case: case.machine.cpu,
    "GPU": lambda case: case.machine.gpu,
    "the GPU's UUID": lambda case: case.machine.gpu_uuid,
    "torch": lambda case: case.machine.torch,
    "Python": lambda case: case.machine.python,
    "microbench": lambda case: case.machine.microbench,
    "git commit of microbench": lambda case: case.machine.git,
    "allocator": lambda case: case.first.outcome.process.allocator,
    "threads": lambda case: case.first.outcome.process.threads,
    "schedule": lambda case: case.run.schedule,
    "what is timed": figure_of,
}
"""The facts that should be the same on both sides, by name."""

WHICH_GPU = ("device.name", "device.index")
ASKED_FOR = {
    "GPU": WHICH_GPU,
    "the GPU's UUID": WHICH_GPU,
    "allocator": ("allocator",),
    "threads": ("threads",),
    "what is timed": ("device.sync",),
}
"""The settings that make a fact differ: if they differ too, the difference is intended."""

SAME = "both sides are the same measurement"
SEPARATE = "separate runs are not interleaved: what the machine did meanwhile is part of the difference"
COMPLETED = (
    "most rounds of the two were measured by different commands that completed the run: they are not "
    "interleaved, and what the machine did meanwhile is part of the difference"
)
SEQUENTIAL = (
    "the run measured case by case (schedule=sequential): what the machine did meanwhile is part of the "
    "difference"
)


def warnings_of(pair: Pair, by: str | None) -> Iterator[str]:
    """Yield what may make two cases differ besides the compared setting `by`, or all settings of the work."""
    if _is_same(pair):
        yield SAME
        return
    if shared := len(_rounds_of(pair.a) & _rounds_of(pair.b)):
        yield f"{shared} of the rounds are the same measurement on both sides"
    if pair.a.run.id != pair.b.run.id:
        yield SEPARATE
    elif not are_interleaved(pair.a, pair.b):
        yield SEQUENTIAL if pair.a.run.schedule == "sequential" else COMPLETED
    for name, (a, b) in facts_apart(pair, by).items():
        yield f"{name} differs: {pair.a_name} has {a}, {pair.b_name} has {b}"


def _is_same(pair: Pair) -> bool:
    """Return whether both sides' rounds are the same measurement."""
    return _rounds_of(pair.a) == _rounds_of(pair.b)


def _rounds_of(case: CaseResult) -> set[tuple[str, str]]:
    """Return what identifies the measurement of each of a case's rounds."""
    return {(record.run.id, record.started_at) for record in case.rounds.values()}


def facts_apart(pair: Pair, by: str | None) -> dict[str, tuple[str, str]]:
    """Return the facts that should be the same on both sides but are not: both values by name."""
    a, b = settings_of(pair.a), settings_of(pair.b)
    differing = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    compared = meant(by, differing) if by else set(filter(is_work, differing))
    found = {
        name: (as_given(fact(pair.a)), as_given(fact(pair.b)))
        for name, fact in FACTS.items()
        if not any(key in differing for key in ASKED_FOR.get(name, ()))
    }
    found |= {
        key: (as_given(a.get(key)), as_given(b.get(key)))
        for key in differing
        if option_at(key).is_timing and key not in compared
    }
    return {name: values for name, values in found.items() if values[0] != values[1]}
