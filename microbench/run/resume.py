"""Which rounds of a run's cases have been measured before."""

from __future__ import annotations

import dataclasses
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from microbench.config import OPTIONS, Config
from microbench.errors import UserError, nearest
from microbench.quoting import command, option
from microbench.records.cases import CaseResult, cases_of
from microbench.records.record import Machine, RoundRecord
from microbench.records.store import FILE_NAME, file_of, read
from microbench.run.case import COMMAND, Case
from microbench.schema import Role, Scope, value_of, with_values

AGREED = ("torch", "torchvision", "python", "microbench", "gpu_driver", "gpu", "gpu_uuid")
"""The versions in which the rounds of one run must agree, and the GPU."""

Key = tuple[str, str]
"""A case's id, and how it is measured."""


@dataclass(frozen=True)
class Before:
    """The run that a folder contains.

    Attributes:
        cases: the run's cases, as measured so far.
    """

    cases: Sequence[CaseResult]

    @property
    def run_id(self) -> str:
        """The id of the run that is completed."""
        return self.cases[0].run.id

    @property
    def seed(self) -> int:
        """The seed that its order was drawn from."""
        return self.cases[0].run.schedule_seed or 0


def folder_of(resume: str) -> Path:
    """Return the folder that `resume=DIR` names.

    Raises:
        UserError: there is no such folder.
    """
    if not resume:
        raise UserError("resume= names no folder: give the one that contains the run's records.")
    folder = Path(resume)
    if folder.name == FILE_NAME and folder.is_file():
        return folder.parent
    if not folder.is_dir():
        here = [str(path) for path in folder.parent.glob("*/") if folder.parent.is_dir()]
        close = nearest(resume, here)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"resume={resume}: there is no such folder.{hint}")
    return folder


def arguments_of(folder: Path, subcommand: str = "") -> list[str]:
    """Return the arguments of the command line that began the run of a folder, after its subcommand.

    Raises:
        UserError: the folder has no records, or those of a run from Python, or of another command.
    """
    if not file_of(folder).exists():
        raise UserError(f"resume={folder}: it contains no records yet: give the run's options as well.")
    records = list(read(folder))
    runs = [record.run for record in records]
    if records and records[-1].case.config.model.identity:
        raise UserError(
            f"resume={folder}: it measures a module object: call microbench.run or sweep from Python with it "
            "again, and with resume=DIR."
        )
    if not runs or not runs[-1].command_line:
        raise UserError(
            f"resume={folder}: its records do not say which command began the run: give its options as well."
        )
    words, began = shlex.split(runs[-1].command_line)[len(COMMAND) :], runs[-1].command
    if began != subcommand:
        again = command("microbench", *([began] if began else []), option("resume", folder))
        raise UserError(f"resume={folder}: the run was begun by another command: complete it with `{again}`.")
    return words[1:] if began else words


def before(records: Sequence[RoundRecord], host_id: str) -> Before | None:
    """Return the run on this machine that a folder's records began; None if there is none.

    If a folder contains several runs, it is the last.
    """
    here = [record for record in records if record.machine.host_id == host_id]
    if not here:
        return None
    run_id = here[-1].run.id
    return Before(cases_of([record for record in here if record.run.id == run_id]))


def changed(earlier: Before, machines: Mapping[str, Machine]) -> str | None:
    """Return which software or GPU changed since the earlier run, by name, with both; None if none did.

    Args:
        earlier: the earlier run.
        machines: the machine as it is now, by the device's label.
    """
    for record in (record for found in earlier.cases for record in found.rounds.values() if record.ok):
        now = machines.get(record.case.config.device.label)
        for name in AGREED if now is not None else ():
            then, here = getattr(record.machine, name), getattr(now, name)
            if then is not None and then != here:  # older records do not tell all of them
                return f"{name} was {then}, and is now {here}"
    return None


def matched(cases: Sequence[Case], earlier: Before) -> list[Case]:
    """Return the cases with their places in the earlier run.

    Cases are the same if their `case_id` and the measuring options are, except for the number of rounds; they
    keep the names that they had. A case that the earlier run did not reach keeps its place if no other has
    it; otherwise it gets one after all others.
    """
    places = _places(cases, earlier)
    names = {found.spec.order: found.config.model.name for found in earlier.cases}
    taken = {found.spec.order for found in earlier.cases}
    behind = count(max([*taken, *(case.order for case in cases)]) + 1)
    placed: list[Case] = []
    for case in cases:
        order = places.get(case.order)
        if order is None:
            order = next(behind) if case.order in taken else case.order
        model = dataclasses.replace(case.config.model, name=names.get(order, case.config.model.name))
        config = dataclasses.replace(case.config, model=model)
        placed.append(dataclasses.replace(case, order=order, config=config))
    return placed


def matched_by_id(cases: Sequence[Case], earlier: Before) -> list[Case]:
    """Return a search's cases with their places in the earlier one, by what they run alone.

    How long a search samples depends on its budget, which may have been raised.
    """
    there = {found.spec.id: found.spec.order for found in earlier.cases}
    behind = count(max([*there.values(), *(case.order for case in cases)]) + 1)
    taken = set(there.values())
    return [
        dataclasses.replace(
            case,
            order=there[case.id] if case.id in there else next(behind) if case.order in taken else case.order,
        )
        for case in cases
    ]


def _places(cases: Sequence[Case], earlier: Before) -> dict[int, int]:
    """Return the place of the same case in the earlier run, by the case's place.

    If several are the same, such as copies in a sweep, each is paired with the one at its own place.
    """
    known: dict[Key, list[int]] = defaultdict(list)
    for found in earlier.cases:
        known[key_of(found.spec.id, found.config)].append(found.spec.order)
    alike = [(case.order, known[key_of(case.id, case.config)]) for case in cases]
    places: dict[int, int] = {}
    for order, same in alike:
        if order in same:
            same.remove(order)
            places[order] = order
    for order, same in alike:
        if order not in places and same:
            places[order] = same.pop(0)
    return places


def key_of(case_id: str, config: Config) -> Key:
    """Return what rounds of the same case, measured in the same way, have in common."""
    timing = (key for key, each in OPTIONS.items() if each.is_timing and each.scope is Scope.ROUND)
    return case_id, repr([value_of(config, key) for key in timing])


def shown_as(record: RoundRecord, config: Config) -> RoundRecord:
    """Return an earlier record with the current command's presentation options; the one on disk stays."""
    shown = {key: value_of(config, key) for key, each in OPTIONS.items() if each.role is Role.PRESENTATION}
    return replace(record, case=replace(record.case, config=with_values(record.case.config, shown)))
