"""Inputs, drawn as `model.inputs` describes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from microbench.config import ModelConfig
from microbench.errors import UserError
from microbench.workloads.inputs import DTYPES, draw


def drawn(inputs: Any, module: nn.Module | None = None, training: bool = False, **more: Any) -> Any:
    config = ModelConfig("own", "net", inputs=inputs, **{"input_shape": [], **more})
    return draw(config, module or nn.Linear(1, 1), 5, training)


def test_by_name_they_are_keyword_arguments_and_in_a_list_positional() -> None:
    args, kwargs = drawn({"x": [3], "y": {"shape": [4, 2]}})
    assert (args, {name: each.shape for name, each in kwargs.items()}) == ([], {"x": (5, 3), "y": (5, 4, 2)})
    args, kwargs = drawn([[3], {"shape": []}])
    assert ([each.shape for each in args], kwargs) == ([(5, 3), (5,)], {})


def test_sizes_alone_are_one_input() -> None:
    (x,), _ = drawn([3, 4])
    assert (x.shape, x.dtype) == ((5, 3, 4), torch.float32)


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_can_be_drawn(name: str) -> None:
    (x,), _ = drawn([{"shape": [99], "dtype": name, "high": 3}])
    assert x.dtype is getattr(torch, name)
    assert x.min() >= 0
    assert x.max() < 3 or name == "bfloat16"
    assert len(x.unique()) > 1


def test_indices_are_below_high_and_at_least_low() -> None:
    (x,), _ = drawn([{"shape": [99], "dtype": "int64", "low": 2, "high": 4}])
    assert sorted(x.unique().tolist()) == [2, 3]


def test_numbers_are_standard_normal_or_between_bounds() -> None:
    (x, y), _ = drawn([[999], {"shape": [999], "low": -3, "high": -1}])
    assert abs(x.mean()) < 0.1
    assert 0.9 < x.std() < 1.1
    assert -3 <= y.min() < y.max() < -1


def test_an_input_can_be_filled_or_without_the_batch() -> None:
    (mask, table), _ = drawn([{"shape": [3], "dtype": "int64", "fill": 1}, {"shape": [7, 2], "batch": False}])
    assert mask.tolist() == [[1, 1, 1]] * 5
    assert table.shape == (7, 2)


@pytest.mark.parametrize(("module", "expected"), [(nn.Linear(3, 3), False), (nn.ReLU(), True)])
def test_in_training_inputs_require_a_gradient_if_nothing_else_does(
    module: nn.Module, expected: bool
) -> None:
    _, kwargs = drawn({"x": [3], "ids": {"shape": [3], "dtype": "int64", "high": 9}}, module, training=True)
    assert (kwargs["x"].requires_grad, kwargs["ids"].requires_grad) == (expected, False)
    assert not drawn({"x": [3]}, module)[1]["x"].requires_grad
    assert drawn({"x": [3]}, module, training=True, input_grad=True)[1]["x"].requires_grad


def test_a_frozen_module_trains_against_its_inputs() -> None:
    (x,), _ = drawn([3], nn.Linear(3, 3).requires_grad_(False), training=True)
    assert x.requires_grad


@pytest.mark.parametrize(
    ("inputs", "more", "line"),
    [
        ({"ids": {"shape": [3], "dtype": "int64", "high": 9}}, {}, "indices have no gradient."),
        ({"x": [3]}, {"input_grad": False}, "leave out model.input_grad=false."),
    ],
)
def test_without_anything_to_differentiate_training_is_a_mistake(inputs: Any, more: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        drawn(inputs, nn.ReLU(), training=True, **more)
    assert str(caught.value) == f"net has no parameters, so there is nothing to differentiate: {line}"


@pytest.mark.parametrize(
    "more",
    [
        {"input_shape": [3]},
        {"input_count": 2},
        {"input_shared": True},
        {"input_dtype": "int64"},
        {"input_high": 3},
    ],
)
def test_options_of_inputs_that_are_all_alike_are_not_for_described_ones(more: dict[str, Any]) -> None:
    ((name, value),) = more.items()
    with pytest.raises(UserError) as caught:
        drawn({"x": [3]}, **more)
    assert str(caught.value) == (
        f"model.{name} has no effect, because model.inputs describes each argument: leave it out "
        f"(got {value})."
    )


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ({"x": 3}, "model.inputs.x=3 is not possible: give sizes without the batch, such as [3,224,224]"),
        ({"x": True}, "model.inputs.x=True is not possible"),
        ([[0]], "model.inputs[0]=[0] is not possible"),
        ({"x": {"shap": [3]}}, "Unknown field of model.inputs.x 'shap'. Did you mean shape?"),
        ({"x": {"dtype": "int64"}}, "model.inputs.x.shape=None is not possible: give sizes of at least 1"),
        ({"x": {"shape": [3], "dtype": "int46"}}, "Unknown model.inputs.x.dtype 'int46'. Did you mean int64"),
        ({"x": {"shape": [3], "dtype": "int64"}}, "model.inputs.x draws indices of int64: give high"),
        ({"x": {"shape": [3], "high": "a"}}, "model.inputs.x.high=a is not possible: give a number."),
        (
            {"x": {"shape": [3], "low": 4, "high": 4}},
            "model.inputs.x.high=4 is not possible: give a number above",
        ),
    ],
)
def test_a_wrong_description_is_one_line(inputs: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        drawn(inputs)
    assert str(caught.value).startswith(line)
