"""The store: one JSONL file a run, appended and fsynced as soon as a series exists."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from microbench.errors import UserError
from microbench.results.record import to_json

FILE_NAME = "records.jsonl"


class Store:
    """Appends records to `records.jsonl` in a folder, which it makes where it is missing.

    Raises:
        UserError: the folder or the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._made_folder = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            self._end_torn_line()
        except OSError as error:
            raise UserError(f"Cannot write {self.path}: {error.strerror}. Give hydra.run.dir=DIR.") from error

    def _end_torn_line(self) -> None:
        """A line that a crash cut short stays by itself, so that the next record stays whole."""
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write the records, a line each, and return once they are on the disk.

        Raises:
            UserError: the disk is full or gone; what earlier calls wrote is kept.
        """
        data = "".join(to_json(record) + "\n" for record in records).encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as error:
            raise UserError(
                f"Cannot write {self.path}: {error.strerror}. Records written before are kept."
            ) from error

    @property
    def written(self) -> bool:
        """Whether the file holds anything."""
        return os.fstat(self._fd).st_size > 0

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards. A file without records is not left behind."""
        written = self.written
        os.close(self._fd)
        if not written and self.path.is_file():
            with suppress(OSError):
                self.path.unlink()
                if self._made_folder:
                    self.path.parent.rmdir()


def file_of(path: Path) -> Path:
    """The file of records that a path means: itself, or the one in the folder that it is."""
    return path / FILE_NAME if path.is_dir() else path


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of a file, or of a folder's `records.jsonl`, in the order they were written.

    A line that a crash cut short is left out.

    Raises:
        UserError: there is no such file, or it holds no records.
    """
    path = file_of(path)
    try:
        lines = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"Cannot read {path}: it is not a file of records (JSON lines).") from error
    records = [record for line in lines if (record := _parse(line)) is not None]
    if not records and any(line.strip() for line in lines):
        raise UserError(f"Cannot read {path}: no line of it is a record (a JSON object).")
    return records


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
