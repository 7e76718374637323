"""Find an option's code by its name: the module of that name in the option's room."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from microbench.errors import unknown


def find(room: str, name: str) -> ModuleType:
    """The module `microbench.<room>.<name>`.

    Raises:
        UserError: the room has no such module; the message gives the nearest names.
    """
    package = import_module(f"microbench.{room}")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    if name not in names:
        raise unknown(room.rstrip("s"), name, names)
    return import_module(f"microbench.{room}.{name}")
