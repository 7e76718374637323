"""The files that commands write: complete or as they were before, and never the records of a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microbench.cli import export, history, query, report
from microbench.errors import ExitCode, StoppedError, UserError
from microbench.records.store import Store
from microbench.system import files

Command = Callable[[str], int]

COMMANDS: dict[str, Command] = {
    "export": lambda file: export.main(["csv", "run", "-o", file]),
    "history": lambda file: history.main(["run", "--csv", "-o", file]),
    "query": lambda file: query.main(["select 1", "run", "--csv", "-o", file]),
    "parquet": lambda file: query.main(["select 1", "run", "--parquet", "-o", file]),
    "report": lambda file: report.main(["run", "-o", file]),
    "page": lambda file: report.main(["run", "--html", file]),
}
PICTURE: dict[str, Command] = {"picture": lambda file: report.main(["run", "--svg", file])}
JOURNAL = Path("run") / "records.jsonl"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, timed: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two runs of two cases in `run`."""
    monkeypatch.chdir(tmp_path)
    with Store(Path("run")) as store:
        for run in "ab":
            cases = timed([1.0, 1.1], run_id=run), timed([2.0, 2.1], 1, run, engine="compile")
            for record in (record for case in cases for record in case):
                store.append(record)
    return tmp_path


@pytest.mark.parametrize("run", COMMANDS.values(), ids=COMMANDS)
def test_records_are_never_written_over(run: Command) -> None:
    before = JOURNAL.read_bytes()
    Path("link").symlink_to(JOURNAL)
    for name in (str(JOURNAL), "link"):
        with pytest.raises(UserError, match=rf"^Cannot write {name}: it has the records of a run\."):
            run(name)
    assert JOURNAL.read_bytes() == before


@pytest.mark.parametrize("run", [*COMMANDS.values(), *PICTURE.values()], ids=[*COMMANDS, *PICTURE])
def test_a_failure_has_the_same_error_in_every_command(
    run: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.svg").mkdir()
    for name, why in (("a.svg", "Is a directory"), ("no/a.svg", "No such file or directory")):
        with pytest.raises(UserError, match=rf"^Cannot write {name}: {why}\.$") as told:
            run(name)
        assert told.value.exit_code == ExitCode.USAGE
    Path("full.svg").symlink_to("/dev/full")
    with pytest.raises(StoppedError, match=r"^Cannot write full\.svg: No space left on device\.$"):
        run("full.svg")
    Path("b.svg").write_text("before")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.shutil, "copymode", lambda *_: None)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoppedError, match=r"^Cannot write b\.svg: No space left on device\.$"):
        run("b.svg")
    assert Path("b.svg").read_text() == "before"
    assert sorted(each.name for each in folder.glob(".*")) == []


@pytest.mark.parametrize("run", [*COMMANDS.values(), *PICTURE.values()], ids=[*COMMANDS, *PICTURE])
def test_a_file_keeps_its_mode_and_its_links(run: Command) -> None:
    Path("real.svg").write_text("before")
    Path("real.svg").chmod(0o640)
    Path("link.svg").symlink_to("real.svg")
    assert run("link.svg") == 0
    assert Path("link.svg").is_symlink()
    assert Path("real.svg").stat().st_mode & 0o777 == 0o640
    assert Path("real.svg").read_bytes() != b"before"


def test_a_new_file_has_the_mode_of_any_other() -> None:
    COMMANDS["export"]("new.csv")
    Path("other").touch()
    assert Path("new.csv").stat().st_mode == Path("other").stat().st_mode


@pytest.mark.parametrize("name", ["export", "query", "parquet"])
def test_a_pipe_gets_what_a_file_gets(name: str) -> None:
    COMMANDS[name]("file")
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    COMMANDS[name]("pipe")
    reader.join(30)
    assert got == [Path("file").read_bytes()]
    assert Path("pipe").is_fifo()


def test_an_open_file_keeps_what_it_has(capfd: pytest.CaptureFixture[str]) -> None:
    with Path("log").open("w") as log:
        log.write("before\n")
        log.flush()
        COMMANDS["query"](f"/dev/fd/{log.fileno()}")
    assert Path("log").read_text() == "before\n1\n1\n"
