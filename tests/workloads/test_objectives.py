"""Objectives by name, and functions as objectives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from microbench.errors import FailedAt, UserError
from microbench.workloads.objectives import OnesGradient, find

LOGITS = torch.linspace(-1, 1, 24).square().reshape(4, 6)


@dataclass
class Output:
    hidden: Tensor
    logits: Tensor
    loss: Tensor | None = None


@pytest.mark.parametrize("objective", [None, "ones"])
def test_ones_are_the_default(objective: str | None) -> None:
    assert isinstance(find(objective, 0), OnesGradient)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^Unknown objective 'crossentropy'\. Did you mean cross_entropy\?"):
        find("crossentropy", 0)


def test_cross_entropy_has_random_classes_of_the_logits_shape() -> None:
    losses = {find("cross_entropy", seed)(LOGITS).item() for seed in range(8)}
    rows = -functional.log_softmax(LOGITS, 1)
    least, most = rows.amin(1).mean().item(), rows.amax(1).mean().item()
    assert len(losses) > 1
    assert all(least - 1e-5 <= each <= most + 1e-5 for each in losses)
    pixels = torch.zeros(2, 5, 3, 3)
    assert find("cross_entropy", 0)(pixels).item() == pytest.approx(torch.tensor(5.0).log().item())


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_targets_depend_on_the_seed_and_the_shape_alone(name: str) -> None:
    objective = find(name, 1)
    first = objective(LOGITS)
    torch.manual_seed(7)
    assert objective(LOGITS) == first
    assert find(name, 1)(LOGITS) == first
    assert find(name, 2)(LOGITS) != first
    torch.testing.assert_close(find(name, 1)(LOGITS.bfloat16()).float(), first, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_drawing_targets_leaves_the_random_numbers_alone(name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    find(name, 0)(LOGITS)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
@pytest.mark.parametrize(
    "output",
    [
        Output(torch.zeros(2, 3), LOGITS),
        {"hidden": torch.zeros(2, 3), "logits": LOGITS},
        (torch.arange(3), LOGITS, torch.zeros(2, 3)),
    ],
    ids=["object", "dictionary", "tuple"],
)
def test_a_named_loss_is_about_the_logits_or_the_first_numbers(name: str, output: Any) -> None:
    assert find(name, 0)(output) == find(name, 0)(LOGITS)


@pytest.mark.parametrize(
    "output",
    [
        torch.tensor(3.0),
        {"logits": LOGITS, "loss": torch.tensor(3.0)},
        Output(LOGITS, LOGITS, torch.tensor(3.0)),
        {"classifier": torch.tensor(1.0), "boxes": torch.tensor([2.0])},
    ],
    ids=["scalar", "dictionary", "object", "several"],
)
def test_own_loss_is_what_the_module_computed(output: Any) -> None:
    with torch.no_grad():
        assert find("own_loss", 0)(output).item() == 3


@pytest.mark.parametrize("output", [(LOGITS,), {"logits": LOGITS}, {}, Output(LOGITS, LOGITS)])
def test_an_output_without_a_loss_is_one_line(output: Any) -> None:
    with pytest.raises(UserError, match="own_loss is for an output that is a loss"):
        find("own_loss", 0)(output)


def test_a_function_is_called_with_the_output() -> None:
    weights = nn.Parameter(torch.ones(3))
    objective = find(lambda output: output["out"].square().sum(), 0)
    root = objective({"out": weights * 2})
    objective.backward(root)
    assert objective.is_loss
    assert root.item() == 12
    assert weights.grad is not None
    assert weights.grad.tolist() == [8, 8, 8]


def returned(value: Any) -> Any:
    def compare(output: Any) -> Any:
        return value

    return compare


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (LOGITS, r"^The objective compare returns a tensor of shape \(4, 6\): it must return a scalar"),
        (None, r"^The objective compare returns None: it must return a scalar"),
        (torch.tensor(1), r"^The objective compare returns a tensor of shape \(\): it must"),
    ],
)
def test_what_a_function_returns_must_be_a_loss(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(returned(value), 0)(LOGITS)


def test_a_loss_must_depend_on_what_is_trained() -> None:
    objective = find(returned(torch.tensor(1.0)), 0)
    with pytest.raises(UserError, match="compare returns a loss that depends on nothing"):
        objective.backward(objective(LOGITS))


def test_an_error_of_a_function_says_where() -> None:
    def compare(output: Any) -> Tensor:
        return output["missing"]  # type: ignore[no-any-return]

    with pytest.raises(KeyError) as caught:
        find(compare, 0)({"out": LOGITS})
    cause = caught.value.__cause__
    assert isinstance(cause, FailedAt)
    assert (str(cause), cause.given) == ("compare (objective)", "on output (4, 6)")


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        (
            "cross_entropy",
            torch.zeros(3),
            "objective=cross_entropy is for logits of shape (batch, classes",
        ),
        ("mse", {"ids": torch.arange(3)}, "The output holds no floating-point tensor"),
    ],
)
def test_an_output_that_does_not_fit_a_named_loss_is_one_line(name: str, output: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        find(name, 0)(output)
