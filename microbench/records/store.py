"""The store: one JSONL file a run, appended and fsynced as soon as a round has ended."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from msgspec import DecodeError, ValidationError

from microbench.errors import StoppedError, UserError
from microbench.records.record import SCHEMA_VERSION, OtherVersionError, RoundRecord, decode, encode

FILE_NAME = "records.jsonl"


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
            self._check()

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

    def append(self, record: RoundRecord) -> None:
        """Write a record and return once it is on the disk.

        Raises:
            StoppedError: the disk is full or gone. All earlier records are there then, and this one in a file
                of its own, where any disk has room for it.
        """
        data = encode(record) + b"\n"
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

    def _check(self) -> None:
        """Refuse a file that could not be read any more once records of this version were added.

        Raises:
            UserError: it is one.
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
            return f"That of the last round is in {path}."
    return "That of the last round is lost: no disk has room for it."


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


def read(path: Path) -> list[RoundRecord]:
    """All whole records of a file, or of a folder's `records.jsonl`, in the order they were written.

    A line that a crash cut short is left out.

    Raises:
        UserError: there is no such file, or it holds no records, or those of a version that cannot be read.
    """
    path = file_of(path)
    try:
        return _decoded(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except _UnreadableError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error


class _UnreadableError(Exception):
    """Lines are no records of this version; says why."""


def _decoded(data: bytes) -> list[RoundRecord]:
    """The records in lines.

    Raises:
        _UnreadableError: some are not of this version, or none is a record.
    """
    lines, found = data.split(b"\n"), list[RoundRecord]()
    for number, line in enumerate(lines, start=1):
        try:
            found.append(decode(line))
        except OtherVersionError as error:
            raise _UnreadableError(_other(error.version)) from error
        except ValidationError as error:
            raise _UnreadableError(f"line {number} is not a record: {error}") from error
        except DecodeError:  # empty, or cut short by a crash
            continue
    if not found and any(line.strip() for line in lines[:-1]):
        raise _UnreadableError("no line of it is a record (a JSON object)")
    return found


def _other(version: object) -> str:
    """What to say of records that are not of this version of the schema."""
    if not isinstance(version, int):
        return "its records are none of microbench's"
    remedy = (
        "an older microbench wrote them: measure again, or read them with that version"
        if version < SCHEMA_VERSION
        else "update microbench to read them"
    )
    return f"its records have schema_version {version}, and this microbench reads {SCHEMA_VERSION}: {remedy}"
