"""The parser that commands share: argparse whose errors are one line with the nearest spelling."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import NoReturn

from microbench.errors import UserError, unknown


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
