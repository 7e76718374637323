"""The cache of journals: their tables as Parquet files, made and used by whoever reads them.

An entry is a folder named after the state of its journals and the tables' columns: whatever changes makes
another entry. It is complete or absent, because it is moved into place. Journals that follow each other share
an entry of some size, so that a folder with a thousand runs needs few, and a new run makes only the last one
anew. A faulty entry does no harm: it is made anew.
Where none can be written, there is none.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import astuple, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from microbench.caching import cache_folder
from microbench.errors import UserError
from microbench.records.journal import TABLES, Builder, Tables, encoded, is_text, schema_of
from microbench.records.record import SCHEMA_VERSION
from microbench.records.store import Skipped, UnreadableError, blocks, is_torn

if TYPE_CHECKING:
    import pyarrow as pa

ENOUGH = 1 << 28  # bytes of journals in an entry, unless one is larger
BLOCKS = 32  # in a row group of a file: few groups are faster to read
ALONE = 1 << 25  # bytes that are read faster in this process than in others, which have to start
LARGEST = 4 << 30  # bytes of all entries
DAY = 86400  # seconds
REFERENCES = {
    "rounds": {"case": "cases", "machine": "machines"},
    "series": {"record": "rounds"},
    "calls": {"record": "rounds"},
}
"""The columns that are places in other tables."""

META = "meta.json"
READER = "from microbench.records.cache import serve; serve()"
"""What a process runs that reads a part of the journals."""


@dataclass(frozen=True)
class Journal:
    """A file of records as it is now.

    Attributes:
        path: its absolute path.
        size: its bytes.
        written: when it was last written, in ns, or what its writer says of that.
        changed: when it was last changed in any way, in ns, as its file system says.
        inode: its number there, which another file in its place does not have.
    """

    path: str
    size: int
    written: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Journal:
        """Return the journal at a path.

        Raises:
            UserError: there is none.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror}.") from error
        return cls(str(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


@dataclass(frozen=True)
class Span:
    """A range of the bytes of a journal: whole lines."""

    path: str
    start: int
    end: int


@dataclass
class Found:
    """What was found in a journal: its records, and the lines that are none."""

    records: int = 0
    skipped: Skipped = field(default_factory=Skipped)


def tables_of(journals: Sequence[Journal]) -> tuple[Tables, dict[Path, int]]:
    """Return the tables of journals, and the number of lines of each that are no records.

    Raises:
        UserError: a journal cannot be read, or has no record, or records of another version of the schema.
    """
    folder = _folder()
    groups = [_Group(each, None if folder is None else folder / _key(each)) for each in _grouped(journals)]
    missing = [each for each in groups if not each.read()]
    if missing:
        _fill(missing, folder)
    skipped = {Path(path): count for each in groups for path, count in each.skipped.items()}
    return _concatenated([part for each in groups for part in each.parts]), skipped


def _folder() -> Path | None:
    """Return the folder of all entries; None if there cannot be one."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder() / "records"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return None


def _grouped(journals: Sequence[Journal]) -> Iterator[list[Journal]]:
    """Yield journals that follow each other, of `ENOUGH` bytes together."""
    group: list[Journal] = []
    for each in journals:
        group.append(each)
        if sum(one.size for one in group) >= ENOUGH:
            yield group
            group = []
    if group:
        yield group


def _key(journals: Sequence[Journal]) -> str:
    columns = {name: {column: str(kind) for column, kind in each.items()} for name, each in TABLES.items()}
    state = [SCHEMA_VERSION, columns, [astuple(each) for each in journals]]
    return sha256(json.dumps(state).encode()).hexdigest()[:32]


@dataclass
class _Group:
    """Journals that share an entry, and what the entry has."""

    journals: Sequence[Journal]
    entry: Path | None
    parts: list[Tables] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def read(self) -> bool:
        """Read the entry, and return whether it is there and sound."""
        if self.entry is None or not self.entry.is_dir():
            return False
        try:
            meta = json.loads((self.entry / META).read_text("utf-8"))
            self.parts = [_read_part(self.entry, part) for part in meta["parts"]]
            self.skipped = meta["skipped"]
        except (OSError, ValueError, KeyError, TypeError):  # pyarrow's errors are ValueErrors and OSErrors
            shutil.rmtree(self.entry, ignore_errors=True)
            return False
        with suppress(OSError):
            os.utime(self.entry)
        return True

    def take(self, parts: list[Tables], found: Sequence[dict[str, Found]]) -> None:
        """Take the tables that were read, and check what was found.

        Raises:
            UserError: a journal has no record.
        """
        self.parts = parts
        for journal in self.journals:
            path = journal.path
            of_parts = [each[path] for each in found if path in each]
            skipped = Skipped(
                sum(each.skipped.count for each in of_parts),
                next((each.skipped.reason for each in of_parts if each.skipped.count), ""),
            )
            try:
                skipped.check(sum(each.records for each in of_parts), is_torn(Path(path), journal.size))
            except UnreadableError as error:
                raise UserError(f"Cannot read {path}: {error}.") from error
            self.skipped[path] = skipped.count


def _read_part(entry: Path, part: str) -> Tables:
    """Read the tables of a part.

    Raises:
        OSError, ValueError: a file is missing or damaged.
    """
    import pyarrow.parquet as pq

    found = {}
    for name in TABLES:
        schema = schema_of(name)
        texts = [each for each, kind in TABLES[name].items() if is_text(kind)]
        table = pq.read_table(entry / f"{part}.{name}.parquet", read_dictionary=texts, memory_map=True)
        if table.schema.names != schema.names:
            raise ValueError(f"{name} has other columns")
        found[name] = table
    return found


def _fill(groups: Sequence[_Group], folder: Path | None) -> None:
    """Read the journals of groups, and write their entries if there is a folder.

    Raises:
        UserError: a journal cannot be read, or has no record, or records of another version of the schema.
    """
    size = sum(journal.size for group in groups for journal in group.journals)
    with ExitStack() as stack:
        if size > ALONE and len(os.sched_getaffinity(0)) > 1 and sys.executable:
            with suppress(OSError, _FailedError):
                made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="new-")))
                _fill_in_processes(groups, made)
                groups = []
        for group in groups:
            _fill_here(group)
    if folder is not None:
        _prune(folder)


def _fill_here(group: _Group) -> None:
    """Read the journals of a group in this process."""
    spans = [Span(each.path, 0, each.size) for each in group.journals]
    found: dict[str, Found] = {}
    tables = encoded(_gathered(_parsed(spans, found)))
    group.take([tables], [found])
    if group.entry is None:
        return
    with suppress(OSError):
        made = Path(tempfile.mkdtemp(dir=group.entry.parent, prefix="new-"))
        try:
            for name, table in tables.items():
                with _writer(made / f"0.{name}.parquet", name) as writer:
                    writer.write_table(table.cast(schema_of(name)))
            _finish(group, made, ["0"])
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _finish(group: _Group, made: Path, parts: Sequence[str]) -> None:
    """Move an entry into place, unless another process has done that.

    Raises:
        OSError: it cannot be written.
    """
    if group.entry is not None:
        meta = {
            "parts": parts,
            "skipped": group.skipped,
            "journals": [astuple(each) for each in group.journals],
        }
        (made / META).write_text(json.dumps(meta), "utf-8")
        with suppress(FileExistsError):
            made.rename(group.entry)


def _parsed(spans: Iterable[Span], found: dict[str, Found]) -> Iterator[Tables]:
    """Yield the tables of ranges of journals: rounds, series and calls block by block, then what they share.

    Raises:
        UserError: a journal cannot be read, or has records of another version of the schema.
    """
    builder = Builder()
    for span in spans:
        of_file = found.setdefault(span.path, Found())
        try:
            for lines in blocks(Path(span.path), span.start, span.end):
                of_file.records += of_file.skipped.add(lines, builder.add)
                yield builder.take_rounds()
        except OSError as error:
            raise UserError(f"Cannot read {span.path}: {error.strerror}.") from error
        except UnreadableError as error:
            raise UserError(f"Cannot read {span.path}: {error}.") from error
    yield builder.take_shared()


def _gathered(found: Iterable[Tables]) -> Tables:
    """Return tables that come in blocks as a whole."""
    import pyarrow as pa

    blocks: dict[str, list[pa.Table]] = {name: [schema_of(name).empty_table()] for name in TABLES}
    for each in found:
        for name, table in each.items():
            blocks[name].append(table)
    return {name: pa.concat_tables(each).combine_chunks() for name, each in blocks.items()}


def _joined(found: Iterator[Tables]) -> Iterator[Tables]:
    """Yield tables in larger blocks."""
    while blocks := list(islice(found, BLOCKS)):
        yield _gathered(blocks)


def _writer(path: Path, name: str) -> Any:
    """Return a writer of a table's file; a number takes its eight bytes, which is the fastest to read."""
    import pyarrow.parquet as pq

    repeated = [column for column, kind in TABLES[name].items() if is_text(kind) or kind in (int, bool)]
    return pq.ParquetWriter(
        path,
        schema_of(name),
        compression={column: "lz4" if column in repeated else "none" for column in TABLES[name]},
        use_dictionary=[each for each in repeated if each != "identity"],
        write_statistics=False,
    )


class _FailedError(Exception):
    """Another process that should read journals has failed."""


def _fill_in_processes(groups: Sequence[_Group], made: Path) -> None:
    """Read the journals of groups in as many processes as there are CPUs for.

    Raises:
        UserError: a journal cannot be read, or has no record, or records of another version of the schema.
        OSError, _FailedError: it is not possible.
    """
    shares = _shares(groups, len(os.sched_getaffinity(0)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = []
    with ExitStack() as stack:
        for place, share in enumerate(shares):
            for number in share:
                (made / str(number)).mkdir(exist_ok=True)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-P", "-c", READER, str(made), str(place)],  # -P: not from this folder
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            )
            stack.callback(process.kill)  # unless it has ended
            running.append(process)
            assert process.stdin is not None
            process.stdin.write(
                json.dumps({str(n): list(map(astuple, each)) for n, each in share.items()}).encode()
            )
            process.stdin.close()
            process.stdin = None
        answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise _FailedError
    reports = [json.loads(answer) for answer in answers]
    for report in reports:
        if report["error"] is not None:
            raise UserError(report["error"])
    for place, group in enumerate(groups):
        of_group = [
            (str(part), report["found"][str(place)])
            for part, report in enumerate(reports)
            if str(place) in report["found"]
        ]
        found = [
            {path: Found(records, Skipped(*skipped)) for path, (records, *skipped) in each.items()}
            for _, each in of_group
        ]
        parts = [part for part, _ in of_group]
        group.take([_read_part(made / str(place), part) for part in parts], found)
        with suppress(OSError):
            _finish(group, made / str(place), parts)


def _shares(groups: Sequence[_Group], number: int) -> list[dict[int, list[Span]]]:
    """Divide the journals of groups into equal shares of bytes, in order: the ranges of each group."""
    size = sum(journal.size for group in groups for journal in group.journals)
    shares: list[dict[int, list[Span]]] = [{} for _ in range(number)]
    passed = 0
    for place, group in enumerate(groups):
        for journal in group.journals:
            start = 0
            while start < journal.size or journal.size == 0:
                share = min(number - 1, (passed + start) * number // max(1, size))
                end = min(journal.size, -(-(share + 1) * size // number) - passed)
                end = _line_end(journal, end)
                shares[share].setdefault(place, []).append(Span(journal.path, start, end))
                start = end
                if journal.size == 0:
                    break
            passed += journal.size
    return [each for each in shares if each]


def _line_end(journal: Journal, place: int) -> int:
    """Return where the line ends that has the byte before a place."""
    if place >= journal.size:
        return journal.size
    with Path(journal.path).open("rb") as file:
        file.seek(place - 1)
        file.readline()
        return min(journal.size, file.tell())


def serve() -> None:
    """Read the ranges of journals that standard input names, write their tables, and print what was found."""
    gc.disable()  # nothing here refers to itself
    _hide_pandas()
    made, part = Path(sys.argv[1]), sys.argv[2]
    report: dict[str, Any] = {"error": None, "found": {}}
    try:
        for group, spans in json.load(sys.stdin).items():
            found: dict[str, Found] = {}
            with ExitStack() as stack:
                writers = {
                    name: stack.enter_context(_writer(made / group / f"{part}.{name}.parquet", name))
                    for name in TABLES
                }
                for tables in _joined(_parsed([Span(*each) for each in spans], found)):
                    for name, table in tables.items():
                        writers[name].write_table(table)
            report["found"][group] = {
                path: [each.records, each.skipped.count, each.skipped.reason] for path, each in found.items()
            }
    except UserError as error:
        report["error"] = str(error)
    print(json.dumps(report))


def _hide_pandas() -> None:
    """Keep pyarrow from importing pandas, which takes as long as reading 50 MB, to ask what an array is."""
    hidden = ModuleType("pandas")
    hidden.__dict__["__version__"] = "0"  # too old for it
    sys.modules["pandas"] = hidden
    warnings.simplefilter("ignore")


def _concatenated(parts: Sequence[Tables]) -> Tables:
    """Return the tables of parts as one, with the places of rows in them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, list[pa.Table]] = {name: [schema_of(name).empty_table()] for name in TABLES}
    begins = dict.fromkeys(TABLES, 0)
    for part in parts:
        for name, table in part.items():
            for column, other in REFERENCES.get(name, {}).items():
                place = table.schema.get_field_index(column)
                table = table.set_column(place, column, pc.add(table.column(place), begins[other]))
            found[name].append(table)
        for name, table in part.items():
            begins[name] += len(table)
    return {name: pa.concat_tables(each[1:] or each).unify_dictionaries() for name, each in found.items()}


def _prune(folder: Path) -> None:
    """Remove entries of journals that have changed or are gone; if all are too large, the longest unused."""
    used: dict[Path, float] = {}
    with suppress(OSError):
        for entry in folder.iterdir():
            with suppress(OSError):  # another process has removed it
                used[entry] = entry.stat().st_mtime
    total = 0
    for entry in sorted(used, key=lambda each: -used[each]):
        with suppress(OSError):
            size = sum(each.stat().st_size for each in entry.iterdir())
            is_left = entry.name.startswith("new-") and used[entry] < time.time() - DAY
            if total + size > LARGEST or is_left or _is_stale(entry):
                shutil.rmtree(entry, ignore_errors=True)
            else:
                total += size


def _is_stale(entry: Path) -> bool:
    """Return whether a journal of an entry has changed or is gone; an entry in the making is not stale."""
    with suppress(OSError, ValueError, KeyError):
        for path, *state in json.loads((entry / META).read_text("utf-8"))["journals"]:
            try:
                found = Journal.of(Path(path))
            except UserError:
                return True
            if astuple(found) != (path, *state):
                return True
    return False
