"""`microbench report --published` and `microbench list published`, on records that the test writes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from microbench.cli import list as list_command
from microbench.cli import report
from microbench.errors import UserError
from microbench.records.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "published.md").read_text()
RESNET = {"model__name": "resnet18", "model__input_shape": [3, 224, 224], "batch_size": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """A folder with a run, and with the table of the documentation in `tables`."""
    found = tmp_path_factory.mktemp("published")
    times = {"eager": [0.040, 0.042, 0.041], "openvino": [0.020, 0.021, 0.020]}
    (found / "run").mkdir()
    (found / "run" / "records.jsonl").touch()
    with Store(found / "run") as store:
        for order, (engine, each) in enumerate(times.items()):
            for record in timed(each, order, engine=engine, **RESNET):
                store.append(record)
    (found / "tables").mkdir()
    for language in ("csv", "yaml"):
        (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        (found / "tables" / f"lab.{language}").write_text(block)
    return found


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def reported(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert report.main(["run", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_package_s_tables_stand_beside_any_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = reported(capsys, "--published")
    assert [line for line in lines if line.startswith("published results: ")] == [
        "published results: rasp (rasp_torchvision_cpu)",
        "published results: torchvision-pretrained-timing",
    ]
    assert "published: NVIDIA GeForce GTX 1060 6GB, software not stated" in lines
    assert any(line.startswith("here: Some CPU, 4 cores") for line in lines)


def test_the_table_of_the_documentation_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    lines = reported(capsys, "--published", "tables", "--markdown")
    assert "published: Some CPU, torch 2.1" in lines
    header = next(line for line in lines if line.startswith("| model") and "speedup here" in line)
    names = [cell.strip() for cell in header.strip("|").split("|")]
    (row,) = [
        dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        for line in lines
        if "| compiled |" in line
    ]
    assert (row["speedup published"], row["here/published"]) == ("1.60", "0.80")
    assert row["ratio of ratios"] == "1.26 (1.22 to 1.31)"
    assert "- measured in a warm room" in lines


def test_other_formats_have_the_same_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in reported(capsys, "--published", "tables", "--json")]
    of_lab = [row for row in rows if row["table"] == "lab"]
    assert [(row["variant"], row["quantity"], row["published"]) for row in of_lab] == [
        ("eager", "inference", 0.04),
        ("eager", "inference images/s", 25),
        ("compiled", "inference", 0.025),
    ]
    assert reported(capsys, "--published", "tables", "--csv", "-o", str(tmp_path / "t.csv")) == []
    found = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [float(row["measured"]) for row in found] == [row["measured"] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--published", "run"], "Give the runs to report before --published: microbench report PATH."),
        (["run", "--published", "nowhere"], "nowhere is not a folder of published tables"),
        (["run", "--published", "--rows", "model"], "--rows has no effect with --published"),
        (["run", "--published", "--latex"], "--latex has no effect with --published"),
        (["run", "--published", "--where", "batch_size=4"], "Unknown batch_size"),
        (["run", "--published", "-o", "."], "Cannot write .: Is a directory."),
    ],
)
def test_a_mistake_is_reported(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as told:
        report.main(arguments)
    assert words in str(told.value)


def test_list_says_what_was_published_and_where_the_file_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_command.main(["published", "tables"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "lab: our lab, 4 figures"
    found = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines[1:])
    assert found == {
        "measured on": "Some CPU, torch 2.1",
        "models": "resnet18 (1 more are none here)",
        "batch sizes": "1",
        "quantities": "latency = inference, throughput = inference images/s",
        "run as": "eager; compiled",
        "ratios to": "variant eager",
        "file": "tables/lab.csv",
    }
    assert list_command.main(["published"]) == 0
    assert "poros: poros, 108 figures" in capsys.readouterr().out
