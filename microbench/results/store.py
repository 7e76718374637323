"""The store: one JSONL file a run, appended and fsynced as soon as a round has ended."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from microbench.errors import StoppedError, UserError
from microbench.results.record import SCHEMA_VERSION, to_json

FILE_NAME = "records.jsonl"
WRITTEN = re.compile(rb'\{"schema_version":(\d+),.*\}$')
NO_RECORD = object()


class Store:
    """Appends records to `records.jsonl` in a folder, which it makes where it is missing.

    Several processes may append to one file: an append is whole or not there. Used as a context manager, it
    leaves no empty folder behind that it has made.

    Attributes:
        path: the file.
        written: whether it holds anything, from before or from now.

    Raises:
        UserError: the folder or the file cannot be written, or holds what cannot be read together with this
            version's records.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.written = False
        self._made_folder = not folder.exists()
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                os.close(self._open())
            else:
                tempfile.TemporaryFile(dir=folder).close()  # whether a file can be made there
            self.written = self.path.exists() and self.path.stat().st_size > 0
        if self.written:
            self._check_versions()

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the folder if it was made here and nothing is in it."""
        if self._made_folder:
            with suppress(OSError):
                self.path.parent.rmdir()

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write the records, a line each, and return once they are on the disk.

        Raises:
            StoppedError: the disk is full or gone. All earlier records are there then, and these in a file of
                their own, where any disk has room for it.
        """
        data = "".join(to_json(record) + "\n" for record in records).encode()
        with self._told(data):
            self.path.parent.mkdir(parents=True, exist_ok=True)  # another store may have tidied it away
            new = not self.path.exists()
            file = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                _write_whole(file, data)
            finally:
                os.close(file)
            if new:
                _sync_folder(self.path.parent)
        self.written = True

    def _check_versions(self) -> None:
        """Refuse a file that could not be read any more once records of this version were added.

        Raises:
            UserError: it is one.
        """
        lines = self.path.read_bytes().split(b"\n")
        versions = [version for line in lines if (version := _version(line)) is not NO_RECORD]
        strange = "it is not a file of records" if _is_something_else(lines, versions) else _other(versions)
        if strange:
            raise UserError(
                f"Cannot add records to {self.path}: {strange}. Give another folder: hydra.run.dir=DIR."
            )

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    @contextmanager
    def _told(self, data: bytes = b"") -> Iterator[None]:
        """Tell what the system refuses in one line, and where `data` was put instead."""
        try:
            yield
        except OSError as error:
            kept = "Records written before are kept. " if self.written else ""
            advice = _rescued(data) if data else "Give hydra.run.dir=DIR."
            stop = StoppedError if data else UserError
            raise stop(f"Cannot write {self.path}: {error.strerror}. {kept}{advice}") from error


def _rescued(data: bytes) -> str:
    """Put data into a file for temporary ones, or next to none; say where it is."""
    for folder in (tempfile.gettempdir, Path.home):
        with suppress(OSError, RuntimeError):  # RuntimeError: this user has no home
            file, path = tempfile.mkstemp(".jsonl", "microbench-", folder())
            try:
                _write_whole(file, data)
            except OSError:
                Path(path).unlink()
                raise
            finally:
                os.close(file)
            return f"Those of the last round are in {path}."
    return "Those of the last round are lost: no disk has room for them."


def _write_whole(file: int, data: bytes) -> None:
    """Append all of `data` and have it on the disk, or leave the file as it was.

    A line that a crash cut short stays by itself, so that what follows stays whole.
    """
    size = os.fstat(file).st_size
    if size and stat.S_ISREG(os.fstat(file).st_mode) and os.pread(file, 1, size - 1) != b"\n":
        data = b"\n" + data
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _sync_folder(folder: Path) -> None:
    """Have a new file's name on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_of(path: Path) -> Path:
    """The file of records that a path means: itself, or the one in the folder that it is."""
    return path / FILE_NAME if path.is_dir() else path


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of a file, or of a folder's `records.jsonl`, in the order they were written.

    A line that a crash cut short is left out.

    Raises:
        UserError: there is no such file, or it holds no records, or those of another version of the schema.
    """
    path = file_of(path)
    try:
        lines = path.read_text("utf-8").split("\n")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"Cannot read {path}: it is not a file of records (JSON lines).") from error
    records = [record for line in lines if (record := _parse(line)) is not None]
    if _is_something_else(lines, records):
        raise UserError(f"Cannot read {path}: no line of it is a record (a JSON object).")
    if strange := _other([record.get("schema_version") for record in records]):
        raise UserError(f"Cannot read {path}: {strange}.")
    return records


def _is_something_else(lines: Sequence[str] | Sequence[bytes], records: Sequence[Any]) -> bool:
    """Whether a file has whole lines, none of which is a record."""
    return not records and any(line.strip() for line in lines[:-1])


def _other(versions: Iterable[object]) -> str | None:
    """What to say of records that are not of this version of the schema; None where all are."""
    other = next((version for version in versions if version != SCHEMA_VERSION), SCHEMA_VERSION)
    if other == SCHEMA_VERSION:
        return None
    if not isinstance(other, int):
        return "its records are none of microbench's"
    remedy = "an older microbench wrote them" if other < SCHEMA_VERSION else "update microbench to read them"
    return f"its records have schema_version {other}, and this microbench has {SCHEMA_VERSION}: {remedy}"


def _version(line: bytes) -> object:
    """The version of a line's record, without a look at the rest of it where `to_json` wrote the line."""
    if found := WRITTEN.match(line):
        return int(found[1])
    record = _parse(line)
    return NO_RECORD if record is None else record.get("schema_version")


def _parse(line: str | bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # no JSON, or no text
        return None
    return record if isinstance(record, dict) else None
