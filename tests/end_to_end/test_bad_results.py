"""Every command that reads results, on what is no result, and with what cannot be: one line, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from microbench.cli.main import main
from microbench.records.store import FILE_NAME, Store

COMMANDS = (
    ["show", "PATH"],
    ["show", "PATH", "--csv"],
    ["compare", "PATH", "good"],
    ["compare", "good", "PATH"],
    ["compare", "PATH", "--by", "engine"],
    ["report", "PATH"],
    ["report", "PATH", "--json"],
    ["report", "PATH", "--published"],
    ["report", "PATH", "--html", "out.html"],
    ["report", "PATH", "--png", "out.png"],
    ["history", "PATH"],
    ["history", "good", "PATH"],
    ["query", "select 1", "PATH"],
    ["export", "csv", "PATH"],
    ["export", "pyperf", "PATH"],
)
"""The commands that read results; PATH is what is wrong."""

COUNT_NONE = (["history", "good", "PATH"], ["query", "select 1", "PATH"])
"""Those of them to which a file without rounds, as a crash may leave it, is none to complain of."""

LARGE = 200_000_000  # bytes


def newer(line: str) -> str:
    return json.dumps(json.loads(line) | {"schema_version": 99})


FILES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "binary": (lambda line: bytes(range(256)) * 100, "no line of it is a record"),
    "text": (lambda line: b"hello\nworld\n", "no line of it is a record"),
    "json": (lambda line: b'{"a": 1}\n', ""),
    "half": (lambda line: line[: len(line) // 2].encode(), ""),
    "nothing": (lambda line: b"", "has no records"),
    "newer": (lambda line: newer(line).encode() + b"\n", "schema_version 99"),
}
"""The contents of a file, given a record's line, and what is said of it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """A folder with a good run, and a folder per kind of bad one."""
    found = tmp_path_factory.mktemp("bad")
    (found / "good").mkdir()
    (found / "good" / FILE_NAME).touch()
    with Store(found / "good") as store:
        for order, (engine, mode) in enumerate((("eager", "infer"), ("export", "infer"), ("eager", "train"))):
            times = (
                {"inference": [1.0, 1.1]} if mode == "infer" else {"forward": [1.0, 1.1], "total": [2.0, 2.1]}
            )
            for record in timed(times, order, engine=engine, mode=mode):
                store.append(record)
    line = (found / "good" / FILE_NAME).read_text().splitlines()[0]
    for name, (content, _) in FILES.items():
        (found / name).mkdir()
        (found / name / FILE_NAME).write_bytes(content(line))
    for name in ("empty", "output"):
        (found / name).mkdir()
    (found / "directory" / FILE_NAME).mkdir(parents=True)
    (found / "zeros").mkdir()
    with (found / "zeros" / FILE_NAME).open("wb") as file:
        file.truncate(LARGE)  # a sparse file
    return found


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    yield
    assert not any((folder / name).exists() for name in ("out.html", "out.png"))


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code of a command that prints nothing else than one line on stderr, and this line."""
    code = main(list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("microbench: ")
    assert err.count("\n") == 1, err
    return code, err


@pytest.mark.parametrize("kind", [*FILES, "empty", "directory", "nowhere"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_no_result_is_reported_in_one_line(
    command: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind in ("nothing", "half") and command in COUNT_NONE:
        pytest.skip("no rounds are an answer here")
    code, said = complaint(capsys, *(kind if word == "PATH" else word for word in command))
    assert code in ((2, 3) if command[0] == "compare" else (2,))
    others = {"empty": "No records in empty", "directory": "Is a directory", "nowhere": "No such file"}
    assert (FILES[kind][1] if kind in FILES else others[kind]) in said
    assert kind in said


def test_a_large_file_of_zeros_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = complaint(capsys, "show", "zeros")
    assert (code, "zeros" in said) == (2, True)


@pytest.mark.parametrize(
    "command",
    [
        ["report", "good", "-o", "PATH"],
        ["report", "good", "--csv", "-o", "PATH"],
        ["report", "good", "--html", "PATH"],
        ["report", "good", "--svg", "PATH"],
        ["export", "csv", "good", "-o", "PATH"],
        ["export", "pyperf", "good", "-o", "PATH"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("directory.svg", "Is a directory"),
        ("nowhere/a.svg", "No such file or directory"),
        ("good/records.jsonl/a.svg", "Not a directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_reported(
    command: list[str], path: str, why: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "directory.svg").mkdir(exist_ok=True)
    found = complaint(capsys, *(path if word == "PATH" else word for word in command))
    assert found == (2, f"microbench: Cannot write {path}: {why}.\n")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("report good --rows engin", "Unknown axis 'engin'. Did you mean engine"),
        ("report good --value inferense", "Unknown value 'inferense'. Did you mean inference?"),
        ("report good --value nosuch", "Unknown value 'nosuch'. All"),
        ("report good --value inference,memory", "A table has one unit"),
        ("report good --baseline engine=egaer", "Unknown baseline of engine 'egaer'. Did you mean eager?"),
        ("report good --baseline threads=2", "There is no baseline threads=2."),
        ("report good --where engine=egaer", "'egaer'. Did you mean eager?"),
        ("report good --chart speedup", "--chart needs a picture: give --png or --svg too."),
        ("report good --png out.svg", "--png out.svg must end in .png: give out.png."),
        ("report good --png out.png --chart roofline", "it needs a case of mode=profile"),
        ("report good --published", "No published figure agrees with these cases"),
        ("compare good --by engin", "Unknown setting to compare by 'engin'. Did you mean engine?"),
        ("compare good --by engine --baseline nosuch", "Unknown baseline of engine 'nosuch'."),
        ("compare good --by engine --at p200", "at=p200 is not possible"),
        ("history good", "There is no history"),
        ("export cvs good", "Unknown format 'cvs'. Did you mean csv?"),
        ("export csv good --phase inferense", "Unknown phase 'inferense'. Did you mean inference?"),
        ("list published --published tables", "Give the folder of tables itself"),
    ],
)
def test_what_cannot_be_asked_of_results_is_reported(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = complaint(capsys, *command.split())
    assert code == 2
    assert words in said


def test_a_baseline_of_another_phase_gives_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    """Training's whole step beside that of inference: the table is printed, with a footnote."""
    assert main(["report", "good", "--baseline", "engine=eager,mode=train"]) == 0
    assert "no ratio: the baseline measured total" in capsys.readouterr().out
