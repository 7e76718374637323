"""The records behind a page that is served: what is there, and what begins later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factory import FAST

from microbench.cli.source import Source
from microbench.errors import UserError
from microbench.records.record import encode


def test_runs_that_begin_later_are_shown_too(tmp_path: Path, timed: Any) -> None:
    sources = Source([str(tmp_path)]), Source([f"{tmp_path}/**"]), Source([str(tmp_path / "run")])
    assert [source.current()[0].rows for source in sources] == [[], [], []]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "records.jsonl").write_bytes(b"".join(encode(each) + b"\n" for each in timed(FAST)))
    assert [len(source.current()[0].rows) for source in sources] == [1, 1, 1]


def test_a_file_without_records_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x00\x01\n\x02\n")
    with pytest.raises(UserError, match="Cannot read"):
        Source([str(tmp_path / "binary")])
