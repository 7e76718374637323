"""The server: a process that imports torch once and forks a fresh worker for each request.

It is started as `python -m microbench.run.server FD MODULE…`, where FD is a Unix socket, and imports the
modules; in place of one, `-` stands for those that the parent names on a line of the socket. Each byte that
then arrives on the socket carries a file descriptor, whose other end the parent keeps; the server forks a
worker that reads one request from it and writes the answer to it, and sends the worker's process id and, when
it has ended, its wait status. One worker runs at a time, and the server sleeps until it ends. At the end of
file, which the parent's death also causes, the server kills the worker with everything that it started, and
ends.

If an import has initialized CUDA, which forked processes cannot use, the worker is a new interpreter instead.
The server then sends minus its process id, and the length and the name of the module.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait

from microbench.system import driver

REPLY = struct.Struct("i")
ANEW = "--worker"
"""In place of modules: answer the one request on the descriptor, and end."""
MORE = "-"
"""In place of a module: those that the parent names when it knows them."""


def die_with(parent: int) -> None:
    """Make the kernel kill this process when `parent`, its parent, ends (on Linux; elsewhere do nothing)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def serve(control: socket.socket, initializer: str | None) -> None:
    """Fork a worker for each file descriptor that arrives, until the end of file.

    Args:
        control: the socket.
        initializer: the module whose import has initialized CUDA; None if none has.
    """
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            control.close()
            _work(descriptors[0], server, is_forked=initializer is None)
        os.close(descriptors[0])
        with suppress(OSError):  # a parent that has ended needs no reply; the end of file follows
            control.sendall(REPLY.pack(pid) if initializer is None else _told(pid, initializer))
        status = _reap(pid, control)
        with suppress(OSError):
            control.sendall(REPLY.pack(status))


def _told(pid: int, initializer: str) -> bytes:
    """Return the reply for a worker that is a new interpreter."""
    name = initializer.encode()
    return REPLY.pack(-pid) + REPLY.pack(len(name)) + name


def _work(descriptor: int, server: int, is_forked: bool) -> None:
    """Answer the one request, in the worker; if it may not stay a fork, in a new interpreter in its place."""
    try:
        os.setpgrp()
        die_with(server)
        if is_forked:
            _answer(descriptor)
        os.set_inheritable(descriptor, True)
        os.execv(sys.executable, [sys.executable, "-m", "microbench.run.server", str(descriptor), ANEW])
    finally:
        os._exit(1)


def _answer(descriptor: int) -> None:
    """Answer the one request, and exit without cleaning up, which takes time."""
    code = 1
    try:
        from microbench.run.protocol import answer

        answer(Connection(descriptor))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(pid: int, control: socket.socket) -> int:
    """Wait for the worker's end, or the parent's; kill what is left of the worker; return its wait status.

    The parent sends nothing while a worker runs: only the end of file can be read.
    """
    if hasattr(os, "pidfd_open"):
        pidfd = os.pidfd_open(pid)
        wait([pidfd, control])
        os.close(pidfd)
    else:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def main(arguments: Sequence[str]) -> None:
    """Serve on the socket of the given descriptor, after importing the given modules."""
    descriptor, *modules = arguments
    faulthandler.enable()
    if modules == [ANEW]:
        _answer(int(descriptor))
    control = socket.socket(fileno=int(descriptor))
    driver.keep_uninitialized(os.environ)
    gc.disable()  # nothing that an import makes is garbage: looking for it takes a fifth of the time
    initializer: str | None = None
    for module in _all(modules, control):
        with suppress(Exception):  # the worker that needs it gets the same error, and reports it
            import_module(module)
        if initializer is None and driver.is_initialized():
            initializer = module
    gc.freeze()
    gc.enable()
    serve(control, initializer)


def _all(modules: Sequence[str], control: socket.socket) -> Iterator[str]:
    """Yield the modules; for MORE, those that a line on the socket names."""
    for module in modules:
        if module != MORE:
            yield module
            continue
        line = b""
        while not line.endswith(b"\n"):
            data = control.recv(1)
            if not data:
                sys.exit()  # the parent needs no server, or has ended
            line += data
        yield from line.decode().split()


if __name__ == "__main__":
    main(sys.argv[1:])
