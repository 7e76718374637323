"""Errors of answers, compared with numbers worked out by hand."""

from __future__ import annotations

import re
from math import inf, nan

import pytest
import torch
from torch import Tensor

from microbench.engines import Answer
from microbench.verify.errors import (
    Errors,
    error_of_norm,
    errors_of,
    largest_error,
    shapes_differ,
    top1_agreement,
)

bf16 = torch.bfloat16


@pytest.mark.parametrize(
    ("found", "wanted", "error"),
    [
        ([1.0, 2.5, -4.0], [1.0, 2.0, -4.0], (0.5, 0.125)),
        ([1.0, 2.0, -4.0], [1.0, 2.0, -4.0], (0.0, 0.0)),
        ([0.0, 0.0], [0.0, 0.0], (0.0, 0.0)),
        ([0.5, 0.0], [0.0, 0.0], (0.5, inf)),
        ([], [], (0.0, 0.0)),
        (3.0, 4.0, (1.0, 0.25)),
        ([nan, 2.0], [1.0, 2.0], (inf, inf)),
        ([1.0, inf], [1.0, 2.0], (inf, inf)),
        ([1.0, 2.0], [nan, 2.0], (inf, inf)),
        ([nan, 1.5, -inf], [nan, 2.0, -inf], (0.5, 0.25)),
        ([inf], [-inf], (inf, inf)),
        ([3, -2], [4, -2], (1.0, 0.25)),
        ([True, False], [True, True], (1.0, 1.0)),
        ([3 + 4j], [3 + 2j], (2.0, 2 / 3)),
    ],
)
def test_the_largest_error_of_an_output_counts(
    found: object, wanted: object, error: tuple[float, float]
) -> None:
    assert largest_error(torch.tensor(found), torch.tensor(wanted)) == pytest.approx(error)


def test_errors_are_taken_of_numbers_that_the_lower_precision_cannot_hold() -> None:
    wanted = torch.tensor([1.0, 256.0])
    assert largest_error(torch.tensor([1.0, 257.0]).to(bf16), wanted) == (0.0, 0.0)  # bf16 has 256 and 258
    assert largest_error(torch.tensor([1.0, 258.0], dtype=bf16), torch.tensor([1.0, 257.0])) == (1.0, 1 / 257)


def test_the_largest_of_several_outputs_counts_each_relative_to_its_own() -> None:
    wanted = Answer((torch.tensor([1.0, 100.0]), torch.tensor([0.1])))
    found = Answer((torch.tensor([1.0, 101.0]), torch.tensor([0.2])))
    errors = errors_of(found, wanted)
    assert (errors.absolute, errors.relative, errors.gradients) == (1.0, pytest.approx(1.0), None)
    assert errors_of(Answer(()), Answer(())) == Errors(0.0, 0.0, None)


@pytest.mark.parametrize(
    ("found", "wanted", "error"),
    [
        (([3.0, 4.0], [[5.0]]), ([3.0, 4.0], [[0.0]]), 1.0),  # 5 / sqrt(9 + 16)
        (([3.0, 1.0], [[0.0]]), ([3.0, 4.0], [[0.0]]), 0.6),  # 3 / 5
        (([0.0, 0.0], [[0.0]]), ([3.0, 4.0], [[12.0]]), 1.0),
        (([6.0, 8.0], [[24.0]]), ([3.0, 4.0], [[12.0]]), 1.0),
        (([0.0], [0.0]), ([0.0], [0.0]), 0.0),
        (([1.0], [0.0]), ([0.0], [0.0]), inf),
        (([nan], [1.0]), ([1.0], [1.0]), inf),
        (([inf], [1.0]), ([1.0], [1.0]), inf),
        (([1.0], [1.0]), ([inf], [1.0]), inf),
    ],
)
def test_the_error_of_gradients_is_that_of_the_norm_of_all(
    found: tuple[list[float], ...], wanted: tuple[list[float], ...], error: float
) -> None:
    assert error_of_norm([*map(torch.tensor, found)], [*map(torch.tensor, wanted)]) == pytest.approx(error)


def test_sparse_gradients_are_compared_with_dense_ones() -> None:
    dense = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert error_of_norm([dense.to_sparse()], [dense]) == 0.0
    assert error_of_norm([(2 * dense).to_sparse()], [dense.to_sparse()]) == 1.0


def test_large_gradients_do_not_overflow() -> None:
    huge = torch.tensor([1e30, 1e30])
    assert error_of_norm([2 * huge], [huge]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("found", "wanted", "told"),
    [
        (Answer((torch.ones(2, 3),)), Answer((torch.ones(2, 3),)), None),
        (Answer((torch.ones(3, 2),)), Answer((torch.ones(2, 3),)), "outputs .*: 3x2 instead of 2x3$"),
        (Answer((torch.ones(2),) * 2), Answer((torch.ones(2),)), "outputs .*: 2, 2 instead of 2$"),
        (Answer((torch.tensor(1.0),)), Answer((torch.ones(1),)), "outputs .*: a scalar instead of 1$"),
        (
            Answer((torch.ones(2),), (torch.ones(4),)),
            Answer((torch.ones(2),), (torch.ones(4), torch.ones(1))),
            "gradients of other shapes than eager fp32's: 4 instead of 4, 1$",
        ),
        (Answer(()), Answer((torch.ones(2),)), "outputs .*: none instead of 2$"),
    ],
)
def test_other_shapes_are_reported(found: Answer, wanted: Answer, told: str | None) -> None:
    reason = shapes_differ(found, wanted)
    assert reason is None if told is None else re.match(told, reason or ""), reason


def logits(*classes: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 4).float()


def test_top_1_agreement_is_the_share_of_the_batch_with_the_same_first_choice() -> None:
    wanted = Answer((logits(0, 1, 2, 3),))
    assert top1_agreement(wanted, wanted) == 1.0
    assert top1_agreement(Answer((logits(0, 1, 2, 0).to(bf16),)), wanted) == 0.75
    assert top1_agreement(Answer((torch.ones(2, 3, 4),)), Answer((torch.ones(2, 3, 4),))) is None
    several = Answer((logits(0, 1), logits(2, 3)))
    assert top1_agreement(several, several) is None
