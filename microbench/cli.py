"""The command line: Hydra's overrides measure, a verb does the rest. Imports no torch."""

from __future__ import annotations

import errno
import io
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from microbench import verbs as room
from microbench.distribution import VERSION
from microbench.errors import ExitCode, UserError, unknown

if TYPE_CHECKING:
    from microbench.compose import Plan
    from microbench.results.result import Result

OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""How a disk, or whatever standard output leads to, refuses what is written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    It is an `ExitCode`, or 128 and the number of the signal that ended the command: 130 for Ctrl-C.
    """
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without µ gets a ?, not a traceback
            stream.reconfigure(errors="replace")
    try:
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
            raise  # Hydra's, which a user asked to see with HYDRA_FULL_ERROR=1, or a mistake of ours
        what = "write the output" if error.filename is None else f"use {error.filename}"
        print(f"microbench: cannot {what}: {error.strerror}", file=sys.stderr)
        return ExitCode.FAILED


def _open_streams() -> None:
    """Open the streams that the shell closed (`>&-`), or a socket would take their numbers."""
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
    """Refuse a working folder that was deleted: nothing can be read or written there.

    Raises:
        UserError: it was.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("The working folder no longer exists: change to one that does.") from error


def _say(error: BaseException) -> None:
    """Say what stopped it, with the notes on what to do, on one line."""
    text = str(error) or "interrupted"
    notes = getattr(error, "__notes__", [])
    print(f"microbench: {'. '.join([text.removesuffix('.'), *notes]) if notes else text}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    verb, *rest = arguments or ["--help"]
    _check_folder()
    if verb in verbs():
        code: int = import_module(f"microbench.verbs.{verb}").main(rest)
        return code
    if not arguments or {"-h", "--help"} & set(arguments):
        return _help()
    if arguments == ["--version"]:
        return _version()
    if "=" not in verb and not verb.startswith(("-", "~", "+")):
        raise _no_option(verb)
    return _measure(arguments)


def _import_statistics() -> None:
    """Import what reports reckon with, before a signal can cut it short: numpy cannot be begun twice."""
    from microbench.schedule import signals

    with signals.held():
        import_module("microbench.stats.rounds")


def _no_option(word: str) -> UserError:
    """The error for a word that is neither a verb nor an option, such as a model's name alone."""
    from microbench.verbs.list import layers, models

    if word in {*models(), *layers()}:
        return UserError(f"{word!r} is no command. Did you mean model={word}?")
    return unknown("command", word, verbs())


def verbs() -> list[str]:
    """Every verb: the modules of its room."""
    return [module.name for module in pkgutil.iter_modules(room.__path__)]


def _help() -> int:
    from microbench.verbs.list import show_help

    show_help(_output(width_in_pipe=110))
    return ExitCode.OK


def _version() -> int:
    print(f"microbench {VERSION}")
    return ExitCode.OK


def _output(**options: int) -> Console:
    from microbench.reports import terminal

    return terminal.console(**options)


def _measure(arguments: Sequence[str]) -> int:
    """Measure what Hydra's overrides describe, show it, and say whether every case ended well."""
    from microbench.api import new_run_id
    from microbench.compose import from_command_line

    run_id = new_run_id()
    show, _, rest = find_format(arguments)
    plan = from_command_line(rest, run_id)
    return ExitCode.OK if plan is None else carry_out(plan, run_id, show)


def find_format(arguments: Sequence[str]) -> tuple[Callable[[Result, Console], None], bool, list[str]]:
    """What shows a result, whether that is a table, and the arguments without those that say so.

    Raises:
        UserError: several formats are asked for.
    """
    from microbench.reports import export, terminal
    from microbench.reports.remarks import show_remarks

    asked = [each for each in dict.fromkeys(arguments) if each in export.FORMATS]
    if len(asked) > 1:
        raise UserError(f"Give one of {' and '.join(asked)}.")
    if not asked:
        return terminal.show, True, list(arguments)

    def show(result: Result, out: Console) -> None:
        export.FORMATS[asked[0]](export.rows(result), sys.stdout)
        show_remarks(result.cases(), Console(stderr=True, highlight=False), result.path)

    return show, False, [each for each in arguments if each not in export.FORMATS]


def carry_out(plan: Plan, run_id: str, show: Callable[[Result, Console], None], verb: str = "") -> int:
    """Measure a plan, show what was found, also where it was cut short, and say whether all ended well.

    Args:
        plan: what to measure.
        run_id: the run's id, where it is a new one.
        show: prints a result.
        verb: the verb that completes the run.

    Raises:
        UserError, KeyboardInterrupt: what stopped it, with a note on how to complete the run.
    """
    from microbench.quoting import command, option
    from microbench.reports.labels import relative
    from microbench.reports.progress import display
    from microbench.results.store import Store
    from microbench.schedule import signals
    from microbench.schedule.runner import Run

    observer = display(Console(stderr=True, highlight=False))
    stopped: KeyboardInterrupt | UserError | None = None
    with Store(plan.folder) as store:
        run = Run(
            plan.cases,
            store,
            observer,
            run_id,
            plan.command_line,
            plan.command,
            plan.completing,
            plan.budget,
        )
        try:
            with observer, signals.raised():
                _import_statistics()
                run.measure()
        except (KeyboardInterrupt, UserError) as error:
            stopped = error
    if run.note is not None:
        print(f"microbench: {run.note}", file=sys.stderr)
    show(run.result, _output())
    again = command("microbench", *([verb] if verb else []), option("resume", relative(plan.folder)))
    is_search = run.result.is_search
    if stopped is not None:
        if store.written and not is_search:
            stopped.add_note(f"What was measured is kept. Complete it: {again}")
        raise stopped
    if not is_search and any(case.failures for case in run.result.cases() if case.status != "skipped"):
        print(f"microbench: try what failed again: {again}", file=sys.stderr)
    return ExitCode.OK if run.result.ok else ExitCode.FAILED
