"""A module object is built again and again as it was given, and the given one stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import workloads
from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.workloads import Workload
from microbench.workloads.given import Given, Sent, held
from microbench.workloads.given.sending import sent

from .support import Tagger, batch, given

CPU = torch.device("cpu")

Send = Callable[[Given], Given | Sent]


@pytest.fixture(params=["in a file", "itself"])
def send(request: pytest.FixtureRequest, tmp_path: Path) -> Send:
    """Return a function that sends an object to another process, or leaves it in this one."""
    return (
        (lambda found: sent(found, tmp_path / "object.pt")) if request.param == "in a file" else lambda x: x
    )


def built(found: Given | Sent, training: bool = False, **config: Any) -> Workload:
    with held(found):
        return workloads.build(ModelConfig("given", "Tagger", **config), 3, CPU, training, seed=0)


def test_a_workload_is_the_module_with_its_arguments(send: Send) -> None:
    module = Tagger().train()
    workload = built(send(given(module, batch(), shifted=True)))
    assert workload.shape() == "3x2, 3x2"
    output = workload.module(*workload.inputs)
    assert output["shifted"] is True
    assert not workload.module.training
    assert torch.equal(output["logits"], module.eval()(batch(), True)["logits"])


def test_each_build_is_a_fresh_copy_and_the_given_module_stays_as_it_was(send: Send) -> None:
    module, inputs = Tagger().eval(), batch()
    before, mask = deepcopy(module.state_dict()), inputs.mask.clone()
    source = send(given(module, inputs))
    for _ in range(2):
        workload = built(source, training=True)
        assert all(
            torch.equal(a, b) for a, b in zip(workload.module.parameters(), module.parameters(), strict=True)
        )
        assert torch.equal(workload.inputs[1], mask)
        workload.objective.backward(workload.module(*workload.inputs))
        with torch.no_grad():
            for each in (*workload.module.parameters(), workload.inputs[1]):
                each.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(inputs.mask, mask)
    assert not module.training
    assert all(each.grad is None for each in module.parameters())


def test_tied_weights_stay_tied(send: Send) -> None:
    workload = built(send(given(Tagger(), batch())))
    assert len(list(workload.module.parameters())) == 4


def test_one_tensor_given_twice_is_one_input(send: Send) -> None:
    x = torch.ones(2, 4)
    workload = built(send(given(nn.Bilinear(4, 4, 2), x, x)))
    assert workload.inputs[0] is workload.inputs[1]


def test_training_starts_from_the_objective(send: Send) -> None:
    workload = built(send(given(nn.Linear(4, 2), torch.ones(3, 4), objective=lambda out: out.sum())), True)
    loss = workload.objective(workload.module(*workload.inputs))
    assert workload.objective.is_loss
    assert loss.dim() == 0


def test_an_objective_of_the_module_itself_is_that_of_the_copy(send: Send) -> None:
    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

        def loss(self, output: Tensor) -> Tensor:
            return (output * self.weight).sum()

    module = Judge()
    workload = built(send(given(module, torch.ones(3), objective=module.loss)), True)
    workload.objective.backward(workload.objective(workload.module(*workload.inputs)))
    assert next(workload.module.parameters()).grad == 6
    assert module.weight.grad is None


@pytest.mark.parametrize(
    ("module", "asked", "option", "wanted"),
    [
        (nn.Linear(4, 2), False, None, False),
        (nn.Linear(4, 2), True, None, True),
        (nn.Linear(4, 2), False, True, True),
        (nn.Linear(4, 2), True, False, False),
        (nn.ReLU(), False, None, True),
    ],
)
def test_an_input_requires_a_gradient_as_given_or_if_nothing_else_does(
    module: nn.Module, asked: bool, option: bool | None, wanted: bool
) -> None:
    found = given(module, torch.ones(3, 4, requires_grad=asked))
    assert built(found, True, input_grad=option).inputs[0].requires_grad is wanted
    assert not built(found, False, input_grad=option).inputs[0].requires_grad


def test_tensors_in_objects_are_refused() -> None:
    class Holder:
        def __init__(self) -> None:
            self.x = torch.ones(3, 4)

    with pytest.raises(UserError, match=r"^inputs= holds its tensors in objects: give them in tuples"):
        built(given(nn.ReLU(), Holder()))


def test_nothing_to_differentiate_is_refused() -> None:
    with pytest.raises(UserError, match="has no parameters, so there is nothing to differentiate"):
        built(given(nn.ReLU(), torch.ones(3)), True, input_grad=False)


def test_a_result_that_requires_a_gradient_may_be_an_input(send: Send) -> None:
    x = torch.ones(3, 4, requires_grad=True) * 2
    assert built(send(given(nn.Linear(4, 2), x)), True).inputs[0].is_leaf


def test_in_this_process_a_module_may_hold_what_has_no_copy() -> None:
    module = nn.Linear(4, 2)
    module.lock = Lock()
    assert built(given(module, torch.ones(3, 4))).module(torch.ones(3, 4)).shape == (3, 2)


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    class Single(nn.Linear):
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("there is only one")

    with pytest.raises(UserError, match="Single cannot be copied: TypeError: there is only one"):
        built(given(Single(4, 2), torch.ones(3, 4)))


def test_without_an_object_there_is_one_line() -> None:
    with pytest.raises(UserError, match="is for module objects: call"):
        workloads.build(ModelConfig("given", "Net"), 1, CPU, False, seed=0)


def test_a_layer_of_it_is_a_workload_with_its_own_weights(send: Send) -> None:
    module = Tagger()
    workload = built(send(given(module, batch())), part="output")
    assert workload.name == "Tagger output"
    assert workload.shape() == "3x2x4"
    assert torch.equal(workload.module.weight, module.output.weight)
