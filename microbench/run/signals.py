"""Signals that ask a run to end, and when they are delayed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
HELD = (signal.SIGINT, *ENDING)
UNTOUCHED = (signal.SIG_IGN, None)  # None: a handler that Python does not know


class EndedError(KeyboardInterrupt):
    """A signal asked this process to end.

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

    A signal that this process ignores stays ignored (nohup). Outside the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in ENDING}
    try:
        for each, handler in before.items():
            if handler == signal.SIG_DFL:
                signal.signal(each, _raise)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def held() -> Iterator[None]:
    """Delay signals: a second Ctrl-C, until the results of the first one are on disk.

    The handlers are replaced, because blocking the signals would affect this thread only: the kernel gives a
    signal to any other thread of the process, such as one of numpy's, and Python then handles it in the main
    one. A signal that this process ignores stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {each: handler for each in HELD if (handler := signal.getsignal(each)) not in UNTOUCHED}
    try:
        for each in before:
            signal.signal(each, lambda number, frame: came.append(number))
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)
