"""The files that hold an exported model: its own, and those with its weights."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from microbench.system.files import digest

LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])")
"""In an ONNX file, the key of a tensor's external data: the name of a file, after the name's length."""


def weight_files(path: Path) -> list[Path]:
    """Return the files besides its own that an exported model keeps its weights in, present or not.

    Raises:
        OSError: the model's file cannot be read.
    """
    if path.suffix == ".xml":
        return [path.with_suffix(".bin")]
    if path.suffix != ".onnx" or not path.stat().st_size:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = [content[each.end() : each.end() + each[1][0]] for each in LOCATION.finditer(content)]
    return [path.parent / name.decode(errors="replace") for name in dict.fromkeys(found)]


def digest_with_weights(path: Path, text: str = "") -> str:
    """Return twelve hexadecimal digits that identify the contents of a model's files, and a text with them.

    Raises:
        OSError: one cannot be read.
    """
    beside = [digest(each) for each in weight_files(path) if each.is_file()]
    return digest(path, "".join((text, *beside)))
