from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from microbench.errors import SkippedError
from microbench.formats.precision import LENGTH, calibration_batches, saturated
from microbench.workloads.objectives import CrossEntropy

from .support import inferred, prepared

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Noting(nn.Linear):
    """A linear layer that records the type it computes in."""

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


def test_indices_are_not_cast_and_shared_inputs_stay_shared() -> None:
    indices, value = torch.tensor([[1, 2]]), torch.randn(1, 2, requires_grad=True)
    program = prepared(nn.Identity(), indices, value, value, precision="bf16")
    same, one, other = program.workload.inputs
    assert same is indices
    assert one is other
    assert (one.dtype, one.requires_grad, one.is_leaf) == (torch.bfloat16, True, True)


def test_fp32_changes_nothing() -> None:
    module, value = nn.Linear(4, 3), torch.randn(2, 4)
    program = prepared(module, value)
    assert program.workload.module is module
    assert program.workload.inputs == (value,)


@pytest.mark.parametrize(
    ("precision", "line"),
    [
        ("tf32", "engine=eager does not support precision=tf32 on device=cpu; it supports fp32, bf16"),
        ("int8", "engine=eager does not support precision=int8 on device=cpu; it supports fp32, bf16"),
    ],
)
def test_an_unsupported_precision_is_skipped(precision: str, line: str) -> None:
    with pytest.raises(SkippedError, match="^" + re.escape(line)):
        prepared(nn.Linear(4, 3), torch.randn(2, 4), precision=precision)


def test_the_first_batch_is_the_given_inputs() -> None:
    images, weights = torch.randn(2, 3), torch.randn(4)
    first, *_ = calibration_batches((images, weights), seed=0)
    assert [tensor.data_ptr() for tensor in first] == [images.data_ptr(), weights.data_ptr()]


def test_further_batches_are_the_same_values_in_other_orders() -> None:
    indices = torch.arange(100).view(4, 25)
    _, *others = calibration_batches((indices,), seed=0, count=3)
    assert len(others) == 2
    for (shuffled,) in others:
        assert shuffled.shape == indices.shape
        assert not torch.equal(shuffled, indices)
        assert torch.equal(shuffled.flatten().sort().values, indices.flatten())


def test_the_seed_determines_the_order() -> None:
    values = torch.arange(100)

    def second(seed: int) -> list[int]:
        return [*calibration_batches((values,), seed)][1][0].tolist()

    assert second(1) == second(1) != second(2)


def test_inputs_that_require_gradients_are_shuffled_too() -> None:
    for (tensor,) in calibration_batches((torch.randn(3, requires_grad=True),), seed=0):
        assert not tensor.requires_grad


@pytest.mark.parametrize(("pair", "is_saturated"), [(2 * 255 * 127, False), (2**15 - 1, True)])
def test_sums_whose_pairs_are_limited_to_16_bits_are_saturated(pair: int, is_saturated: bool) -> None:
    assert saturated(torch.full((1, 3), LENGTH // 2 * pair)) is is_saturated
