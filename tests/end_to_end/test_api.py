"""The API, from a script as users write them: without a guard on `__name__`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import PATIENCE, Record, environment, records_in

QUICK = '{"rounds": 1, "max_time": 0.05, "min_time": 0, "max_warmup": 0.05, "min_samples": 6}'

SCRIPT = f"""
import json
import microbench

quick = {QUICK}
one = microbench.run(model="dense", mode="infer", device="cpu", threads=1, measure=quick, folder="one")
frame = one.to_frame()
loaded = microbench.load("one")
many = microbench.sweep(
    model=["dense", "relu"],
    mode=["train", "infer"],
    threads=1,
    measure=quick,
    batch_size=2,
    folder="many",
    **{{"model.input_grad": False}},  # without which there is nothing to train in a relu
)
print(json.dumps({{
    "type": type(one).__name__,
    "ok": [one.ok, many.ok],
    "path": str(one.path),
    "median": one.median("inference"),
    "frame": type(frame).__module__.split(".")[0] + "." + type(frame).__name__,
    "columns": list(frame.columns),
    "phases": frame["phase"].tolist(),
    "medians": frame["median"].tolist(),
    "samples": [list(samples) for samples in frame["samples"]],
    "loaded path": str(loaded.path),
    "loaded is the same": loaded.records == one.records,
    "loaded frame is the same": loaded.to_frame().equals(frame),
    "loaded from both": len(microbench.load(["one", "many/records.jsonl"]).cases()),
    "cases": [[case.config.model.name, case.config.mode.name] for case in many.cases()],
    "statuses": [case.status for case in many.cases()],
}}))
"""

MISTAKES = """
import json
import microbench

answers = []
for options in (
    {"model": "vgg61"},
    {"model": "dense", "batchsize": 8},
    {"model": "dense", "measure": {"rel_cii": 0.1}},
    {"model": "dense", "batch_size": 0},
    {"model": "dense", "batch_size": [1, 8]},
    {"model": "dense", "engine": "eagre"},
    {"model": "dense", "folder": "file/below"},
    {},
):
    try:
        microbench.run(**options)
    except microbench.UserError as error:
        answers.append(str(error))
try:
    microbench.load("nosuch")
except microbench.UserError as error:
    answers.append(str(error))
print(json.dumps(answers))
"""


def run_script(text: str, folder: Path) -> Any:
    (folder / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1, "it runs once, and nothing else is printed"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = run_script(SCRIPT, folder)
    return facts


@pytest.fixture(scope="module")
def records(found: dict[str, Any], folder: Path) -> list[Record]:
    return records_in(folder / "one")


def test_a_run_gives_its_result_and_where_it_lies(found: dict[str, Any], records: list[Record]) -> None:
    assert (found["type"], found["path"]) == ("Result", "one/records.jsonl")
    assert found["median"] == records[0]["median"]
    assert records[0]["phase"] == "inference"


def test_whether_all_went_well_is_reported_and_not_raised(found: dict[str, Any]) -> None:
    assert found["statuses"] == ["ok", "ok", "error", "ok"]
    assert found["ok"] == [True, False]


def test_the_data_frame_has_a_row_for_each_record_on_disk(
    found: dict[str, Any], records: list[Record]
) -> None:
    assert found["frame"] == "pandas.DataFrame"
    assert found["columns"] == list(records[0])
    assert found["phases"] == [record["phase"] for record in records]
    assert found["medians"] == [record["median"] for record in records]
    assert found["samples"] == [record["samples"] for record in records]


def test_a_result_that_is_loaded_is_the_one_that_was_returned(found: dict[str, Any]) -> None:
    assert found["loaded is the same"]


def test_a_result_that_is_loaded_knows_the_file_it_lies_in(found: dict[str, Any]) -> None:
    assert found["loaded path"] == found["path"]


def test_a_data_frame_that_is_loaded_is_the_one_that_was_returned(found: dict[str, Any]) -> None:
    assert found["loaded frame is the same"]


def test_results_can_be_loaded_together(found: dict[str, Any]) -> None:
    assert found["loaded from both"] == 1 + 4


def test_a_sweep_measures_every_combination_in_order(found: dict[str, Any]) -> None:
    assert found["cases"] == [["dense", "train"], ["dense", "infer"], ["relu", "train"], ["relu", "infer"]]


def test_a_sweep_s_options_are_those_of_the_records(found: dict[str, Any], folder: Path) -> None:
    swept = records_in(folder / "many")
    assert {record["cfg_batch_size"] for record in swept} == {2}
    assert {record["config"]["measure"]["max_time"] for record in swept} == {0.05}
    assert [record["config"]["model"]["input_grad"] for record in swept] == [False] * len(swept)


def test_an_api_run_s_command_measures_the_same_case_on_the_command_line(records: list[Record]) -> None:
    """That a command gives the case_id again is shown in test_run; the options are the same."""
    words = records[0]["command"].split()
    assert words[:3] == ["python", "-m", "microbench"]
    assert {"model=dense", "mode=infer", "device=cpu", "threads=1", "measure.max_time=0.05"} <= set(words)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "file").write_text("not a folder")
    told: list[str] = run_script(MISTAKES, folder)
    return told


@pytest.mark.parametrize(
    ("place", "words"),
    list(
        enumerate(
            [
                "Unknown model 'vgg61'. Did you mean vgg16, vgg11",
                "Unknown option 'batchsize'. Did you mean batch_size?",
                "Unknown option 'measure.rel_cii'. Did you mean measure.rel_ci?",
                "batch_size=0 is not possible: give an integer of at least 1",
                "batch_size=[1, 8] must be an integer",
                "Unknown engine 'eagre'. Did you mean eager?",
                "Cannot write file/below/records.jsonl: Not a directory",
                "Give a model, for example model=resnet18",
                "Cannot read nosuch: No such file or directory",
            ]
        )
    ),
)
def test_a_mistake_raises_a_user_error_that_says_what_would_be_right(
    place: int, words: str, answers: list[str]
) -> None:
    assert len(answers) == 9
    assert words in answers[place]
    assert "\n" not in answers[place]
