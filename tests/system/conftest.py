from __future__ import annotations

from pathlib import Path

import pytest

from microbench.system import cgroups

from .support import Files, Groups


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """No control groups yet, and a kernel that has none."""
    made_up, read = Groups(tmp_path / "cgroup"), cgroups.read
    monkeypatch.setattr(cgroups, "ROOT", made_up.root)

    def told(path: Path) -> str | None:
        return made_up.told.get(path) if path.is_relative_to("/proc") else read(path)

    monkeypatch.setattr(cgroups, "read", told)
    return made_up


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """No files yet."""
    (tmp_path / "files").mkdir()
    return Files(tmp_path / "files")
