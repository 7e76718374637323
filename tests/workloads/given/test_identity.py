"""The identity of a module object: its structure, shapes, arguments and functions, and no weight's value."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import nn

from microbench.errors import UserError
from microbench.workloads.given import Given
from microbench.workloads.given.identity import batch_size_of, identity, input_shape_of

from .support import Tagger, batch, given

HELPER: Callable[[Any], Any] = abs
"""A global variable, in place of which `helped` gives another."""

Pair = namedtuple("Pair", "first second")

X = torch.ones(3, 4)


class Odd:
    """Its repr has an address."""


def test_values_of_weights_and_inputs_do_not_count() -> None:
    assert identity(given(Tagger(), batch())) == identity(given(Tagger(), batch()))
    assert identity(given(nn.Linear(4, 2), X)) == identity(given(nn.Linear(4, 2), 2 * X))
    assert identity(given(nn.ReLU(), X, Odd())) == identity(given(nn.ReLU(), X, Odd()))


OTHERS = {
    "it": given(nn.Linear(4, 2), X),
    "arguments": given(nn.Linear(4, 2, bias=False), X),
    "class": given(nn.ReLU(), X),
    "type of weights": given(nn.Linear(4, 2).double(), X),
    "shape": given(nn.Linear(4, 2), X[:2]),
    "type": given(nn.Linear(4, 2), X.double()),
    "nested": given(nn.Linear(4, 2), (X,)),
    "argument": given(nn.Linear(4, 2), X, True),
    "other argument": given(nn.Linear(4, 2), X, False),
    "keyword": given(nn.Linear(4, 2), X, flag=True),
    "named tuple": given(nn.Linear(4, 2), Pair(X, 1)),
    "dataclass": given(nn.Linear(4, 2), batch()),
    "field": given(nn.Linear(4, 2), batch(scale=0.25)),
    "objective": given(nn.Linear(4, 2), X, objective="mse"),
    "function": given(nn.Linear(4, 2), X, objective=torch.sum),
    "module": given(nn.Linear(4, 2), X, objective=nn.MSELoss()),
}


def test_what_is_computed_counts() -> None:
    assert len({identity(each) for each in OTHERS.values()}) == len(OTHERS)


def scaled(factor: float) -> Callable[[Any], Any]:
    return lambda output: output * factor


def helped(helper: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that uses a global variable of its own."""
    return FunctionType((lambda output: HELPER(output)).__code__, {"HELPER": helper})


class Holder(nn.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


class Weighted:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, output: Any) -> Any:
        return output * self.weight


def hooked(hook: Callable[..., Any]) -> nn.Module:
    module = nn.ReLU()
    module.register_forward_hook(hook)
    return module


FUNCTIONS: dict[str, Callable[[], Given]] = {
    "attributes": lambda: given(nn.ReLU(), X, objective=lambda output: output.sum()),
    "other attributes": lambda: given(nn.ReLU(), X, objective=lambda output: output.mean()),
    "constants": lambda: given(nn.ReLU(), X, objective=lambda output: output.sum() * 2),
    "other constants": lambda: given(nn.ReLU(), X, objective=lambda output: output.sum() * 3),
    "inner constants": lambda: given(nn.ReLU(), X, objective=lambda output: (lambda: output * 2)()),
    "other inner constants": lambda: given(nn.ReLU(), X, objective=lambda output: (lambda: output * 3)()),
    "sets": lambda: given(nn.ReLU(), X, objective=lambda output: output.dim() in {"a", "b"}),
    "defaults": lambda: given(nn.ReLU(), X, objective=lambda output, by=2: output * by),
    "other defaults": lambda: given(nn.ReLU(), X, objective=lambda output, by=3: output * by),
    "closure": lambda: given(nn.ReLU(), X, objective=scaled(2)),
    "other closure": lambda: given(nn.ReLU(), X, objective=scaled(3)),
    "function in a closure": lambda: given(nn.ReLU(), X, objective=helped(scaled(2))),
    "other function in a closure": lambda: given(nn.ReLU(), X, objective=helped(scaled(3))),
    "fixed arguments": lambda: given(nn.ReLU(), X, objective=partial(torch.mul, 2)),
    "other fixed arguments": lambda: given(nn.ReLU(), X, objective=partial(torch.mul, 3)),
    "object": lambda: given(nn.ReLU(), X, objective=Weighted(2)),
    "other object": lambda: given(nn.ReLU(), X, objective=Weighted(3)),
    "argument": lambda: given(nn.ReLU(), X, lambda value: value),
    "other argument": lambda: given(nn.ReLU(), X, lambda value: value + 1),
    "held": lambda: given(Holder(lambda value: value.relu()), X),
    "another held": lambda: given(Holder(lambda value: value.tanh()), X),
    "in a list": lambda: given(Holder([scaled(2)]), X),
    "another in a list": lambda: given(Holder([scaled(3)]), X),
    "hook": lambda: given(hooked(lambda module, args, output: output), X),
    "another hook": lambda: given(hooked(lambda module, args, output: output * 2), X),
}


