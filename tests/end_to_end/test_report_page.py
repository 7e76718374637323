"""`microbench report --html` and `--serve`: the file, the server, and mistakes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from factory import FAST, SLOW
from msgspec.structs import replace

from microbench.analysis.published_files import FOLDER
from microbench.cli import report
from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.records.record import DOCTOR, RunInfo

from .support import COMMAND, PATIENCE, environment
from .test_show import write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, timed: Any) -> Path:
    """Where a run of two engines and a folder without records are."""
    found = tmp_path_factory.mktemp("page")
    write(found / "sweep", timed(SLOW), timed(FAST, 1, engine="compile"))
    doctor = RunInfo(id="d", command=DOCTOR)
    write(found / "doctor", [replace(each, run=doctor) for each in timed(FAST)])
    (found / "new").mkdir()
    return found


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def data_of(page: Path) -> Any:
    """Return what a page's script is given."""
    (data,) = re.findall(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    return json.loads(data)


def test_one_file_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["sweep", "--html", "report.html"]) == 0
    assert capsys.readouterr() == ("", "")
    text = Path("report.html").read_text(encoding="utf-8")
    assert "<title>microbench: sweep</title>" in text
    assert "Apache License" in text
    assert not re.findall(r'(?:src|href)="(?!#|data:,")', text.partition('id="data"')[0])


def test_a_page_has_the_cases_that_were_asked_for() -> None:
    assert report.main(["sweep", "--html", "eager.html", "--where", "engine=eager"]) == 0
    assert data_of(Path("eager.html"))["names"].keys() == {"r/0"}


def test_a_published_table_of_one_s_own_stands_beside_the_cases(timed: Any, tmp_path: Path) -> None:
    model = ModelConfig("torchvision", "resnet50", input_shape=[3, 224, 224])
    write(tmp_path / "run", timed(FAST, model=model, batch_size=1))
    (tmp_path / "mine").mkdir()
    for kind in ("csv", "yaml"):
        shutil.copy(FOLDER / f"poros.{kind}", tmp_path / "mine" / f"shop.{kind}")
    page = tmp_path / "page.html"
    given = ["--html", str(page), "--published", str(tmp_path / "mine")]
    assert report.main([str(tmp_path / "run"), *given]) == 0
    assert {"shop: inference", "poros: inference"} <= {
        each["name"] for each in data_of(page)["charts"]["published"]
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--html", "x.html"], "Give the runs to report"),
        (["nowhere", "--html", "x.html"], "Cannot read nowhere"),
        (["doctor", "--html", "x.html"], "Nothing for a page: doctor has a doctor's run alone"),
        (["sweep", "--html"], "Argument --html: expected one argument"),
        (["sweep", "--html", "no/such/x.html"], "Cannot write no/such/x.html: No such file or directory."),
        (["sweep", "--html", "new"], "Cannot write new: Is a directory."),
        (["sweep", "--html", "x.html", "--csv"], "not allowed with argument"),
        (["sweep", "--html", "x.html", "-o", "y"], "--output has no effect with --html"),
        (["sweep", "--html", "x.html", "--rows", "model"], "--rows has no effect with --html"),
        (["sweep", "--html", "x.html", "--host", "127.0.0.1"], "--host needs --serve: give both."),
        (["sweep", "--serve", "eighty"], "--serve eighty is not possible: give a port from 0 to 65535."),
        (["sweep", "--serve", "65536"], "--serve 65536 is not possible"),
        (["sweep", "--serve", "--host", "no.such.host.invalid"], "Cannot listen on no.such.host.invalid:0"),
    ],
)
def test_a_mistake_is_reported(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as told:
        report.main(arguments)
    assert words in str(told.value)
    assert not Path("x.html").exists()


def without_interrupts_ignored() -> None:
    """Let SIGINT end a process as in a terminal: a job in a shell's background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("arguments", [["--serve", "new"], ["--serve", "not/yet"], ["not/yet", "--serve"]])
def test_a_server_says_where_it_is_and_ends_on_ctrl_c(arguments: list[str]) -> None:
    with subprocess.Popen(
        [*COMMAND, "report", *arguments],
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=without_interrupts_ignored,
    ) as process:
        patience = Timer(PATIENCE, process.kill)
        patience.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            (url,) = re.findall(
                r"^microbench: (http://127\.0\.0\.1:\d+/) shows (?:new|not/yet); Ctrl-C", line
            )
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert b"There are no records yet." in answer.read()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("", "")
            assert process.returncode == 0
        finally:
            patience.cancel()
            process.kill()
