"""A process that has imported what others need, and forks them: in milliseconds, where imports take seconds.

It is started as `python zygote.py FD MODULE…` and imports the modules. Each message that arrives on the
socket FD is a `Start` as JSON and brings file descriptors: a socket for the process's id and wait status, and
the process's own. What is forked has the working folder, the variables, the arguments, the session and the
descriptors of the message, and the module search path that an interpreter started with them would have.

A zygote has run nothing in parallel, as little as the server that microbench forks its workers from.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

NUMBER = struct.Struct("i")
LARGEST = 2**17  # bytes of a message
MARK = "MICROBENCH_TEST"  # a variable that a command hands to every process it starts, and they to theirs
NAME = 15  # characters of a process's name: what is forked carries so much of its mark there

# Variables that are read whenever they are needed. A process with another value of any other one is started
# anew: a library may have read it when it was loaded.
READ_LATE = {
    *("COLUMNS", "COMP_LINE", "COMP_POINT", "FORCE_COLOR", "HYDRA_FULL_ERROR", "NO_COLOR", "TERM"),
    *("HOME", "PIDS", "PWD", "OLDPWD", "SHLVL", "PYTEST_CURRENT_TEST", "TMPDIR", "XDG_CACHE_HOME", MARK),
}


def fits(variables: Mapping[str, str], begun: Mapping[str, str]) -> bool:
    """Return whether a process with these variables can be forked from one started with those.

    PYTHONPATH is another matter: what it adds is searched by a forked process too.
    """
    differing = {name for name, _ in set(variables.items()) ^ set(begun.items())}
    return differing <= READ_LATE | {"PYTHONPATH"}


@dataclass(frozen=True)
class Start:
    """What to fork.

    Attributes:
        arguments: what would follow `python`: -m MODULE ARGUMENT…, or -c PROGRAM.
        folder: the working folder.
        variables: the environment.
        descriptors: the numbers that the file descriptors of the message get.
        has_session: it leads a session of its own.
        asks: the last of the file descriptors leads to the zygote of its servers.
    """

    arguments: Sequence[str]
    folder: str
    variables: Mapping[str, str]
    descriptors: Sequence[int]
    has_session: bool = False
    asks: bool = False


class Forked:
    """A process that a zygote has forked, as `subprocess.Popen` has those that it starts."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._code: int | None = None
        self.pid = self._next()

    def _next(self) -> int:
        data = self._status.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(data) < NUMBER.size:
            raise RuntimeError("the zygote has ended")
        return int(NUMBER.unpack(data)[0])

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it."""
        if self._code is None:
            self._status.settimeout(timeout or (None if timeout is None else 1e-3))
            try:
                self._code = os.waitstatus_to_exitcode(self._next())
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0) from error
            self._status.close()
        return self._code

    def kill(self) -> None:
        """Kill it."""
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def ask(zygote: socket.socket, start: Start, descriptors: Sequence[int]) -> Forked:
    """Have a zygote fork a process."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(zygote, [json.dumps(asdict(start)).encode()], [theirs.fileno(), *descriptors])
    return Forked(ours)


