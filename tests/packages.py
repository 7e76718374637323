"""Installed packages of the tests' own, with entry points that microbench finds."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from microbench import registry

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
FILES = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
"""The files of the package of docs/extending.md, by path."""

CACHES = (registry._entry_points, registry._others, registry.files)


def install(folder: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """Write what an installer writes of a package, besides its modules: its name and its entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    sections = (
        "\n".join([f"[microbench.{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in groups.items()
    )
    (info / "entry_points.txt").write_text("\n".join(sections))


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let this process find what is installed in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        forget()
        yield
    forget()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def forget() -> None:
    for cached in CACHES:
        cached.cache_clear()
