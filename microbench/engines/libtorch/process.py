"""The program's process, and the lines exchanged with it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from microbench.system import cgroups

GRACE = 5.0  # seconds that it may take to end by itself


class ProgramError(RuntimeError):
    """The program failed at a command, or has ended."""


class ProgramMemoryError(ProgramError, MemoryError):
    """The kernel killed the program because memory ran out."""


class Process:
    """The running program, which ends with this process at the latest.

    Args:
        program: the executable.
        folder: its case's folder.

    Attributes:
        pid: its process id.

    Raises:
        ProgramError: it could not apply the case's settings.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self._kills = cgroups.oom_kills()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [program, folder, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.pid = self._process.pid
        try:
            self._reply("starting")
        except ProgramError:
            self.close()
            raise

    def ask(self, command: str) -> list[int]:
        """Send a command, and sleep until it is done.

        Returns:
            The numbers of its answer.

        Raises:
            ProgramError: it failed, or has ended; one line says why.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the end of its output says so, too
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        return self._reply(command)

    def _reply(self, doing: str) -> list[int]:
        assert self._process.stdout is not None
        word, _, rest = self._process.stdout.readline().partition(" ")
        if word.strip() == "ok":
            return [int(number) for number in rest.split()]
        if word == "error":
            raise ProgramError(rest.strip())
        raise self._end(doing)

    def _end(self, doing: str) -> ProgramError:
        """Return an error that says how it ended, with the last line that it logged."""
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        last = f": {words[-1].strip()}" if words else ""
        is_oom = code == -signal.SIGKILL and cgroups.oom_kills() != self._kills
        kind = ProgramMemoryError if is_oom else ProgramError
        return kind(f"the libtorch program {how} (doing: {doing}){last}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
