"""What cannot be sent is named, and what to do about it; nothing is written then."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from microbench.errors import StoppedError, UserError
from microbench.workloads.given import Given
from microbench.workloads.given.sending import sent

from .support import Tagger, given

LOCK = Lock()
X = torch.ones(3, 4)


def holding(**attributes: Any) -> nn.Module:
    inner = nn.Linear(4, 4)
    for name, value in attributes.items():
        setattr(inner, name, value)
    return nn.Sequential(nn.Linear(4, 4), inner)


class Settings:
    def __init__(self) -> None:
        self.opened = {"log": [LOCK]}


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (given(holding(guard=Lock()), X), r"Sequential\.1\.guard \(lock\)"),
        (given(holding(settings=Settings()), X), r"Sequential\.1\.settings\.opened\['log'\]\[0\] \(lock\)"),
        (given(nn.Sequential(), X, LOCK), r"inputs\[0\]\[1\] \(lock\)"),
        (given(nn.Sequential(), X, objective=lambda out: (LOCK, out.sum())[1]), r"objective: LOCK \(lock\)"),
        (given(nn.Sequential(weight_norm(nn.Linear(4, 4))), X), r"Sequential\.0 \(ParametrizedLinear\)"),
    ],
)
def test_what_cannot_be_pickled_is_named(found: Given, where: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        sent(found, tmp_path / "object.pt")
    line = str(caught.value)
    assert "\n" not in line
    assert re.search(where, line), line
    assert line.startswith("Sequential cannot be sent to a process of its own, because ")
    assert "isolation='inline'" in line
    assert list(tmp_path.iterdir()) == []


def test_the_modules_of_its_classes_are_known_so_that_they_are_imported_once(tmp_path: Path) -> None:
    assert sent(given(Tagger(), X), tmp_path / "object.pt").modules == tuple(
        sorted((Tagger.__module__, "torch.nn.modules.linear", "torch.nn.modules.sparse"))
    )


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoppedError, match="No space left on device"):
        sent(given(Tagger(), X), tmp_path / "object.pt")
