"""What the command does before it imports anything else: it sorts the module path, and can be interrupted.

The working folder moves behind the standard library.

`python -m` puts the working folder first: the command and its workers would import a user's `statistics.py`
or `socket.py` instead of the standard module. At the end of the path, modules in that folder are still found.
`sys.argv` begins with "-m" while Python locates the module and imports this package.

Until `main` handles Ctrl-C, it ends the command with a line instead of a traceback of half an import.
"""

import os
import sys
from contextlib import suppress

with suppress(OSError):  # the working folder may be gone
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib comes later
        sys.path.append(sys.path.pop(0))

import signal  # only now: the working folder may have a signal.py


def end_at_once(number: int, frame: object) -> None:
    """End the command, as `main` does when it is interrupted."""
    os.write(2, b"microbench: interrupted\n")
    os._exit(128 + number)


def is_the_command() -> bool:
    """Return whether this process was started as the command, and did not merely import the package."""
    given = sys.orig_argv[1:3]
    return given == ["-m", "microbench"] or "".join(given[:1]).endswith("/bin/microbench")


if is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_at_once)
