"""The command line: Hydra's overrides measure, a verb does the rest. Imports no torch."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from microbench.errors import UserError, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for any failure, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without µ gets a ?, not a traceback
            stream.reconfigure(errors="replace")
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"microbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"microbench: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:  # Hydra's, which a user asked to see with HYDRA_FULL_ERROR=1
            raise
        print(f"microbench: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments):
        return _help()
    if arguments == ["--version"]:
        return _version()
    verb, *rest = arguments
    if verb in VERBS:
        return VERBS[verb](rest)
    if "=" not in verb and not verb.startswith(("-", "~", "+")):
        raise _no_option(verb)
    return _measure(arguments)


def _no_option(word: str) -> UserError:
    """The error for a word that is neither a verb nor an option, such as a model's name alone."""
    from microbench.listing import layers, models

    if word in {*models(), *layers()}:
        return UserError(f"{word!r} is no verb. Did you mean model={word}?")
    return unknown("verb", word, VERBS)


def _help() -> int:
    from microbench.listing import show_help

    show_help(_output(width_in_pipe=110))
    return 0


def _version() -> int:
    from importlib.metadata import version

    print(f"microbench {version('microbench')}")
    return 0


def _list(kinds: Sequence[str]) -> int:
    from microbench.listing import show_list

    show_list(kinds, _output(width_in_pipe=110))
    return 0


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"list": _list}


def _output(**options: int) -> Console:
    from microbench.reports import terminal

    return terminal.console(**options)


def _measure(arguments: Sequence[str]) -> int:
    """Measure what Hydra's overrides describe, show it, and say whether every case ended well."""
    from microbench.api import new_run_id
    from microbench.compose import from_command_line
    from microbench.reports import terminal
    from microbench.reports.progress import display
    from microbench.results.store import Store
    from microbench.schedule.runner import run

    run_id = new_run_id()
    plan = from_command_line(arguments, run_id)
    if plan is None:
        return 0
    with Store(plan.folder) as store:
        try:
            with display(Console(stderr=True, highlight=False)) as observer:
                result = run(plan.cases, store, observer, run_id)
        except KeyboardInterrupt:
            kept = f"What was measured is in {terminal.relative(store.path)}"
            raise KeyboardInterrupt(kept if store.written else "") from None
    terminal.show(result, _output())
    return 0 if result.ok else 1
