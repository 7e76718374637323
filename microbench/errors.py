"""Errors that a user can mend, and the nearest right spelling for a wrong one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command ends with; one that a signal ended, with 128 and the signal's number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOTHING_TO_COMPARE = 3


class UserError(Exception):
    """A mistake its user can mend: shown as one line, without a traceback.

    Attributes:
        exit_code: what the command ends with.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class StoppedError(UserError):
    """What stops a command although it was understood, such as a disk that is full."""

    exit_code = ExitCode.FAILED


class NothingToCompareError(UserError):
    """Records in which no case can be compared with another."""

    exit_code = ExitCode.NOTHING_TO_COMPARE


class SkippedError(Exception):
    """A case cannot run on this machine: shown as `skipped`, with the reason and what would help."""


class FailedAt(Exception):  # noqa: N818 - it goes with the error that it explains
    """The cause of an error that a layer of a model raised: which, and on what.

    Attributes:
        name: the layer's dotted name; empty for the model itself.
        type: its class, such as `Conv2d`.
        given: what it was given, such as `on input (1, 3, 224, 224)`.
    """

    def __init__(self, name: str, type: str, given: str) -> None:  # noqa: A002 - as records call it
        super().__init__(name, type, given)
        self.name, self.type, self.given = name, type, given

    def __str__(self) -> str:
        return f"{self.name} ({self.type})" if self.name else self.type


def nearest(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The names in `known` most like `word`, best first; at most `most`, none below `cutoff` (0 to 1).

    Likeness is difflib's ratio. Among equals, the name that shares more letters wins whatever their
    order, so that swapped letters ("vgg61") find the name that was meant ("vgg16") first.
    """

    def likeness(name: str) -> tuple[float, int]:
        ratio = SequenceMatcher(None, word.lower(), name.lower()).ratio()
        return ratio, (Counter(word.lower()) & Counter(name.lower())).total()

    scored = [(likeness(name), name) for name in known]
    close = [(score, name) for score, name in scored if score[0] >= cutoff]
    close.sort(key=lambda item: (-item[0][0], -item[0][1], item[1]))
    return [name for _, name in close[:most]]


def unknown(kind: str, word: str, known: Iterable[str], see: str = "") -> UserError:
    """The error for a name nobody knows: what was wrong, the nearest right spellings, what is allowed.

    `see` names the command that lists all names, for lists too long for one line.
    """
    names = sorted(known)
    text = f"Unknown {kind} {word!r}."
    if close := nearest(word, names):
        text += f" Did you mean {', '.join(close)}?"
    if len(names) <= 12:
        text += f" Allowed: {', '.join(names)}."
    elif see:
        text += f" All {len(names)}: {see}"
    return UserError(text)


INTERPRETED = "The following operation failed in the TorchScript interpreter."


def first_line(text: object) -> str:
    """The first line of a message that has something on it, for reports of one line.

    TorchScript says on the last one what failed, below where, unless it lost that.
    """
    first, *rest = [line.strip() for line in str(text).splitlines() if line.strip()] or ["no message"]
    return rest[-1] if first == INTERPRETED and rest and not rest[-1].endswith(":") else first
