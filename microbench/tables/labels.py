"""The names of the machine and of cases in every report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from microbench.analysis.case import Disturbed
from microbench.config import Config
from microbench.records.cases import CaseResult


def relative(path: Path) -> str:
    """Return a path relative to the working folder if it is in it; with `./` if it looks like an option."""
    try:
        text = str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        text = str(path)
    return f"./{text}" if text.startswith("-") else text


def count(number: int, noun: str) -> str:
    """Return a number of things: `1 round`, `6 rounds`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


DISTURBED = "rounds left out because something else slowed the machine down"


def disturbed(found: Disturbed | None) -> str:
    """Return how many rounds are left out as disturbed: `3 of 9 rounds`; nothing if none is."""
    return "" if found is None else f"{found.left_out} of {count(found.rounds, 'round')}"


def machine(cases: Sequence[CaseResult]) -> str:
    """Return the machine and the software that all cases ran on, on one line."""
    found = cases[0].machine
    processes = [case.first.outcome.process for case in cases]
    threads = {each.threads or case.config.threads for each, case in zip(processes, cases, strict=True)}
    allocators = {each.allocator for each in processes} - {None}
    number = threads.pop() if len(threads) == 1 else None
    parts = [
        found.gpu,
        f"{found.cpu}, {count(found.physical_cores or 0, 'core')}",
        None if number is None else count(number, "thread"),
        f"torch {found.torch}",
        *sorted({engine for case in cases if (engine := library(case)) is not None}),
        f"Python {found.python}",
        f"{allocators.pop()} malloc" if len(allocators) == 1 else None,
        found.os,
    ]
    return " · ".join(part for part in parts if part)


def machines(cases: Iterable[CaseResult]) -> list[str]:
    """Return the machine and the software of each host, on a line each; several hosts are named."""
    hosts: dict[str, list[CaseResult]] = {}
    for case in cases:
        hosts.setdefault(case.machine.host_id, []).append(case)
    if len(hosts) == 1:
        return [machine(found) for found in hosts.values()]
    return [f"host {host}: {machine(found)}" for host, found in hosts.items()]


def library(case: CaseResult) -> str | None:
    """Return the library that ran a case, with its version; None if it is torch itself, or unknown."""
    engine = case.first.outcome.process.engine
    return None if engine is None or engine.partition(" ")[0] == "torch" else engine


def label(case: CaseResult) -> str:
    """Return a case's name and how it is run, on one line."""
    return f"{case.name} {run_as(case)}"


def planned(config: Config, settings: Sequence[str], batch: str | None = None) -> str:
    """Return a case of a run that has no records yet: its name, how it is run, and its other settings.

    Args:
        config: the case's configuration.
        settings: its other settings.
        batch: its batch, if that is not known yet.
    """
    model = " ".join(filter(None, (config.model.name, config.model.part)))
    where = config.engine.name, config.device.label
    return ", ".join(
        [f"{model} {config.mode.name}", f"batch {batch or config.batch_size}", *where, *settings]
    )


def run_as(case: CaseResult) -> str:
    """Return how a case is run, on one line."""
    config = case.config
    settings = f"batch {config.batch_size}, {config.precision.name}, {config.engine.name}"
    return f"{config.mode.name}, {settings}, {config.device.label}"
