"""The parser that commands share, whose errors are one line with the nearest spelling, and their options."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from microbench.config import MARGIN
from microbench.errors import StoppedError, UserError, unknown

STREAMS = ("/dev/std", "/dev/fd/", "/proc/")
"""How paths begin that may lead to an open file: what it has must stay."""


class Parser(ArgumentParser):
    """The parser of one command's arguments, which raises this package's errors.

    Args:
        command: the command's name, such as `compare`.
        description: what its help begins with, as laid out there.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"microbench {command}",
            description=description,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse(self, arguments: Sequence[str]) -> Namespace:
        """Return the parsed arguments; options and positional arguments may be mixed.

        Raises:
            UserError: an option does not exist, or its value is not one.
        """
        found, strange = self.parse_known_intermixed_args(arguments)
        if strange:
            options = re.findall("--[a-z-]+", self.format_usage())
            raise unknown("option", strange[0].partition("=")[0], ["--help", *options])
        return found

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse would print.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.")


def add_where(parser: Parser) -> None:
    """Add `--where`, which chooses cases: see `where`."""
    parser.add_argument(
        "--where",
        metavar="AXIS=V[,AXIS=V]",
        action="append",
        default=[],
        help="only these cases; the same axis again: any of its values",
    )


def where(given: Namespace) -> dict[str, list[str]]:
    """Return the allowed values of each axis in `--where`.

    Raises:
        UserError: a part of it has no value.
    """
    found: dict[str, list[str]] = {}
    for each in given.where:
        for axis, value in pairs_in("--where", each):
            found.setdefault(axis, []).append(value)
    return found


def add_margin(parser: Parser) -> None:
    """Add `--margin`, which `check_margin` checks."""
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        metavar="SHARE",
        help="difference that counts as the same (default %(default)s: 1 %%)",
    )


def check_margin(given: Namespace) -> None:
    """Reject a margin that is no share.

    Raises:
        UserError: it is none.
    """
    if not 0 <= given.margin < 1:
        raise UserError(
            f"--margin {given.margin:g} is not possible: give a share from 0 to below 1 (0.01 is 1 %)."
        )


def add_output(parser: Parser) -> None:
    """Add `-o`, the file to write to: see `write_text`."""
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file instead of standard output")


def write_text(text: str, output: str | None) -> None:
    """Write a text to a file, or to standard output if none is given.

    Raises:
        UserError: the file cannot be written, or has records.
        StoppedError: it could not be completed.
    """
    with opened(output) as file:
        file.write(text)


def write_file(data: bytes, output: str | None) -> None:
    """Write bytes to a file, or to standard output if none is given.

    Raises:
        UserError: the file cannot be written, or has records.
        StoppedError: it could not be completed.
    """
    with opened(output, is_binary=True) as file:
        file.write(data)


@contextmanager
def opened(output: str | None, is_binary: bool = False) -> Iterator[IO[Any]]:
    """Open the output: standard output, or a file that is complete in the end or as it was before.

    Raises:
        UserError: it cannot be written, or has records.
        StoppedError: it could not be completed.
    """
    if output is None:
        yield sys.stdout.buffer if is_binary else sys.stdout
        sys.stdout.flush()
        return
    error_type: type[UserError] = UserError
    try:
        with _file(Path(output), is_binary) as file:
            error_type = StoppedError
            yield file
    except BrokenPipeError:  # its reader has left, which ends a command without a word
        raise
    except OSError as error:
        raise error_type(f"Cannot write {output}: {error.strerror or error}.") from error


def _file(path: Path, is_binary: bool) -> AbstractContextManager[IO[Any]]:
    """Return a file to write to, as a whole unless it is a stream, such as a pipe or a terminal.

    Raises:
        UserError: it has records, which may be the only ones of a measurement.
        OSError: it cannot be written.
    """
    from microbench.records.store import has_records
    from microbench.system.files import replaced

    is_there = path.exists()
    if (is_there and not path.is_file()) or str(path.absolute()).startswith(STREAMS):
        return path.open("ab" if is_binary else "a", encoding=None if is_binary else "utf-8")
    if is_there:
        path.open("ab").close()  # raises what forbids to write it
        if has_records(path):
            raise UserError(f"Cannot write {path}: it has the records of a run. Give another file.")
    return replaced(path.resolve(), is_binary)


def names_in(text: str | None) -> list[str]:
    """Return the names in a text with commas between them, without the prefix of the records' columns."""
    return [name.strip().removeprefix("cfg_") for name in (text or "").split(",") if name.strip()]


def pairs_in(option: str, text: str) -> list[tuple[str, str]]:
    """Return the axes and values in an option's text, such as `mode=infer,batch_size=1`.

    A comma that no axis follows belongs to the value, as in `affinity=0,2`.

    Raises:
        UserError: a part of it has no value.
    """
    found = []
    for part in filter(None, re.split(r",(?=[^,]*=)", text)):
        axis, sign, value = (each.strip() for each in part.partition("="))
        if not sign or not axis or not value:
            raise UserError(f"{option} {part} is not possible: give AXIS=VALUE, such as engine=eager.")
        found.append((axis.removeprefix("cfg_"), value))
    return found
