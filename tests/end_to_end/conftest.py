from __future__ import annotations

import pytest

from .support import microbench


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the layers that have a file of their own and can train; `copy` overwrites its input."""
    listed = microbench("list", "layers", cwd=tmp_path_factory.mktemp("layers"))
    assert listed.code == 0, listed
    return [name for name in listed.out.splitlines() if name not in ("layer", "copy")]


@pytest.fixture(scope="session")
def user_layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `mine` is a module with a user's own layers."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(USER_LAYERS)
    return {"PYTHONPATH": str(folder), "PIDS": str(folder / "pids")}


USER_LAYERS = """
import ctypes
import os
import time

from torch import nn


def note_pid():
    with open(os.environ["PIDS"], "a") as file:
        print(os.getpid(), file=file)


class Fine(nn.Module):
    def forward(self, x):
        return x + 1


class StillFine(Fine):
    pass


class Noted(Fine):
    def __init__(self):
        super().__init__()
        note_pid()


class NotedToo(Noted):
    pass


class DiesInItsSecondProcess(Noted):
    def forward(self, x):
        with open(os.environ["PIDS"]) as file:
            if len(file.readlines()) == 2:
                os.kill(os.getpid(), 9)
        return x + 1


class Crashes(nn.Module):
    def forward(self, x):
        ctypes.string_at(0)


class Raises(nn.Module):
    def forward(self, x):
        raise ArithmeticError("the [bold]first[/bold] line\\nand a second one")


class Exits(nn.Module):
    def forward(self, x):
        os._exit(3)


class Hungry(nn.Module):
    def forward(self, x):
        raise MemoryError


class Sleeps(nn.Module):
    def forward(self, x):
        note_pid()
        time.sleep(600)


class HangsUp(nn.Module):
    def forward(self, x):
        note_pid()
        os.closerange(3, 256)  # the connection to the parent among them
        time.sleep(600)
"""
