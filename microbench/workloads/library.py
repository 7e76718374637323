"""Libraries that only some workloads need."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from microbench.distribution import install_line
from microbench.errors import SkippedError


def preload(*modules: str) -> None:
    """Import what builds need, once for all rounds; where that fails, `imported` says why."""
    with suppress(Exception):
        for module in modules:
            import_module(module)


def imported(library: str, model: str, extra: str | None = None, licence: str = "") -> Any:
    """Import the library that a model is from.

    Args:
        library: its module.
        model: the model's name.
        extra: the extra that installs it; None if it has the library's name.
        licence: its licence, where someone may not want to install it for that.

    Raises:
        SkippedError: it is not installed; says how to install it.
    """
    if find_spec(library) is None:
        terms = f" (licence: {licence})" if licence else ""
        raise SkippedError(f"model={model} needs {library}{terms}: {install_line(extra or library)}")
    return import_module(library)
