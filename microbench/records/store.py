"""The store: one JSONL file per run, appended to and fsynced after each round."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from msgspec import DecodeError, ValidationError

from microbench.errors import StoppedError, UserError
from microbench.records.record import SCHEMA_VERSION, OtherVersionError, RoundRecord, decode, encode

FILE_NAME = "records.jsonl"

CASE_ID = re.compile(rb'"case":\{"id":"(\w+)"')
"""The id of a record's case, in its line."""


class Store:
    """Appends records to `records.jsonl` in a folder, which it makes if it is missing.

    Several processes may append to one file: an append is complete or absent. As a context manager, it
    removes a folder that it made if that stays empty.

    Attributes:
        path: the file.
        written: whether it contains anything, old or new.

    Raises:
        UserError: the folder or the file cannot be written, or contains records that this version cannot
            read.
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
                tempfile.TemporaryFile(dir=folder).close()  # checks that a file can be made there
            self.written = self.path.exists() and self.path.stat().st_size > 0
        if self.written:
            self._check()

    def __enter__(self) -> Store:
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the folder if it was made here and is empty."""
        if self._made_folder:
            with suppress(OSError):
                self.path.parent.rmdir()

    def append(self, record: RoundRecord) -> None:
        """Write a record and return once it is on the disk.

        Raises:
            StoppedError: the disk is full or gone. All earlier records are kept, and this one in a separate
                file if any disk has room for it.
        """
        data = encode(record) + b"\n"
        with self._told(data):
            self.path.parent.mkdir(parents=True, exist_ok=True)  # another store may have removed it
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

    def _check(self) -> None:
        """Reject a file that would be unreadable once records of this version were added.

        Raises:
            UserError: it would be.
        """
        try:
            _decoded(self.path.read_bytes())
        except _UnreadableError as error:
            raise UserError(
                f"Cannot add records to {self.path}: {error}. Give another folder: hydra.run.dir=DIR."
            ) from error

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    @contextmanager
    def _told(self, data: bytes = b"") -> Iterator[None]:
        """Turn the system's errors into one line that says where `data` was put instead."""
        try:
            yield
        except OSError as error:
            kept = "Records written before are kept. " if self.written else ""
            advice = _rescued(data) if data else "Give hydra.run.dir=DIR."
            stop = StoppedError if data else UserError
            raise stop(f"Cannot write {self.path}: {error.strerror}. {kept}{advice}") from error


def _rescued(data: bytes) -> str:
    """Save data to a temporary file, or in the home folder; return a sentence that says where."""
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
            return f"The last round's record is in {path}."
    return "The last round's record is lost: no disk has room for it."


def _write_whole(file: int, data: bytes) -> None:
    """Append all of `data` and sync it to the disk, or leave the file as it was.

    A line truncated by a crash is terminated first, so that what follows is complete.
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
    """Sync a new file's name to the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_of(path: Path) -> Path:
    """Return the file of records at a path: the path itself, or the file in that folder."""
    return path / FILE_NAME if path.is_dir() else path


def read(path: Path) -> list[RoundRecord]:
    """Read all complete records of a file, or of a folder's `records.jsonl`, in the order they were written.

    A line truncated by a crash is left out.

    Raises:
        UserError: there is no such file, or it has no records, or records of an unreadable version.
    """
    path = file_of(path)
    try:
        return _decoded(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except _UnreadableError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error


def rounds_of(path: Path, ids: Collection[str]) -> Iterator[RoundRecord]:
    """Yield a file's records of the cases with these ids; what cannot be read is left out.

    Only their lines are decoded, which makes it fast to search many files.
    """
    with suppress(OSError):
        for line in path.read_bytes().split(b"\n"):
            case_id = CASE_ID.search(line)
            if case_id and case_id[1].decode() in ids:
                with suppress(DecodeError, OtherVersionError):
                    yield decode(line)


class _UnreadableError(Exception):
    """Lines are not records of this version; says why."""


def _decoded(data: bytes) -> list[RoundRecord]:
    """Decode lines of records.

    Raises:
        _UnreadableError: some are of another version, or none is a record.
    """
    lines, found = data.split(b"\n"), list[RoundRecord]()
    for number, line in enumerate(lines, start=1):
        try:
            found.append(decode(line))
        except OtherVersionError as error:
            raise _UnreadableError(_other(error.version)) from error
        except ValidationError as error:
            raise _UnreadableError(f"line {number} is not a record: {error}") from error
        except DecodeError:  # empty, or truncated by a crash
            continue
    if not found and any(line.strip() for line in lines[:-1]):
        raise _UnreadableError("no line of it is a record (a JSON object)")
    return found


def _other(version: object) -> str:
    """Return the error's text for records of another schema version."""
    if not isinstance(version, int):
        return "its records are not microbench's"
    remedy = (
        "an older microbench wrote them: measure again, or read them with that version"
        if version < SCHEMA_VERSION
        else "update microbench to read them"
    )
    return f"its records have schema_version {version}, and this microbench reads {SCHEMA_VERSION}: {remedy}"
