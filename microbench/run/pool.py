"""The workers of a run: which cases share them, and what they have imported when they begin."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from microbench import registry
from microbench.host import allocator
from microbench.run.case import Case
from microbench.run.layers import stands_for_layers
from microbench.run.workers import Forked, Inline, Spawned, Workers


class Pool:
    """The workers of each kind of case, started when first used.

    Cases share a server only where they need the same modules and the same environment: what a worker is
    forked from must not depend on which other cases a sweep holds. Those of a search share one that has not
    imported their engines: their workers do, because to start a server for each takes longer than measuring.
    """

    def __init__(self) -> None:
        self._workers: dict[tuple[Any, ...], Workers] = {}

    def of(self, case: Case) -> Workers:
        """The workers for a case.

        Raises:
            SkippedError: what its environment needs is not installed.
        """
        isolation, modules = case.config.isolation, preloads(case)
        given = case.config.env_set
        variables = given | allocator.variables(case.config.allocator, os.environ | given)
        key = (isolation, *modules, *variables.items())
        if key not in self._workers:
            self._workers[key] = self._start(isolation, modules, variables)
        return self._workers[key]

    def _start(self, isolation: str, modules: Sequence[str], variables: Mapping[str, str]) -> Workers:
        if isolation == "inline":
            return Inline()
        return Spawned(modules, variables) if isolation == "spawn" else Forked(modules, variables)

    def close(self) -> None:
        """End every process that was started; those for the next case are new ones."""
        for workers in self._workers.values():
            workers.close()
        self._workers.clear()


def preloads(case: Case) -> list[str]:
    """The modules that a case's worker needs: imported once, before any is forked."""
    config = case.config
    engine = "eager" if config.experiment.search else config.engine.name
    mode = config.mode.each if stands_for_layers(case) else config.mode.name
    return [
        "microbench.worker",
        registry.module_of("workloads", config.model.source),
        registry.module_of("engines", engine),
        registry.module_of("modes", mode),
    ]
