"""Find an option's code and its YAML file by name: our own, and those of other installed packages.

Our own code is the module of that name in the option's room; that of another package is named by an entry
point of the group `microbench.<room>`. Entry points of the group `microbench.conf` name packages that hold
YAML files as `conf/` does.
"""

from __future__ import annotations

import pkgutil
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from microbench.distribution import CONF, NAME
from microbench.errors import UserError, first_line, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SHARED = (
    "arranged",
    "calibration",
    "capture",
    "inputs",
    "library",
    "objectives",
    "optimizer",
    "parts",
    "unused",
    "workload",
)  # not options themselves, but shared by several


def names(room: str) -> list[str]:
    """Return the names of a room's options."""
    return [*_own(room), *(_others(room).keys() - _own(room))]


def find(room: str, name: str) -> ModuleType:
    """Import the module of an option.

    Raises:
        UserError: there is none (with the nearest names), there are several, or another package's cannot be
            imported.
    """
    kind, is_ours = room.removesuffix("s"), name in _own(room)
    entries = _others(room).get(name, [])
    owners = [NAME] * is_ours + [_package(entry) for entry in entries]
    if not owners:
        raise unknown(kind, name, names(room))
    if len(owners) > 1:
        raise UserError(f"{kind} {name!r} is in {' and in '.join(owners)}: uninstall one of them.")
    module = module_of(room, name)
    try:
        return import_module(module)
    except Exception as error:
        if is_ours:
            raise
        raise UserError(
            f"{kind} {name!r} of {owners[0]}: cannot import {module} "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error


def module_of(room: str, name: str) -> str:
    """Return the dotted name of an option's module; our own if no package has the option."""
    entries = () if name in _own(room) else _others(room).get(name, ())
    return entries[0].value if entries else f"microbench.{room}.{name}"


@cache
def files(group: str) -> dict[str, Path]:
    """Return the YAML files of a group of options, by name.

    Raises:
        UserError: two packages have a file of the same name, or one has no such folder.
    """
    found = {path.stem: path for path in (CONF / group).glob("*.yaml")}
    for entry in _entry_points("conf"):
        for path in (_folder(entry) / group).glob("*.yaml"):
            if path.stem in found:
                raise UserError(
                    f"{group}={path.stem} has two files, {found[path.stem]} and {path}: uninstall "
                    f"{_package(entry)}, or rename its file."
                )
            found[path.stem] = path
    return found


@cache
def _own(room: str) -> tuple[str, ...]:
    """Return the names of our own options, without importing their room, which imports torch."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent / room)])
    return tuple(module.name for module in modules if module.name not in SHARED)


@cache
def _others(room: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of other packages' options, by name."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in _entry_points(room):
        found.setdefault(entry.name, []).append(entry)
    return found


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of other packages of a group `microbench.<group>`.

    Their files show whether there are any, in a tenth of the time that importing their reader takes.
    """
    files = (file for place in sys.path for file in Path(place).glob("*-info/entry_points.txt"))
    if not any(b"[microbench." in file.read_bytes() for file in files):
        return ()
    from importlib.metadata import entry_points

    return tuple(entry_points(group=f"microbench.{group}"))


def _folder(entry: EntryPoint) -> Path:
    """Return a package's folder without importing it, because its parents may import torch."""
    top, *rest = entry.value.split(".")
    spec = find_spec(top)
    places = [Path(place, *rest) for place in (spec and spec.submodule_search_locations) or ()]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise UserError(f"{_package(entry)} names {entry.value} for its YAML files: there is no such folder.")
    return folder


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
