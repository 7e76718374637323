"""Modules of the user's own, built from a file or a package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from microbench import workloads
from microbench.config import ModelConfig
from microbench.errors import FailedAt, UserError
from microbench.system.digests import digest
from microbench.watch.tensors import tensors
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient

CPU = torch.device("cpu")
CODE = """\
from dataclasses import dataclass

import torch
from torch import Tensor, nn

torch.rand(3)


@dataclass
class Output:
    hidden: Tensor
    logits: Tensor


class Net(nn.Module):
    def __init__(self, width=4, kind=dict):
        super().__init__()
        self.embed, self.out, self.kind = nn.Embedding(9, width), nn.Linear(width, 3), kind

    def forward(self, ids, mask=None, scale=1.0):
        hidden = self.embed(ids) * scale
        if mask is not None:
            hidden = hidden * mask[..., None]
        return self.kind(hidden=hidden, logits=self.out(hidden.mean(1)))


class Plain(nn.Module):
    def forward(self, x):
        return x.relu()


def make(width):
    return Net(width)


def as_object():
    return Net(kind=Output)


def squares(output):
    return output["logits"].square().mean()


def own_loss(output):
    return output["logits"].sum()


def fails():
    width = 3
    raise ValueError("no such width")


def number():
    return 3


net = Net()


def same():
    return net
