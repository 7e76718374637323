"""The records behind a page that `microbench report --serve` refreshes while a run measures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock

from microbench.analysis.page import Page, page
from microbench.errors import UserError
from microbench.records.result import load
from microbench.records.store import find


class Source:
    """The records that a page shows, read again when their files have changed.

    Args:
        paths: files of records, folders with them, or patterns of such. None need exist yet.

    Raises:
        UserError: what is there are no records.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self._lock = Lock()
        self._tag = self._digest()
        self._page = self._read()

    def current(self) -> tuple[Page, str]:
        """Return the page as it is now, and a tag that changes with it.

        A file that cannot be read any more leaves the page as it was, and a line that says so.
        """
        with self._lock:
            tag = self._digest()
            if tag != self._tag:
                self._tag = tag
                try:
                    self._page = self._read()
                except UserError as error:
                    print(f"microbench: {error}", file=sys.stderr)
            return self._page, self._tag

    def _read(self) -> Page:
        there = [path for path in self.paths if self._files([path])]
        return page(load(there).cases() if there else [])

    def _digest(self) -> str:
        """Return what changes when a file of records does, as an ETag."""
        files = self._files(self.paths)
        stats = [(str(each), found.st_mtime_ns, found.st_size) for each in files if (found := _stat(each))]
        return f'"{sha256(repr(stats).encode()).hexdigest()[:16]}"'

    @staticmethod
    def _files(paths: Sequence[str]) -> list[Path]:
        """Return the files of records that there are by now."""
        files: list[Path] = []
        for path in paths:
            with suppress(UserError):  # there are none yet
                files += filter(Path.exists, find([path]))
        return files


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
