"""Where requests run: in a worker forked from a server, in a new interpreter, or in this process."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import MappingProxyType
from typing import IO, Protocol

from microbench.records.progress import Watch
from microbench.run.protocol import Answer, Measure, Request, run
from microbench.run.server import MORE, REPLY

WORKER = "microbench.worker"  # what every worker needs, torch included
GRACE = 5.0  # seconds a server has to end its worker and itself
ENDING = 30.0  # seconds a worker has to end after its answer, or once it is killed
INITIALIZED = (
    "Importing {} initializes CUDA, which forked processes cannot use: each round that needs it starts a new "
    "interpreter, which takes some seconds more."
)
STUCK = "Process {} does not end, though it was killed: what it holds, such as a GPU's memory, stays in use."
LOG_TAIL = 4096  # bytes of a dead worker's last output to keep
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class WorkerDiedError(Exception):
    """A worker ended without an answer.

    Attributes:
        signal: the signal that killed it, or None.
        code: its exit code, if no signal killed it.
        log: the end of its standard output and error.
    """

    def __init__(self, status: int, log: str) -> None:
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self.code = None if self.signal else os.waitstatus_to_exitcode(status)
        self.log = log
        super().__init__(self.reason)

    @property
    def reason(self) -> str:
        """How it ended, in one line."""
        if self.signal is None:
            return f"the worker exited with code {self.code} before it answered"
        name = signal.Signals(self.signal).name
        hint = "; the kernel sends it when memory runs out" if name == "SIGKILL" else ""
        return f"the worker was killed by {name}{hint}"


class WorkerTimeoutError(Exception):
    """A worker exceeded a time limit; it has been killed.

    Attributes:
        stage: the stage that exceeded its limit; None if the whole request did.
    """

    def __init__(self, stage: str | None = None) -> None:
        super().__init__(stage)
        self.stage = stage


class Workers(Protocol):
    """Where requests run."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on the processes that the user should know."""
        ...

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        """Run a request in a process of its own, passing its progress to `watch`.

        Raises:
            WorkerDiedError: the process ended without an answer.
            WorkerTimeoutError: it took longer than `timeout` seconds, excluding the import of torch, or one
                of its stages took longer than the request allows.
        """
        ...

    def close(self) -> None:
        """End every process that was started."""
        ...


class Inline:
    """Workers that run requests in this process, for debugging: no isolation, no timeout."""

    notes: Sequence[str] = ()

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        """Run a request here."""
        return run(request, watch)

    def close(self) -> None:
        """Do nothing: nothing was started."""


class Forked:
    """Workers that are fresh processes, forked from a server that has imported the given modules.

    The server has this process's environment variables, and the given ones.
    """

    def __init__(
        self,
        modules: Sequence[str],
        variables: Mapping[str, str] = NO_VARIABLES,
        early: EarlyServer | None = None,
    ) -> None:
        self._modules, self._variables = modules, variables
        self.notes: list[str] = []
        self._server = None if early is None else early.taken(modules, variables)

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        """Run a request in a forked worker; the first one starts the server."""
        if self._server is None:
            self._server = _Server(self._modules, self._variables)
        try:
            return self._server.ask(request, watch, timeout)
        except _ServerDiedError as error:
            self.close()
            raise WorkerDiedError(error.status, error.log) from error
        finally:
            self._look_at(self._server)

    def _look_at(self, server: _Server | None) -> None:
        """Note what the user should know of the server, and give up one that waits for ever."""
        if server is None:
            return
        if server.initializer is not None and not self.notes:
            self.notes.append(INITIALIZED.format(server.initializer))
        if server.stuck is not None:
            self.notes.append(STUCK.format(server.stuck))
            self.close()

    def close(self) -> None:
        """End the server and its worker."""
        if self._server is not None:
            self._server.close()
            self._server = None


class Spawned(Forked):
    """Workers that each run in a new interpreter."""

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        """Start an interpreter for the request and end it afterwards."""
        try:
            return super().ask(request, watch, timeout)
        finally:
            self.close()


class EarlyServer:
    """A server that imports torch while this process still finds out what it is to measure."""

    def __init__(self, variables: Mapping[str, str] = NO_VARIABLES) -> None:
        """Start it with this process's environment variables, and the given ones."""
        self._variables = dict(variables)
        self._server: _Server | None = _Server([WORKER, MORE], variables)

    def taken(self, modules: Sequence[str], variables: Mapping[str, str]) -> _Server | None:
        """Return the server, which then imports these modules too.

        None if it was taken before, or if others than these variables were given to it.
        """
        if variables != self._variables:
            return None
        server, self._server = self._server, None
        if server is not None:
            server.name(modules)
        return server

    def close(self) -> None:
        """End the server if nobody has taken it."""
        if self._server is not None:
            self._server.close()