def serve(control: socket.socket) -> Start | None:
    """Fork what is asked for; in a forked process, what it is to be, and None at the end of file."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LARGEST, 16)
        if not message:
            return None
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            start = Start(**json.loads(message))
            keep(descriptors)
            become(start, descriptors[1:])
            return start
        for each in descriptors:
            os.close(each)


def keep(descriptors: list[int]) -> None:
    """Fork the process itself, and stay behind to tell its id and how it ends."""
    pid = os.fork()
    status = socket.socket(fileno=descriptors[0])
    if pid == 0:
        status.close()
        return
    for each in descriptors[1:]:
        os.close(each)
    with suppress(OSError):  # who asked may be gone
        status.sendall(NUMBER.pack(pid))
    _, ended = os.waitpid(pid, 0)
    with suppress(OSError):
        status.sendall(NUMBER.pack(ended))
    os._exit(0)


def become(start: Start, received: list[int]) -> None:
    """Make of this process what `start` describes."""
    if start.has_session:
        os.setsid()
    numbers = list(start.descriptors)
    apart = [_moved(each, above=64 + max(numbers)) for each in received]
    for each, number in zip(apart, numbers, strict=False):
        os.dup2(each, number)
        os.close(each)
    sys.stdin, sys.stdout, sys.stderr = map(_opened_again, (sys.stdin, sys.stdout, sys.stderr))
    os.chdir(start.folder)
    os.environ.clear()
    os.environ.update(start.variables)
    tempfile.tempdir = None
    sys.path[:] = _search_path(start)
    importlib.invalidate_caches()
    Path("/proc/self/comm").write_text(start.variables.get(MARK, "forked")[:NAME])
    if start.asks:
        from microbench.run import workers

        workers.start_server = partial(start_server, socket.socket(fileno=apart[-1]))


def _moved(descriptor: int, above: int) -> int:
    """Duplicate a file descriptor to a number that no other will get."""
    import fcntl

    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(descriptor)
    return moved


def _opened_again(stream: TextIO) -> TextIO:
    """Reopen a standard stream, which remembers whether its former file could seek."""
    number, is_line_buffered = stream.fileno(), stream.fileno() == 2 or os.isatty(stream.fileno())
    again = os.fdopen(number, stream.mode, encoding=stream.encoding, errors=stream.errors, closefd=False)
    again.reconfigure(line_buffering=is_line_buffered)
    return again


def _search_path(start: Start) -> list[str]:
    added = [each for each in start.variables.get("PYTHONPATH", "").split(os.pathsep) if each]
    return list(dict.fromkeys([start.folder, *(str(Path(each).absolute()) for each in added), *OWN_PATH]))


def start_server(
    zygote: socket.socket, descriptor: int, modules: Sequence[str], log: IO[bytes], variables: dict[str, str]
) -> Forked | subprocess.Popen[bytes]:
    """Fork a run's server, in place of `microbench.run.workers.start_server`, where that can be."""
    if not fits(variables, BEGUN):
        return started_anew(descriptor, modules, log, variables)
    arguments = ("-m", "microbench.run.server", str(descriptor), *modules)
    start = Start(arguments, str(Path.cwd()), variables, (0, 1, 2, descriptor), has_session=True)
    with Path(os.devnull).open() as nothing:
        output = log.fileno()
        return ask(zygote, start, [nothing.fileno(), output, output, descriptor])


def execute(arguments: Sequence[str]) -> Any:
    """Do what `python ARGUMENT…` does."""
    kind, what, *rest = arguments
    sys.argv[:] = [kind, *rest]
    if kind == "-m":
        if what.partition(".")[0] == "microbench":
            importlib.reload(importlib.import_module("microbench.startup"))  # it orders the search path
        return runpy.run_module(what, run_name="__main__", alter_sys=True)
    return exec(what, {"__name__": "__main__", "__builtins__": __builtins__})


def leave(ended: BaseException | None) -> None:
    """End as an interpreter does, except for clearing its memory, which takes longest."""
    code = 0
    if isinstance(ended, SystemExit) and not isinstance(ended.code, str):
        code = int(ended.code or 0)
    elif ended is not None:
        code = 1
        print(ended.code, file=sys.stderr) if isinstance(ended, SystemExit) else traceback.print_exception(
            ended
        )
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    os._exit(code)


if __name__ == "__main__":
    BEGUN = dict(os.environ)
    given = [str(Path(each).absolute()) for each in BEGUN.get("PYTHONPATH", "").split(os.pathsep)]
    OWN_PATH = [each for each in sys.path[1:] if each not in given]
    del sys.path[0]
    for module in sys.argv[2:]:
        importlib.import_module(module)
    if "microbench.run.workers" in sys.modules:
        from microbench.run.workers import start_server as started_anew
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that stay behind leave no zombies
    what = serve(socket.socket(fileno=int(sys.argv[1])))
    if what is not None:
        try:
            execute(what.arguments)
        except BaseException as error:
            leave(error)
        leave(None)
