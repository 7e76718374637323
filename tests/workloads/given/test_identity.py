"""The identity of a module object: its structure, shapes and fixed arguments, and no weight's value."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import nn

from microbench.errors import UserError
from microbench.workloads.given import Given
from microbench.workloads.given.identity import batch_size_of, identity, input_shape_of

from .support import Tagger, batch, given

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
