"""A case: one resolved configuration, with the identity that its records share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from microbench.config import NOT_THE_WORK, OF_THE_RUN, WORK_OF_MEASURE, Config
from microbench.quoting import command
from microbench.records.peaks import Peaks
from microbench.records.record import CaseSpec, DistinctLayer, Outcome
from microbench.run.patience import Patience

RESOLVED = ("device", "threads")
"""Settings whose default depends on the machine: a case's command spells them out."""


COMMAND = ("python", "-m", "microbench")


def command_of(arguments: Sequence[str]) -> str:
    """The command line with these arguments, as a shell reads it."""
    return command(*COMMAND, *arguments)


def _differences(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration is not as the defaults have it, at any depth."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if inner := _differences(value, default):
                found[key] = inner
        elif key not in defaults or value != default:
            found[key] = value
    return found


@dataclass(frozen=True)
class Case:
    """One fully resolved configuration.

    Attributes:
        config: the configuration.
        overrides: the options that lead to it on a command line.
        order: its place in the run, from 0.
        round: in which fresh process it is measured, from 0.
        layer: which layer of a model it is, where it was found by taking a model apart.
        known: how it ends, where that is known without measuring it.
        patience: when a search gives it up; None outside of one.
        peaks: what the machine reaches at best, where that was measured before the run.
    """

    config: Config
    overrides: tuple[str, ...] = ()
    order: int = 0
    round: int = 0
    layer: DistinctLayer | None = None
    known: Outcome | None = None
    patience: Patience | None = None
    peaks: Peaks | None = None

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that are the same wherever and whenever the same work is measured.

        Only what differs from the defaults counts, so that a new option leaves the old cases' ids alone.
        """
        work = _differences(asdict(self.config), asdict(Config()))
        measure = {key: work.get("measure", {}).get(key) for key in WORK_OF_MEASURE}
        work = {key: value for key, value in work.items() if key not in NOT_THE_WORK}
        work |= {key: value for key, value in measure.items() if value is not None}
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def rounds(self) -> int:
        """In how many fresh processes it is to be measured: in one where nothing is."""
        return 1 if self.config.on_paper else self.config.measure.rounds

    @property
    def command(self) -> str:
        """The command line that measures this case again, here or elsewhere: alone, if a search tried it."""
        dropped = {*RESOLVED, *OF_THE_RUN}
        given = [each for each in self.overrides if each.partition("=")[0] not in dropped]
        if self.config.experiment.search:
            given = [each for each in given if not each.lstrip("+").startswith("experiment")]
        resolved = [f"device={self.config.device.name}", f"threads={self.config.threads or 'null'}"]
        return command_of([*given, *resolved])

    @property
    def settings(self) -> list[str]:
        """The options that lead to it, but for those that every title shows."""
        shown = ("model", "model.part", "mode", "batch_size", "engine", "device", "hydra.mode", *OF_THE_RUN)
        keys = [each.partition("=")[0].lstrip("+") for each in self.overrides]
        given = zip(keys, self.overrides, strict=True)
        return [each for key, each in given if "=" in each and key not in shown]

    def at(self, device: str, threads: int) -> Case:
        """This case with its device and its default number of threads resolved."""
        config = replace(
            self.config,
            device=replace(self.config.device, name=device),
            threads=self.config.threads or self._cpus() or threads,
        )
        return replace(self, config=config)

    def _cpus(self) -> int | None:
        """How many CPUs it is bound to; None where they are not counted out."""
        affinity = self.config.affinity
        return len(set(affinity)) if isinstance(affinity, list) else None

    @property
    def spec(self) -> CaseSpec:
        """What its records say of it."""
        return CaseSpec(
            id=self.id, order=self.order, command=self.command, config=self.config, layer=self.layer
        )
