from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from microbench.run.signals import ENDING, HELD, EndedError, held, raised

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    """Restore the handlers after each test."""
    before = {each: signal.getsignal(each) for each in HELD}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def handlers() -> list[object]:
    return [signal.getsignal(each) for each in HELD]


def send(number: int) -> None:
    """Send this process a signal, and wait until one of its threads has received it."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.fixture
def second_thread() -> Iterator[None]:
    """Run another thread in this process, to which the kernel may also give a signal."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


class TestRaised:
    @pytest.mark.parametrize("number", ENDING)
    def test_a_signal_to_end_is_an_exception_like_that_of_ctrl_c(self, number: signal.Signals) -> None:
        with raised(), pytest.raises(EndedError, match=f"^ended by {number.name}$") as caught:
            send(number)
        assert caught.value.number == number
        assert isinstance(caught.value, KeyboardInterrupt)

    def test_handlers_are_restored(self) -> None:
        before = handlers()
        with raised():
            assert handlers() != before
        assert handlers() == before
        with suppress(EndedError), raised():
            send(signal.SIGTERM)
        assert handlers() == before

    def test_a_signal_that_is_ignored_stays_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with raised():
            send(signal.SIGHUP)
            with pytest.raises(EndedError):
                send(signal.SIGTERM)

    def test_an_applications_own_handler_is_kept(self) -> None:
        came: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
        with raised():
            send(signal.SIGTERM)
        assert came == [signal.SIGTERM]

    def test_a_thread_that_is_not_the_main_one_leaves_handlers_unchanged(self) -> None:
        before, seen = handlers(), []

        def look() -> None:
            with raised(), held():
                seen.append(handlers())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [before]


@pytest.mark.usefixtures("second_thread")
class TestHeld:
    @pytest.mark.parametrize("number", HELD)
    def test_a_signal_waits_until_the_context_ends(self, number: signal.Signals) -> None:
        done = []

        def write() -> None:
            with held():
                send(number)
                done.append("written")
            done.append("gone on")

        with raised(), pytest.raises(KeyboardInterrupt):
            write()
        assert done == ["written"]

    def test_a_signal_waits_for_a_context_that_fails(self) -> None:
        def write() -> None:
            with held():
                send(signal.SIGINT)
                raise OSError("the disk is full")

        with pytest.raises(KeyboardInterrupt) as caught:
            write()
        assert isinstance(caught.value.__context__, OSError)

    def test_handlers_are_restored(self) -> None:
        before = handlers()
        with held():
            assert handlers() != before
        assert handlers() == before
        with suppress(KeyboardInterrupt), held():
            send(signal.SIGINT)
        assert handlers() == before

    def test_a_signal_that_is_ignored_stays_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with held():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def test_a_context_without_a_signal_raises_nothing(self) -> None:
        with raised(), held():
            pass
