"""Names in records that a terminal would obey, as every command prints them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from microbench.cli import compare, history, query, report, show
from microbench.config import ModelConfig
from microbench.records.record import Status
from microbench.records.store import Store

NAME = "net\x1b[2J\x1b]0;title\x07\u202e"
SHOWN = r"net\x1b[2J\x1b]0;title\x07\u202e"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, timed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in "ab":
        with Store(Path(run)) as store:
            model = ModelConfig("torchvision", NAME, input_shape=[3, 8, 8])
            failed = timed([None], 2, run, model=model, batch_size=2, error=(Status.ERROR, NAME))
            good = timed([1.0, 1.1], 0, run, model=model)
            other = timed([2.0, 2.1], 1, run, model=model, engine="export", env={"cpu": NAME})
            for record in (*good, *other, *failed):
                store.append(record)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (show, ["a"]),
        (report, ["a"]),
        (report, ["a", "--baseline", "engine=eager"]),
        (report, ["a", "--markdown"]),
        (history, ["a", "b", "--runs"]),
        (query, ["select model, error from rounds", "a"]),
        (query, [f'select 1 as "{NAME}"', "a"]),
        (compare, ["a", "b"]),
    ],
)
def test_no_name_reaches_the_terminal_as_it_is(
    command: Any, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(arguments)
    out, err = capsys.readouterr()
    assert not OBEYED.search(out + err)
    assert SHOWN in out.replace("\\\\", "\\").replace("\\[", "[").replace("\\]", "]")
