"""The signals that ask a run to end, and when they have to wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
HELD = (signal.SIGINT, *ENDING)


class EndedError(KeyboardInterrupt):
    """A signal has asked this process to end.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(f"ended by {self.number.name}")


def _raise(number: int, frame: FrameType | None) -> None:
    raise EndedError(number)


@contextmanager
def raised() -> Iterator[None]:
    """Let signals that ask this process to end raise EndedError, as Ctrl-C raises KeyboardInterrupt.

    A signal that this process ignores stays ignored (nohup), and threads other than the main one cannot ask.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in ENDING}
    for each, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(each, _raise)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait: a second Ctrl-C, until what the first one left is on disk."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
