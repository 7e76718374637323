"""Module objects, from a script as users write them: its classes exist in that script alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .support import microbench, records_in
from .test_api import run_script

SCRIPT = """
import json
from dataclasses import dataclass
from threading import Lock

import microbench
import torch
from torch import nn


@dataclass
class Batch:
    ids: torch.Tensor
    mask: torch.Tensor
    scale: float


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.inner = nn.Linear(4, 4)
        self.output = nn.Linear(4, 10)
        self.output.weight = self.embedding.weight
        self.activation = lambda value: value.relu()
        self.inner.register_forward_hook(lambda module, args, output: output * 2)

    def forward(self, batch, shifted=False):
        found = self.embedding(batch.ids) * batch.mask.unsqueeze(-1) * batch.scale
        return {"logits": self.output(self.activation(self.inner(found))), "shifted": shifted}


def loss(output):
    return output["logits"].square().mean()


quick = {"rounds": 1, "max_time": 0.05, "min_time": 0, "max_warmup": 0.05, "min_samples": 6}
common = {"device": "cpu", "threads": 1, "measure": quick}
given = {"inputs": {"batch": Batch(torch.randint(10, (3, 2)), torch.ones(3, 2), 0.5), "shifted": True}}
tagger = Tagger().train()
before = {name: value.clone() for name, value in tagger.state_dict().items()}

swept = microbench.sweep(
    tagger, **given, objective=loss, mode=["infer", "train", "layers"], folder="swept", **common
)
compiler = {"engine": "compile", "engine.backend": "eager"}
compiled = microbench.run(tagger, **given, mode="infer", **compiler, folder="compiled", **common)
layer = microbench.run(tagger, **given, mode="infer", **{"model.part": "inner"}, folder="layer", **common)
again = microbench.run(tagger, **given, mode="infer", **{"model.part": "inner"}, resume="layer", **common)

inline = {"isolation": "inline", **common}
profile = microbench.run(tagger, **given, mode="profile", timing=False, folder="profile", **inline)
modules = [nn.Linear(4, 2), nn.ReLU(), nn.Linear(4, 3)]
several = microbench.sweep(modules, inputs=torch.ones(5, 4), mode="train", folder="several", **inline)
locked = nn.Linear(4, 2)
locked.lock = Lock()
held = microbench.run(model=locked, inputs=torch.ones(5, 4), mode="infer", folder="held", **inline)
wrong = microbench.run(nn.Linear(7, 2), inputs=torch.ones(5, 4), mode="infer", folder="wrong", **inline)
try:
    microbench.run(locked, inputs=torch.ones(5, 4), mode="infer", folder="locked", **common)
except microbench.UserError as error:
    unsent = str(error)


def facts(result):
    return [
        {
            "model": case.config.model.name,
            "part": case.config.model.part,
            "mode": case.config.mode.name,
            "batch_size": case.config.batch_size,
            "status": case.status,
            "error": case.first.outcome.error,
            "check": case.check.answer,
            "phases": list(case.estimates),
            "id": case.spec.id,
            "command": case.spec.command,
        }
        for case in result.cases()
    ]


print(json.dumps({
    "swept": facts(swept),
    "table": str(swept),
    "compiled": facts(compiled),
    "profile": [call.name for call in profile.profile().calls],
    "layer": facts(layer),
    "rounds": [len(layer.records), len(again.records)],
    "several": facts(several),
    "held": facts(held),
    "wrong": facts(wrong),
    "unsent": unsent,
    "unchanged": all(torch.equal(value, before[name]) for name, value in tagger.state_dict().items()),
    "training": tagger.training,
    "gradients": sum(each.grad is not None for each in tagger.parameters()),
    "median": compiled.median("inference"),
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = run_script(SCRIPT, folder)
    return facts


def test_every_mode_measures_it(found: dict[str, Any]) -> None:
    assert [(each["mode"], each["part"], each["status"]) for each in found["swept"]] == [
        ("infer", None, "ok"),
        ("train", None, "ok"),
        ("train", None, "ok"),
        ("train", "embedding", "ok"),
        ("train", "inner", "ok"),
        ("train", "output", "ok"),
    ]
    assert {"forward", "loss", "backward", "update", "total"} <= set(found["swept"][1]["phases"])


def test_its_layers_keep_their_names_in_a_profile(found: dict[str, Any]) -> None:
    assert {"embedding", "inner", "output"} <= set(found["profile"])


def test_its_class_and_the_size_of_its_batch_name_it(found: dict[str, Any]) -> None:
    assert {(each["model"], each["batch_size"]) for each in found["swept"]} == {("Tagger", 3)}
    assert "Tagger" in found["table"]


def test_it_stays_as_it_was(found: dict[str, Any]) -> None:
    assert (found["unchanged"], found["training"], found["gradients"]) == (True, True, 0)


def test_the_answer_of_another_engine_is_checked_against_the_same_weights(found: dict[str, Any]) -> None:
    assert [each["check"] for each in found["compiled"]] == ["same"]
    assert found["median"] > 0


def test_a_layer_of_it_is_measured_and_the_run_can_be_completed(found: dict[str, Any]) -> None:
    assert [(each["part"], each["status"]) for each in found["layer"]] == [("inner", "ok")]
    assert found["rounds"] == [1, 1], "nothing is measured twice"


def test_the_command_line_cannot_complete_such_a_run(found: dict[str, Any], folder: Path) -> None:
    told = microbench("resume=layer", cwd=folder).complaint
    assert "it measures a module object: call microbench.run or sweep from Python" in told


def test_the_command_of_a_case_is_a_call_from_python(found: dict[str, Any]) -> None:
    assert found["layer"][0]["command"] == (
        "microbench.run(Tagger(…), inputs=…, mode='infer', device='cpu', threads=1, "
        "**{'model.part': 'inner', 'measure.rounds': 1, 'measure.max_time': 0.05, 'measure.min_time': 0, "
        "'measure.max_warmup': 0.05, 'measure.min_samples': 6})"
    )


def test_several_modules_are_told_apart(found: dict[str, Any]) -> None:
    assert [(each["model"], each["status"]) for each in found["several"]] == [
        ("Linear", "ok"),
        ("ReLU", "ok"),
        ("Linear_2", "ok"),
    ]
    assert len({each["id"] for each in found["several"]}) == 3


def test_what_cannot_be_sent_can_be_measured_in_the_same_process(found: dict[str, Any], folder: Path) -> None:
    assert "because Linear.lock (lock) cannot be pickled" in found["unsent"]
    assert not (folder / "locked").exists()
    assert [each["status"] for each in found["held"]] == ["ok"]


def test_inputs_that_do_not_fit_are_told_in_one_line(found: dict[str, Any]) -> None:
    (wrong,) = found["wrong"]
    assert wrong["status"] == "error"
    assert wrong["error"].startswith("The first call of Linear failed: RuntimeError: mat1 and mat2")
    assert wrong["error"].endswith("(input 5x4: check inputs)")


def test_the_files_of_a_run_are_its_records_alone(found: dict[str, Any], folder: Path) -> None:
    assert [each.name for each in (folder / "compiled").iterdir()] == ["records.jsonl"]
    assert records_in(folder / "compiled")[0]["inputs"] == "3x2, 3x2"
