"""`mode=layers` from the command line: a model's layers found, measured, interrupted and completed."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from microbench.errors import ExitCode

from .support import QUICK, Record, complete, measure, measured, microbench, records_in, start

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

NET = """
import torch
from torch import nn


class Net(nn.Module):
    '''Three layers, an activation in place that is called twice, and a layer that is dropped.'''

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout()

    def forward(self, x):
        return self.last(self.drop(self.act(self.second(self.act(self.first(x))))))


class Short(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.act = nn.Linear(8, 8), nn.Dropout(), nn.ReLU()

    def forward(self, x):
        return self.act(self.drop(self.first(x)))


class Broken(Net):
    def forward(self, x):
        return super().forward(x)[:, 7, 9]
"""
NET_OF = ("model=layer", "model.input_shape=[8]", "mode=layers", "batch_size=4")
INLINE = "isolation=inline"  # without processes of their own, cases take a fraction of the time
PARTS = ["first", "act", "second", "drop", "last"]  # the first layer's input needs no gradient


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `mine` is a module with these models."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(NET)
    return {"PYTHONPATH": str(folder)}


def parts(records: list[Record]) -> list[str | None]:
    """Return the part of each case, in the run's order."""
    found = {record["order"]: record["cfg_part"] for record in records}
    return [found[order] for order in sorted(found)]


def line(out: str, name: str) -> list[str]:
    return next(each for each in out.splitlines() if each.startswith(f"{name}  ")).split()


def test_every_call_of_a_layer_is_counted_and_the_table_has_their_sum_next_to_the_whole(
    tmp_path: Path,
) -> None:
    """By hand: 26 convolutions with an activation each, three pools, one average, one dropout."""
    done = measure(
        *("model=squeezenet1_1", "model.input_shape=[3,32,32]", "model.num_classes=10"),
        *("mode=layers", "mode.each=infer", "batch_size=1", INLINE),
        cwd=tmp_path,
    )
    assert done.code == 0, done
    assert "Traceback" not in done.err
    counts: dict[str | None, int] = {}
    for record in {record["order"]: record for record in done.records}.values():
        counts[record["layer_type"]] = counts.get(record["layer_type"], 0) + (record["layer_count"] or 1)
    assert counts == {
        None: 1,
        "Conv2d": 26,
        "ReLU": 26,
        "MaxPool2d": 3,
        "AdaptiveAvgPool2d": 1,
        "Dropout": 1,
    }
    assert "squeezenet1_1 infer, batch 1, fp32, eager, cpu, layer by layer" in done.out.splitlines()
    assert line(done.out, "features.0")[1] == "Conv2d(3,"
    for name in ("sum of layers", "whole model", "sum / whole"):
        assert line(done.out, name)
    assert "Dropout (1 call): not measured: it does nothing in inference" in done.out.splitlines()


def test_training_measures_forward_and_backward_of_every_layer(mine: dict[str, str], tmp_path: Path) -> None:
    done = measure(*NET_OF, "model.cls=mine.Net", cwd=tmp_path, env=mine)
    assert done.code == 0, done
    assert {record["status"] for record in done.records} == {"ok"}
    assert parts(done.records) == [None, *PARTS]
    phases = {record["phase"] for record in done.records if record["cfg_part"] == "act"}
    assert phases == {"prepare", "first_call", "forward", "backward", "total"}


def test_a_layers_command_measures_it_alone(mine: dict[str, str], tmp_path: Path) -> None:
    options = (*NET_OF, "model.cls=mine.Short", "mode.each=infer", INLINE)
    done = measure(*options, cwd=tmp_path, env=mine)
    first = next(record for record in done.records if record["cfg_part"] == "act")
    again = measure(*shlex.split(first["command"])[3:], cwd=tmp_path / "run", env=mine)
    assert again.code == 0, again
    assert {record["case_id"] for record in again.records} == {first["case_id"]}
    assert {record["layer"] for record in again.records} == {None}
    assert "Short act infer, batch 4" in again.out


def test_each_engine_has_a_column(mine: dict[str, str], tmp_path: Path) -> None:
    options = ("-m", *NET_OF, "mode.each=infer", "model.cls=mine.Net", "engine=eager,torchscript", INLINE)
    done = measure(*options, cwd=tmp_path, env=mine)
    assert done.code == 0, done
    assert line(done.out, "layer")[-2:] == ["eager", "torchscript"]
    assert sum(word.endswith("*") for word in line(done.out, "first")) == 1
    eager, traced = (
        [record["cfg_part"] for record in done.records if record["cfg_engine"] == engine]
        for engine in ("eager", "torchscript")
    )
    assert set(eager) == set(traced)
    answers = {record["answer"] for record in done.records if record["cfg_engine"] == "torchscript"}
    assert answers <= {"same", None}
    assert "same" in answers


def test_a_sweep_that_is_killed_is_completed(mine: dict[str, str], tmp_path: Path) -> None:
    options = ("-m", *QUICK, *NET_OF, "mode.each=infer", "model.cls=mine.Short", "measure.rounds=2")
    sweep = start(*options, cwd=tmp_path, env=mine)
    try:
        sweep.recorded(3)
        os.kill(sweep.process.pid, signal.SIGKILL)
        sweep.finished()
    finally:
        sweep.kill()
    before = complete(records_in(tmp_path / "run"))
    after = microbench("resume=run", cwd=tmp_path, env=mine)
    assert after.code == 0, after
    done = complete(after.records)
    assert 2 <= len(before) < len(done)  # one of the three at most was skipped
    assert done == sorted(set(done))
    assert {number for _, number in done} == {0, 1}
    skipped = {record["order"] for record in after.records if record["status"] == "skipped"}
    orders = {record["order"] for record in after.records}
    assert {order for order, _ in done} == orders - skipped
    assert measured(after.err) == len(done) - len(before)
    assert line(after.out, "sum of layers")


def test_a_model_that_cannot_be_taken_apart_is_reported_in_one_line(
    mine: dict[str, str], tmp_path: Path
) -> None:
    done = measure(*NET_OF, "model.cls=mine.Broken", cwd=tmp_path, env=mine)
    assert done.code == 1
    (record,) = done.records
    assert record["status"] == "error"
    assert record["error"].startswith("Broken failed on input (4, 8): IndexError: ")
    assert record["error"] in done.out


MISTAKES = {
    (*NET_OF[:2], "model.cls=mine.Net", "mode=infer", "model.part=secnd"): "Did you mean second?",
    ("model=resnet18", "mode=layers", "mode.each=trian"): "Did you mean train?",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_reported_in_one_line(
    arguments: tuple[str, ...], mine: dict[str, str], tmp_path: Path
) -> None:
    done = measure(*arguments, cwd=tmp_path, env=mine)
    assert done.code == (ExitCode.FAILED if done.records else ExitCode.USAGE)
    told = [each for each in (done.out + done.err).splitlines() if MISTAKES[arguments] in each]
    assert told
    assert "Traceback" not in done.out + done.err
