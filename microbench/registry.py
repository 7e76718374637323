"""Find an option's code by its name: the module of that name in the option's room."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from microbench.errors import unknown

SHARED = ("capture", "optimizer")  # no options themselves, but what several of them share


def names(room: str) -> list[str]:
    """Return the names of a room's options."""
    modules = pkgutil.iter_modules(import_module(f"microbench.{room}").__path__)
    return [module.name for module in modules if module.name not in SHARED]


def find(room: str, name: str) -> ModuleType:
    """The module `microbench.<room>.<name>`.

    Raises:
        UserError: the room has no such module; the message gives the nearest names.
    """
    known = names(room)
    if name not in known:
        raise unknown(room.rstrip("s"), name, known)
    return import_module(f"microbench.{room}.{name}")
