"""The store: one JSONL file per run, appended to and fsynced after each round."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from types import TracebackType

from msgspec import DecodeError

from microbench.errors import StoppedError, UserError
from microbench.records.record import SCHEMA_VERSION, OtherVersionError, RoundRecord, decode, encode

FILE_NAME = "records.jsonl"

BLOCK = 1 << 21  # bytes read at once: what they are decoded to fits into a cache of the CPU
LONGEST = 1 << 27  # bytes of a line

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
            _decoded(self.path)
        except UnreadableError as error:
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


def find(paths: Iterable[Path | str]) -> list[Path]:
    """Return the files of records at paths, each once.

    A path is a file; a folder, of which it is the `records.jsonl`, or all below it if it has none; or a
    pattern of such, as in `outputs/**`, of whose matches those without records do not count.

    Raises:
        UserError: there is none at a path.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        files = _files_at(str(path))
        if not files:
            raise UserError(f"No records in {path}: no file there is called {FILE_NAME}.")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _files_at(path: str) -> list[Path]:
    """Return the files of records at a path, sorted."""
    if not Path(path).is_dir():
        if Path(path).exists() or not has_magic(path):
            return [Path(path)]
        matches = sorted(map(Path, glob(path, recursive=True)))  # noqa: PTH207 - of any folder
        named = [each for each in matches if each.is_file() and _is_meant(each, path)]
        folders = [] if "**" in path else [each for each in matches if each.is_dir()]
        return [*named, *(file for folder in folders for file in _files_at(str(folder)))]
    own = Path(path) / FILE_NAME
    return [own] if own.exists() else sorted(Path(path).rglob(FILE_NAME))


def _is_meant(file: Path, pattern: str) -> bool:
    """Return whether a pattern means a file that it matches: one of that name, or any of that kind."""
    return file.name == FILE_NAME or pattern.endswith(".jsonl")


def check(path: Path) -> None:
    """Reject a file that certainly cannot be read; only its beginning is looked at, to its first record.

    Raises:
        UserError: there is no such file, or it has no record, or begins with those of another version.
    """
    skipped = Skipped()
    try:
        for lines in blocks(path):
            for line in lines:
                if skipped.add([line], decode):
                    return
        skipped.check(0, is_torn(path))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnreadableError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error


def readable(paths: Sequence[Path | str]) -> list[Path]:
    """Return the files of records at paths, without those that a search found and that cannot be read.

    Standard error says which these are.

    Raises:
        UserError: a path names such a file, or the search found no other, or there is none at a path.
    """
    named = {file_of(Path(each)).resolve() for each in paths}
    found, errors = list[Path](), list[UserError]()
    for file in find(paths):
        try:
            check(file)
        except UserError as error:
            if file.resolve() in named:
                raise
            errors.append(error)
        else:
            found.append(file)
    if errors and not found:
        raise errors[0]
    for each in errors:
        print(f"microbench: left out: {each}", file=sys.stderr)
    return found


def has_records(path: Path) -> bool:
    """Return whether a file begins as one of records does, of any version; only its first block counts."""
    with suppress(OSError, UnreadableError):
        for line in next(blocks(path)):
            with suppress(DecodeError):
                try:
                    decode(line)
                except OtherVersionError as error:
                    if not isinstance(error.version, int):
                        continue
                return True
    return False


def read(path: Path, size: int | None = None) -> list[RoundRecord]:
    """Read all records of a file, or of a folder's `records.jsonl`, in the order they were written.

    If a size is given, only those in so many of its first bytes are read.

    Lines that are no records, such as one truncated by a crash, are skipped; a line on standard error says
    how many.

    Raises:
        UserError: there is no such file, no line of it is a record, or a record is of an unreadable version.
    """
    path = file_of(path)
    try:
        found, skipped = _decoded(path, size)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnreadableError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    if found:
        tell_skipped({path: skipped.count})
    return found


def tell_skipped(lines: Mapping[Path, int]) -> None:
    """Say on standard error how many lines of which files are no records."""
    for path, count in lines.items():
        if count:
            what = "line that is not a record" if count == 1 else "lines that are not records"
            print(f"microbench: {path}: skipped {count} {what}", file=sys.stderr)


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


class UnreadableError(Exception):
    """Lines are not records of this version; says why."""


@dataclass
class Skipped:
    """The lines of a file that are no records.

    Attributes:
        count: their number; empty lines do not count.
        reason: why the first of them is none.
    """

    count: int = 0
    reason: str = ""

    def add(self, lines: Iterable[bytes], take: Callable[[bytes], object]) -> int:
        """Hand over each line to a function that decodes it, and return the number of records.

        Raises:
            UnreadableError: a record is of another version of the schema.
        """
        records = 0
        for line in lines:
            try:
                take(line)
                records += 1
            except OtherVersionError as error:
                if isinstance(error.version, int):
                    raise UnreadableError(_other(error.version)) from error
                self._skip("its objects have no schema_version")
            except DecodeError as error:
                if line.strip():
                    self._skip(str(error))
        return records

    def _skip(self, reason: str) -> None:
        self.count += 1
        self.reason = self.reason or reason

    def check(self, records: int, is_torn: bool) -> None:
        """Reject a file without any record; one whose only line a crash truncated is just empty.

        Raises:
            UnreadableError: it is rejected.
        """
        if not records and self.count > is_torn:
            raise UnreadableError(f"no line of it is a record ({self.reason})")


def blocks(path: Path, start: int = 0, end: int | None = None) -> Iterator[list[bytes]]:
    """Yield the lines in a range of a file's bytes, from a line's begin to a line's end, in blocks.

    Raises:
        OSError: it cannot be read.
        UnreadableError: a line is longer than any record.
    """
    with path.open("rb") as file:
        file.seek(start)
        left, parts = sys.maxsize if end is None else end - start, [b""]  # of a line, joined at its end
        while left and (data := file.read(min(BLOCK, left))):
            left -= len(data)
            first, *others = data.split(b"\n")
            parts.append(first)
            if others:
                *lines, rest = b"".join(parts), *others
                parts = [rest]
                yield lines
            if sum(map(len, parts)) > LONGEST:
                raise UnreadableError(f"no line of it is a record (one is longer than {LONGEST >> 20} MiB)")
        yield [b"".join(parts)]


def is_torn(path: Path, size: int | None = None) -> bool:
    """Return whether a file's last line has no end, or the last of its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END) if size is None else size
        if not end:
            return False
        file.seek(end - 1)
        return file.read(1) != b"\n"


def _decoded(path: Path, size: int | None = None) -> tuple[list[RoundRecord], Skipped]:
    """Decode a file's records, or those in its first bytes.

    Raises:
        OSError: it cannot be read.
        UnreadableError: some are of another version, or none is a record.
    """
    found, skipped = list[RoundRecord](), Skipped()
    for lines in blocks(path, end=size):
        skipped.add(lines, lambda line: found.append(decode(line)))
    skipped.check(len(found), is_torn(path, size))
    return found, skipped


def _other(version: int) -> str:
    """Return the error's text for records of another schema version."""
    remedy = (
        "an older microbench wrote them: measure again, or read them with that version"
        if version < SCHEMA_VERSION
        else "update microbench to read them"
    )
    return f"its records have schema_version {version}, and this microbench reads {SCHEMA_VERSION}: {remedy}"