def test_what_functions_do_counts_and_not_where_they_are() -> None:
    found = {name: identity(make()) for name, make in FUNCTIONS.items()}
    assert len(set(found.values())) == len(FUNCTIONS)
    assert {name: identity(make()) for name, make in FUNCTIONS.items()} == found


def test_functions_have_the_same_identity_in_every_process() -> None:
    code = (
        "from tests.workloads.given.test_identity import FUNCTIONS, identity\n"
        "print(*(identity(make()) for make in FUNCTIONS.values()))"
    )
    root = Path(__file__).parents[3]
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{root / 'tests'}"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_function_that_uses_itself_has_an_identity() -> None:
    def countdown(number: int) -> int:
        return number and countdown(number - 1)

    assert identity(given(Holder(countdown), X)) != identity(given(Holder(None), X))


@pytest.mark.parametrize(
    ("found", "asked", "wanted"),
    [
        (given(nn.ReLU(), X), None, 3),
        (given(nn.ReLU(), X), 3, 3),
        (given(nn.ReLU(), batch(5)), None, 5),
        (given(nn.ReLU(), {"x": X, "scalar": torch.tensor(1.0)}), None, 3),
        (given(nn.LSTM(4, 4), torch.ones(7, 3, 4), (torch.ones(1, 3, 4),) * 2), None, 1),
        (given(nn.ReLU(), [torch.ones(3, 8, 8), torch.ones(3, 8, 8)]), None, 1),
        (given(nn.ReLU(), {"images": [torch.ones(3, 8, 8), torch.ones(3, 8, 8)]}), 2, 2),
        (given(nn.LSTM(4, 4), torch.ones(7, 3, 4), (torch.ones(1, 3, 4),) * 2), 3, 3),
    ],
)
def test_the_batch_is_the_common_first_dimension(found: Given, asked: int | None, wanted: int) -> None:
    assert batch_size_of(found, asked) == wanted


@pytest.mark.parametrize(
    ("found", "asked", "told"),
    [
        (given(nn.ReLU(), X), 8, "batch_size=8 is not possible: the inputs hold 3, by their first dimension"),
        (given(nn.ReLU(), X), [1, 3], "batch_size=.1, 3. is not possible: the inputs hold 3"),
        (
            given(nn.ReLU(), X, X[:2]),
            8,
            "batch_size=8 is not possible: no dimension or list of the inputs has that size",
        ),
        (given(nn.ReLU(), X, X[:2]), True, "batch_size=True is not possible: no dimension"),
        (given(nn.ReLU(), 3), None, "inputs= holds no tensor"),
    ],
)
def test_another_batch_is_refused(found: Given, asked: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        batch_size_of(found, asked)


def test_only_a_single_input_has_a_shape_to_show() -> None:
    assert input_shape_of(given(nn.ReLU(), X)) == [4]
    assert input_shape_of(given(nn.ReLU(), X, X)) == []
    assert input_shape_of(given(nn.ReLU(), torch.ones(3, 0))) == []
