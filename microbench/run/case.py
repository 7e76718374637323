"""A case: one resolved configuration, with the identity that its records share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from microbench.config import EVENTS, OPTIONS, PROFILE, ROUNDS, Config
from microbench.quoting import command, option, python_call
from microbench.records.peaks import Peaks
from microbench.records.record import CaseSpec, DistinctLayer, Outcome, Plan
from microbench.records.settings import as_given
from microbench.run.patience import Patience
from microbench.schema import Scope, value_of, work_of

if TYPE_CHECKING:
    from microbench.workloads.given import Given, Sent

OF_THE_RUN = {each.name for each in OPTIONS.values() if each.scope is Scope.RUN and "." not in each.key}
RESOLVED = [each for each in OPTIONS.values() if each.is_resolved]
DEVICE = OPTIONS["device.name"]
TITLED = {each.name for each in OPTIONS.values() if each.is_titled}

GIVEN = ("model", "batch_size")  # follow from a module object and its inputs

COMMAND = ("python", "-m", "microbench")


def command_of(arguments: Sequence[str]) -> str:
    """Return the command line with these arguments, as a shell reads it."""
    return command(*COMMAND, *arguments)


@dataclass(frozen=True)
class Case:
    """One fully resolved configuration.

    Attributes:
        config: the configuration.
        overrides: the command-line options that select it.
        order: its place in the run, from 0.
        round: the number of its round, from 0.
        layer: which layer of a model it is, if it was found by taking a model apart.
        known: how it ends, if that is known without measuring it.
        patience: when a search gives it up; None outside a search.
        peaks: the machine's peaks, if they were measured before the run.
        plan: what its round is granted; None outside a run.
        given: the module object that it measures; None for a model that has a name.
    """

    config: Config
    overrides: tuple[str, ...] = ()
    order: int = 0
    round: int = 0
    layer: DistinctLayer | None = None
    known: Outcome | None = None
    patience: Patience | None = None
    peaks: Peaks | None = None
    plan: Plan | None = None
    given: Given | Sent | None = None

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that identify the work, independent of machine and time.

        Only settings that differ from the defaults count, so that a new option leaves existing ids unchanged.
        """
        return hashlib.sha256(json.dumps(work_of(self.config), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def rounds(self) -> int:
        """The number of its rounds, if the budget allows them: a dry run has one, and so has inline."""
        if not self.config.timing or self.config.isolation == "inline":
            return 1
        return self.config.measure.rounds or ROUNDS

    @property
    def command(self) -> str:
        """The command line that measures this case again, here or elsewhere; alone, if a search tried it.

        A module object has none: only the Python program that makes it can measure it again.
        """
        dropped = {*OF_THE_RUN, *(each.name for each in RESOLVED)}
        given = [each for each in self.overrides if each.partition("=")[0] not in dropped]
        if self.config.experiment.search:
            given = [each for each in given if not each.lstrip("+").startswith("experiment")]
        device = self.config.device.label
        found = [(each, device if each is DEVICE else value_of(self.config, each.key)) for each in RESOLVED]
        resolved = [_setting(each.name, value) for each, value in found if value or not each.of]
        if self.given is not None:
            options = [each for each in (*given, *resolved) if each.partition("=")[0] not in GIVEN]
            return python_call("microbench.run", [f"{self.config.model.name}(…)", "inputs=…"], options)
        return command_of([*given, *resolved])

    @property
    def settings(self) -> list[str]:
        """The options that select it, except those that every title shows."""
        shown = {*TITLED, *OF_THE_RUN, "experiment", "hydra.mode"}
        keys = [each.partition("=")[0].lstrip("+") for each in self.overrides]
        given = zip(keys, self.overrides, strict=True)
        return [each for key, each in given if "=" in each and key not in shown]

    def at(self, device: str, threads: int) -> Case:
        """Return this case with its device and its default number of threads resolved."""
        bound, given = self.config.affinity, self.config.device
        sync = given.sync
        if sync is None and device in OPTIONS["device.sync"].of["device.name"]:
            of_preset = None if self.config.mode.name == PROFILE else self.config.experiment.sync
            sync = of_preset or EVENTS
        config = replace(
            self.config,
            device=replace(given, name=device, sync=sync),
            threads=self.config.threads or (len(set(bound)) if isinstance(bound, list) else threads),
        )
        return replace(self, config=config)

    @property
    def spec(self) -> CaseSpec:
        """The case as its records describe it."""
        return CaseSpec(
            id=self.id, order=self.order, command=self.command, config=self.config, layer=self.layer
        )


def _setting(name: str, value: Any) -> str:
    return option(name, value) if isinstance(value, str) else f"{name}={as_given(value)}"
