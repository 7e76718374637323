"""The command line: runs a command, or measures what Hydra's overrides describe. Imports no torch."""

from __future__ import annotations

import errno
import io
import os
import pkgutil
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from microbench import startup
from microbench.distribution import VERSION
from microbench.errors import ExitCode, UserError, unknown

OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""The error numbers with which a disk, or the reader of standard output, rejects output."""


NO_COMMANDS = ("arguments", "main", "session", "source")
OF_OTHER_SERVERS = {
    *("allocator", "env_set", "isolation", "resume"),
    *(
        "-c",
        "--cfg",
        "-i",
        "--info",
        "-sc",
        "--shell-completion",
        "--hydra-help",
        "--dry-run",
        "--config-dir",
    ),
}
"""Options with which there may be no server, or one with another environment."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    It is an `ExitCode`, or 128 and the number of the signal that ended the command: 130 for Ctrl-C.
    """
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without µ gets a ?, not a traceback
            stream.reconfigure(errors="replace")
    try:
        if signal.getsignal(signal.SIGINT) is startup.end_at_once:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        _say(error)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        _say(interrupt)
        return 128 + getattr(interrupt, "number", signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is None and error.errno not in OF_OUTPUT:
            raise  # Hydra's, requested with HYDRA_FULL_ERROR=1, or a bug of ours
        what = "write the output" if error.filename is None else f"use {error.filename}"
        print(f"microbench: cannot {what}: {error.strerror}", file=sys.stderr)
        return ExitCode.FAILED


def _open_streams() -> None:
    """Open the streams that the shell closed (`>&-`), so that no socket takes their numbers."""
    is_silent = sys.stdout is None
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    if is_silent:
        print("microbench: standard output is closed: nothing is printed there", file=sys.stderr)


def _check_folder() -> None:
    """Reject a working folder that was deleted: nothing can be read or written there.

    Raises:
        UserError: it was.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("The working folder no longer exists: change to one that does.") from error


def _say(error: BaseException) -> None:
    """Print the error with its notes on one line."""
    from microbench.tables.escaping import visible

    text = str(error) or "interrupted"
    notes = getattr(error, "__notes__", [])
    told = ". ".join([text.removesuffix("."), *notes]) if notes else text
    print(f"microbench: {visible(told)}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    word, *rest = arguments or ["--help"]
    _check_folder()
    if word in commands():
        code: int = import_module(f"microbench.cli.{word}").main(rest)
        return code
    if not arguments or {"-h", "--help"} & set(arguments):
        return _help()
    if arguments == ["--version"]:
        return _version()
    if "=" not in word and not word.startswith(("-", "~", "+")):
        raise _no_option(word)
    return _measure(arguments)


def _no_option(word: str) -> UserError:
    """Return the error for a word that is neither a command nor an option, such as a bare model name."""
    from microbench.cli.list import layers, models

    if word in {*models(), *layers()}:
        return UserError(f"{word!r} is not a command. Did you mean model={word}?")
    return unknown("command", word, commands())


def commands() -> list[str]:
    """Return all commands: this room's modules except `NO_COMMANDS`."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return [module.name for module in modules if module.name not in NO_COMMANDS]


def _help() -> int:
    from microbench.cli.list import show_help
    from microbench.tables import terminal

    show_help(terminal.console(width_in_pipe=110))
    return ExitCode.OK


def _version() -> int:
    print(f"microbench {VERSION}")
    return ExitCode.OK


def _measure(arguments: Sequence[str]) -> int:
    """Measure what Hydra's overrides describe, show it, and return the exit code.

    With `--dry-run`, only print what would be measured.
    """
    from microbench.api import new_run_id
    from microbench.cli.session import carry_out, find_format, foresee, shown_in
    from microbench.run.workers import EarlyServer

    early = EarlyServer(early_variables(arguments)) if may_start_early(arguments) else None
    try:
        from microbench.options.compose import DRY_RUN, from_command_line  # imports Hydra, meanwhile

        run_id = new_run_id()
        form, rest = find_format(arguments)
        plan = from_command_line([each for each in rest if each != DRY_RUN], run_id)
        if plan is not None and DRY_RUN not in rest:
            return carry_out(plan, run_id, shown_in(form), early)
        if plan is not None:
            foresee(plan, form)
        return ExitCode.OK
    finally:
        if early is not None:
            early.close()


def early_variables(arguments: Sequence[str]) -> Mapping[str, str]:
    """Return the variables that the server will most likely need: by the device, if one is given."""
    from microbench.system import driver

    named = [each.partition("=")[2] for each in arguments if each.startswith("device=")]
    label = named[-1] if named else ""
    return driver.variables_for(label, os.environ) if re.fullmatch(r"\w+(:\d+)?", label) else {}


def may_start_early(arguments: Sequence[str]) -> bool:
    """Return whether it is likely that a server is needed, with this process's own environment."""
    names = [each.lstrip("+").partition("=")[0].partition(".")[0] for each in arguments]
    has_workload = "model" in names or "experiment" in names
    return has_workload and not OF_OTHER_SERVERS & set(names)
