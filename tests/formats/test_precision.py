from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from microbench.errors import SkippedError
from microbench.workloads.torchvision import CrossEntropy

from .support import inferred, prepared

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Noting(nn.Linear):
    """A linear layer that notes the type it computes in."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.types: list[torch.dtype] = []

    def forward(self, value: Tensor) -> Tensor:
        output = super().forward(value)
        self.types.append(output.dtype)
        return output


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_parameters_and_inputs_are_cast(precision: str) -> None:
    module, value = Noting(), torch.randn(2, 4)
    program = prepared(module, value, precision=precision)
    dtype = TYPES[precision]
    assert {each.dtype for each in (*program.parameters, *program.workload.inputs)} == {dtype}
    assert inferred(program).dtype == dtype
    assert value.dtype == torch.float32


@pytest.mark.parametrize("precision", ["amp_bf16", "amp_fp16"])
def test_autocast_keeps_parameters_and_inputs_and_computes_in_its_type(precision: str) -> None:
    module = Noting()
    program = prepared(module, torch.randn(2, 4), precision=precision)
    assert {each.dtype for each in (*program.parameters, *program.workload.inputs)} == {torch.float32}
    inferred(program)
    assert module.types == [TYPES[precision.removeprefix("amp_")]]
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("precision", ["bf16", "fp16", "amp_bf16", "amp_fp16"])
def test_each_trains_a_model_to_finite_gradients_of_the_parameters_type(precision: str) -> None:
    objective = CrossEntropy(torch.tensor([0, 2]), 0.0)
    program = prepared(
        nn.Sequential(Noting(), nn.BatchNorm1d(3)),
        torch.randn(2, 4),
        training=True,
        objective=objective,
        precision=precision,
        mode="train",
    )
    loss = program.workload.objective(program.call())
    program.workload.objective.backward(loss)
    assert loss.isfinite()
    for each in program.parameters:
        assert each.grad is not None
        assert each.grad.dtype == each.dtype
        assert each.grad.isfinite().all()


def test_a_loss_is_computed_under_autocast_and_its_gradient_without() -> None:
    found: list[bool] = []

    class Watching:
        is_loss = True

        def __call__(self, output: Tensor) -> Tensor:
            found.append(torch.is_autocast_enabled("cpu"))
            return output.sum()

        def backward(self, root: Tensor) -> None:
            found.append(torch.is_autocast_enabled("cpu"))

    program = prepared(
        nn.Linear(4, 3),
        torch.randn(2, 4),
        training=True,
        objective=Watching(),
        precision="amp_bf16",
        mode="train",
    )
    objective = program.workload.objective
    objective.backward(objective(program.call()))
    assert found == [True, False]
    assert objective.is_loss


def test_indices_are_not_cast_and_a_shared_input_stays_one() -> None:
    indices, value = torch.tensor([[1, 2]]), torch.randn(1, 2, requires_grad=True)
    program = prepared(nn.Identity(), indices, value, value, precision="bf16")
    same, one, other = program.workload.inputs
    assert same is indices
    assert one is other
    assert (one.dtype, one.requires_grad, one.is_leaf) == (torch.bfloat16, True, True)


def test_fp32_leaves_everything_as_it_is() -> None:
    module, value = nn.Linear(4, 3), torch.randn(2, 4)
    program = prepared(module, value)
    assert program.workload.module is module
    assert program.workload.inputs == (value,)


@pytest.mark.parametrize(
    ("precision", "line"),
    [
        ("tf32", "precision=tf32 is a format of NVIDIA GPUs, and device=cpu: use precision=fp32"),
        ("int8", "engine=eager does not do precision=int8: it can do fp32, tf32, bf16"),
    ],
)
def test_a_precision_that_is_not_there_is_skipped(precision: str, line: str) -> None:
    with pytest.raises(SkippedError, match="^" + re.escape(line)):
        prepared(nn.Linear(4, 3), torch.randn(2, 4), precision=precision)
