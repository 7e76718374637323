"""The files that hold an exported model: its own, and those with its weights."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from microbench.system.digests import digest

LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x01-\x7f])")
"""In an ONNX file, the key of a tensor's external data: the name of a file, after the name's length.

The length has 7 bits a byte, the lowest first, and the highest bit of all but the last byte is set.
"""


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
        found = [content[each.end() : each.end() + _length(each[1])] for each in LOCATION.finditer(content)]
    return [path.parent / name.decode(errors="replace") for name in dict.fromkeys(found)]


def _length(varint: bytes) -> int:
    return sum((each & 0x7F) << 7 * place for place, each in enumerate(varint))


def digest_with_weights(path: Path, text: str = "") -> str:
    """Return twelve hexadecimal digits that identify the contents of a model's files, and a text with them.

    Raises:
        OSError: one cannot be read.
    """
    beside = [digest(each) for each in weight_files(path) if each.is_file()]
    return digest(path, "".join((text, *beside)))