"""
IDS = {"ids": {"shape": [5], "dtype": "int64", "high": 9}}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that defines modules, in a folder that is in `sys.path` only for this test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "mine_own.py"
    path.write_text(CODE)
    return path


def built(file: Path, name: str, training: bool = False, seed: int = 0, **options: Any) -> Workload:
    settings = {"input_shape": [], "inputs": IDS} | options
    config = ModelConfig(
        "own", f"mine:{name}", file=f"{file}:{name}", code=digest(file, f":{name}"), **settings
    )
    return workloads.build(config, 2, CPU, training, seed)


def complaint(file: Path, name: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        built(file, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [("Net", {}), ("make", {"kwargs": {"width": 6}}), ("make", {"args": [6]}), ("as_object", {})],
)
def test_a_class_or_a_function_makes_the_module(file: Path, name: str, options: Any) -> None:
    workload = built(file, name, **options)
    hidden, logits = tensors(workload.module(*workload.inputs))
    width = 6 if options else 4
    assert (hidden.shape, logits.shape) == ((2, 5, width), (2, 3))
    assert workload.name == f"mine:{name}"
    assert not workload.module.training
    assert isinstance(workload.objective, OnesGradient)


def test_constants_of_the_call_are_given_too(file: Path) -> None:
    one, three = (built(file, "Net", call_kwargs={"scale": scale}) for scale in (1.0, 3.0))
    first, second = (next(tensors(each.module(*each.inputs))) for each in (one, three))
    torch.testing.assert_close(first * 3, second)


def test_the_seed_decides_weights_and_inputs_whatever_the_file_draws(file: Path) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        workload = built(file, "Net", seed=seed)
        return [*workload.module.parameters(), *workload.inputs]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_a_single_input_has_the_shape(file: Path) -> None:
    workload = built(file, "Plain", training=True, inputs=None, input_shape=[3, 4])
    assert workload.shape() == "2x3x4"
    workload.objective.backward(workload.objective(workload.module(*workload.inputs)))
    assert workload.inputs[0].grad is not None


@pytest.mark.parametrize("name", ["cross_entropy", "mse", "squares", "own_loss"])
def test_an_objective_is_ours_or_a_function_of_the_file(file: Path, name: str) -> None:
    workload = built(file, "Net", training=True, objective=name)
    output = workload.module(*workload.inputs)
    loss = workload.objective(output)
    workload.objective.backward(loss)
    assert loss.shape == ()
    assert all(each.grad is not None for each in workload.module.parameters())
    if name == "own_loss":  # the file has one of that name
        torch.testing.assert_close(loss, output["logits"].sum())


def test_a_part_is_named_as_in_the_module(file: Path) -> None:
    workload = built(file, "Net", part="out", inputs=IDS | {"mask": {"shape": [5], "fill": 1}})
    assert workload.shape() == "2x4"


def test_its_neighbours_can_be_imported(file: Path) -> None:
    file.with_name("beside_mine.py").write_text("WIDTH = 7\n")
    other = file.with_name("other_own.py")
    other.write_text(
        "from beside_mine import WIDTH\nfrom mine_own import Net\n\ndef make():\n    return Net(WIDTH)\n"
    )
    workload = built(other, "make")
    assert next(tensors(workload.module(*workload.inputs))).shape == (2, 5, 7)


def test_edited_code_is_run_anew(file: Path) -> None:
    built(file, "Net")
    file.write_text(CODE.replace("width=4", "width=8"))
    workload = built(file, "Net")
    assert next(tensors(workload.module(*workload.inputs))).shape == (2, 5, 8)
    assert not file.with_name("__pycache__").exists()


def test_a_file_that_changes_during_a_run_is_an_error(file: Path) -> None:
    config = ModelConfig("own", "x", input_shape=[], inputs=IDS, file=f"{file}:Net", code="another")
    with pytest.raises(UserError, match="changed after the run began: start a new run"):
        workloads.build(config, 2, CPU, False, 0)


def test_a_target_is_in_a_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    config = ModelConfig("own", "x", input_shape=[], inputs=IDS, target="mine_own:Net", objective="squares")
    workload = workloads.build(config, 2, CPU, True, 0)
    assert workload.objective(workload.module(*workload.inputs)).shape == ()


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("Nett", {}, "Unknown function in mine_own.py 'Nett'. Did you mean Net"),
        ("number", {}, "model.file=mine_own.py:number returns int: it must return a torch.nn.Module."),
        ("net", {}, "model.file=mine_own.py:net is a module: give a function that makes one"),
        ("Net", {"objective": "square"}, "Unknown model.objective 'square'. Did you mean squares"),
        (
            "Net",
            {"inputs": None},
            "Net is called with (ids, mask=None, scale=1.0): give 'model.inputs={ids: [SIZES]}'",
        ),
    ],
)
def test_a_mistake_is_one_line(file: Path, name: str, options: Any, line: str) -> None:
    assert complaint(file, name, **options).startswith(line)


def test_what_can_be_no_objective_is_not_offered(file: Path) -> None:
    file.write_text(
        CODE.replace("def own_loss(output)", "def make_wide(a, b):\n    ...\n\n\ndef own_loss(output)")
    )
    allowed = complaint(file, "make", args=[4], objective="square").partition("Allowed: ")[2]
    assert allowed == "cross_entropy, mse, net, ones, own_loss, squares."


def test_a_function_must_make_a_new_module_at_each_call(file: Path) -> None:
    built(file, "same")
    assert complaint(file, "same").endswith("returns the same module at each call: it must make a new one.")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "import torch\n\nnothing\n",
            "fails in line 3 when it is imported: NameError: name 'nothing' is not",
        ),
        ("def make(:\n", "fails in line 1 when it is imported: SyntaxError: "),
        ("import sys\nsys.exit(1)\n", "fails in line 2 when it is imported: SystemExit: 1."),
        ("import not_there\n", "fails in line 1 when it is imported: ModuleNotFoundError: No module named"),
    ],
)
def test_a_file_that_cannot_be_imported_says_where(file: Path, code: str, line: str) -> None:
    file.write_text(code)
    assert complaint(file, "make").startswith(f"model.file=mine_own.py {line}")


@pytest.mark.parametrize(
    ("name", "given"),
    [("fails", "in mine_own.py, line 50"), ("make", "with model.args=[] model.kwargs={}")],
)
def test_what_a_function_raises_says_where(file: Path, name: str, given: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        built(file, name)
    cause = caught.value.__cause__
    assert isinstance(cause, FailedAt)
    assert cause.given == given


@pytest.mark.parametrize("target", ["mine_missing:Net", "torch.missing:Net"])
def test_a_package_that_cannot_be_imported_is_one_line(target: str) -> None:
    config = ModelConfig("own", "x", input_shape=[], inputs=IDS, target=target)
    with pytest.raises(UserError, match=f"^model.target={target}: cannot import .*ModuleNotFoundError"):
        workloads.build(config, 2, CPU, False, 0)