def start_server(
    descriptor: int, modules: Sequence[str], log: IO[bytes], variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start a server in a new interpreter and a session of its own.

    Args:
        descriptor: the descriptor of the socket that it serves, which it inherits.
        modules: the modules that it imports first.
        log: the file for its own and its workers' output.
        variables: its environment.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "microbench.run.server", str(descriptor), *modules],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=variables,
    )


class _ServerDiedError(Exception):
    def __init__(self, status: int, log: str) -> None:
        self.status, self.log = status, log


class _Server:
    """The server's process, and the socket to it.

    It and its workers are a session of their own, so that Ctrl-C in the terminal reaches only the parent,
    which then decides.
    """

    def __init__(self, modules: Sequence[str], variables: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._log_start = 0
        self._ready = False
        self.initializer: str | None = None  # the module whose import initialized CUDA there
        self.stuck: int | None = None  # the process id of a worker that does not end
        environment = {
            **os.environ,
            **variables,
            "PYTHONPATH": os.pathsep.join(filter(None, (variables.get("PYTHONPATH"), *sys.path))),
        }
        with theirs:
            self._process = start_server(theirs.fileno(), modules, self._log, environment)

    def name(self, modules: Sequence[str]) -> None:
        """Name the modules that it is to import besides those that it was started with."""
        with suppress(BrokenPipeError):  # it has ended: who asks it first will hear why
            self._control.sendall(f"{' '.join(modules)}\n".encode())

    def ask(self, request: Request, watch: Watch, timeout: float | None) -> Answer:
        self._log_start = os.fstat(self._log.fileno()).st_size
        ours, theirs = socket.socketpair()
        with Connection(ours.detach()) as connection:
            with theirs, suppress(BrokenPipeError):
                socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
            pid = self._reply()
            if pid < 0:
                pid, self.initializer = -pid, self._receive(self._reply()).decode()
            self._ready = True
            try:
                answer = self._converse(connection, request, watch, Deadline(timeout))
            except BaseException:
                self._kill(pid)
                raise
        status = self._reply() if wait([self._control], ENDING) else self._kill(pid)
        if answer is None:
            raise WorkerDiedError(status, self._log_tail())
        return answer

    def _kill(self, pid: int) -> int:
        """Kill the worker, and return its wait status once it has ended.

        One that a driver holds may not end even so: the wait ends, as if it had.
        """
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if wait([self._control], ENDING):
            return self._reply()
        self.stuck = pid
        return signal.SIGKILL

    def _converse(
        self,
        connection: Connection,
        request: Request,
        watch: Watch,
        deadline: Deadline,
    ) -> Answer | None:
        """Return the worker's answer, and pass on its progress; None if it ended without one.

        This process sleeps until the worker sends something.
        """
        limits = request.limits if isinstance(request, Measure) else {}
        said: object = request
        while True:
            try:
                connection.send(said)
                deadline.wait(connection)
                message = connection.recv()
            except (EOFError, OSError):  # OSError: it ended in the middle of a message
                deadline.wait(self._control)  # it most likely ended: the server will tell
                return None
            if isinstance(message, Answer):
                return message
            deadline.begin(message.stage, limits.get(message.stage))
            watch(message)
            said = None

    def _reply(self) -> int:
        """Wait for the server's next reply and return it."""
        return int(REPLY.unpack(self._receive(REPLY.size))[0])

    def _receive(self, size: int) -> bytes:
        """Wait for so many bytes from the server."""
        data = self._control.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            code = self._process.wait()
            raise _ServerDiedError(-code if code < 0 else code << 8, self._log_tail())
        return data

    def _log_tail(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        start = max(self._log_start, size - LOG_TAIL)
        return os.pread(self._log.fileno(), size - start, start).decode(errors="replace")

    def close(self) -> None:
        """End the server and its worker: it does so itself, unless it is still importing."""
        self._control.close()
        try:
            self._process.wait(timeout=GRACE if self._ready else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Deadline:
    """The time limits of a worker: for its answer, and for its current stage."""

    def __init__(self, timeout: float | None) -> None:
        self._whole, self._stage_end = _in(timeout), math.inf
        self._stage: str | None = None

    def begin(self, stage: str, limit: float | None) -> None:
        """Begin or continue a stage that may take `limit` seconds; None for no limit."""
        if stage != self._stage:
            self._stage, self._stage_end = stage, _in(limit)

    def wait(self, channel: Connection | socket.socket) -> None:
        """Sleep until there is something to read.

        Raises:
            WorkerTimeoutError: a time limit was reached first.
        """
        end = min(self._whole, self._stage_end)
        remaining = None if math.isinf(end) else max(0.0, end - time.monotonic())
        if not wait([channel], remaining):
            raise WorkerTimeoutError(self._stage if self._stage_end < self._whole else None)


def _in(seconds: float | None) -> float:
    """Return the time that is some seconds from now, on the monotonic clock."""
    return math.inf if seconds is None else time.monotonic() + seconds
