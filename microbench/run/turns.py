"""One round at a time on a GPU, of all runs on this machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

WAITING = "Another run of microbench measures on this GPU: each round waits until it is free."


class Turns:
    """This run's turns on GPUs: a lock of a file for each, which the kernel releases if the run is killed.

    Runs that have other folders for temporary files, such as those in other containers, do not see each
    other's.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Begin.

        Args:
            say: called with a sentence the first time that a turn has to wait.
        """
        self._say_once = cache(say)
        self._waited = 0.0

    @contextmanager
    def on(self, uuid: str | None) -> Iterator[None]:
        """Wait until no other run has its turn on a GPU, and keep others waiting meanwhile.

        Args:
            uuid: the GPU's; None for no GPU, on which nothing waits.
        """
        file = None if uuid is None else _opened(place(uuid))
        if file is None:
            yield
            return
        try:
            self._lock(file)
            yield
        finally:
            os.close(file)

    def now(self) -> float:
        """Return the monotonic clock in seconds, which stands still while a turn waits."""
        return time.monotonic() - self._waited

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._say_once(WAITING)
            began = time.monotonic()
            fcntl.flock(file, fcntl.LOCK_EX)
            self._waited += time.monotonic() - began


def place(uuid: str) -> Path:
    """Return the path of a GPU's lock."""
    return Path(tempfile.gettempdir()) / f"microbench-{uuid}.lock"


def _opened(path: Path) -> int | None:
    """Return the file descriptor of a lock, which all users may open; None if this one may not.

    An existing one is opened without O_CREAT, which kernels refuse for other users' files in /tmp.
    """
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with suppress(OSError):
            os.fchmod(file, 0o644)
        return file
    return None
