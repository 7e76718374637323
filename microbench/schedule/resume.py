"""Which rounds of a run's cases have been measured before."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from microbench.config import SHOWN, Config, value_of
from microbench.errors import UserError, nearest
from microbench.quoting import command, option
from microbench.results.cases import CaseResult, cases_of, is_ok
from microbench.results.record import Record
from microbench.results.store import FILE_NAME, file_of, read
from microbench.schedule.cases import COMMAND, Case

SOFTWARE = ("torch", "torchvision", "python", "microbench", "gpu_driver")
"""The `env_*` fields, without that prefix, in which the rounds of one run must agree."""

Key = tuple[str, str]
"""A case's id, and how it is measured."""


@dataclass(frozen=True)
class Before:
    """What the folder of a run holds.

    Attributes:
        cases: the run's cases, as measured so far.
    """

    cases: Sequence[CaseResult]

    @property
    def run_id(self) -> str:
        """The id of the run that is completed."""
        return str(self.cases[0].first["run_id"])

    @property
    def seed(self) -> int:
        """What its order was drawn from."""
        return int(self.cases[0].first["schedule_seed"])


def folder_of(resume: str) -> Path:
    """The folder that `resume=DIR` names.

    Raises:
        UserError: there is no such folder.
    """
    if not resume:
        raise UserError("resume= names no folder: give the one that holds the run's records.")
    folder = Path(resume)
    if folder.name == FILE_NAME and folder.is_file():
        return folder.parent
    if not folder.is_dir():
        here = [str(path) for path in folder.parent.glob("*/") if folder.parent.is_dir()]
        close = nearest(resume, here)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"resume={resume}: there is no such folder.{hint}")
    return folder


def arguments_of(folder: Path, verb: str = "") -> list[str]:
    """The command line's arguments that began the run of a folder, behind the verb that began it.

    Raises:
        UserError: the folder has no records, or those of a run from Python, or of another command.
    """
    if not file_of(folder).exists():
        raise UserError(f"resume={folder}: it holds no records yet: give the run's options as well.")
    commands = [record.get("run_command") for record in read(folder)]
    if not commands or not commands[-1]:
        raise UserError(
            f"resume={folder}: its records do not say which command began the run: give its options as well."
        )
    words = shlex.split(commands[-1])[len(COMMAND) :]
    began = words[0] if words and re.fullmatch(r"[a-z]+", words[0]) else ""
    if began != verb:
        again = command("microbench", *([began] if began else []), option("resume", folder))
        raise UserError(f"resume={folder}: the run was begun by another command: complete it with `{again}`.")
    return words[1:] if began else words


def before(records: Sequence[Record], host_id: str) -> Before | None:
    """The run on this machine that the records of a folder began; None where there is none.

    Where a folder holds several runs, it is the last.
    """
    here = [record for record in records if record["host_id"] == host_id]
    if not here:
        return None
    run_id = here[-1]["run_id"]
    return Before(cases_of([record for record in here if record["run_id"] == run_id]))


def changed(earlier: Before, software: Mapping[str, Any]) -> str | None:
    """What of the software is not as it was in the run before, by name with both versions; None if nothing.

    Args:
        earlier: the run before.
        software: the fields of `SOFTWARE` as they are here and now.
    """
    for found in earlier.cases:
        for attempt in found.rounds.values():
            for name, value in software.items():
                if attempt[0].get(name) != value and is_ok(attempt):
                    return f"{name.removeprefix('env_')} was {attempt[0].get(name)}, and is {value}"
    return None


def matched(cases: Sequence[Case], earlier: Before) -> tuple[list[Case], set[tuple[int, int]]]:
    """The cases with the places they had in the run before, and which (place, round) of it are done.

    A case is the same when its `case_id` is, and when it is measured the same way but for the number of
    rounds. A case that the earlier run did not come to keeps its place where no other has it, and else gets
    one behind all others.
    """
    there = _pairs(cases, earlier)
    done = {(order, number) for order, found in there.values() for number in found.measured_rounds}
    taken = {int(found.first["order"]) for found in earlier.cases}
    behind = count(max([*taken, *(case.order for case in cases)]) + 1)
    placed: list[Case] = []
    for case in cases:
        if case.order in there:
            order = there[case.order][0]
        else:
            order = next(behind) if case.order in taken else case.order
        placed.append(replace(case, order=order))
    return placed, done


def _pairs(cases: Sequence[Case], earlier: Before) -> dict[int, tuple[int, CaseResult]]:
    """By a case's place, the place and the result of the same case in the run before.

    Of several alike, such as copies that a sweep repeats, each is paired with the one at its own place.
    """
    known: dict[Key, dict[int, CaseResult]] = defaultdict(dict)
    for found in earlier.cases:
        known[_key(found.first["case_id"], found.first["config"])][int(found.first["order"])] = found
    alike = [(case.order, known[_key(case.id, asdict(case.config))]) for case in cases]
    pairs = {order: (order, same.pop(order)) for order, same in alike if order in same}
    for order, same in alike:
        if order not in pairs and same:
            other = next(iter(same))
            pairs[order] = other, same.pop(other)
    return pairs


def _key(case_id: str, config: Mapping[str, Any]) -> Key:
    how = {name: value for name, value in config["measure"].items() if name != "rounds"}
    return case_id, repr((config["isolation"], sorted(how.items())))


def shown_as(record: Record, config: Config) -> Record:
    """A record from before, with how the present command wants its case shown; what is on disk stays."""
    return record | {"config": record["config"] | {key: value_of(config, key) for key in SHOWN}}
