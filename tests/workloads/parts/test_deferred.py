"""Models built without drawing their weights, and weights that are drawn nevertheless."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from microbench.workloads import draw_if_zero
from microbench.workloads.parts.deferred import Deferred


class Drawn(nn.Module):
    """Draws its weights in every way that models do."""

    def __init__(self) -> None:
        super().__init__()
        self.usual, self.named, self.direct, self.data = (nn.Linear(64, 64) for _ in range(4))
        self.normal, self.cut, self.zero = (nn.Linear(64, 64) for _ in range(3))
        self.words, self.lstm, self.norm = (
            nn.Embedding(9, 64, padding_idx=2),
            nn.LSTM(8, 8),
            nn.BatchNorm1d(4),
        )
        nn.init.constant_(tensor=self.named.weight, val=3)
        with torch.no_grad():
            self.direct.weight.fill_(4)
            self.normal.weight[0] = 5
        self.data.weight.data.fill_(6)
        nn.init.trunc_normal_(self.cut.weight, std=0.1, a=-0.2, b=0.2)
        nn.init.zeros_(self.zero.weight)


def built() -> tuple[Drawn, Deferred]:
    torch.manual_seed(0)
    with Deferred() as weights:
        return Drawn(), weights


def filled() -> Drawn:
    module, weights = built()
    weights.fill(module)
    return module


def test_weights_are_those_that_the_model_gives_itself() -> None:
    module = filled()
    assert {*module.named.weight.flatten().tolist()} == {3}
    assert {*module.direct.weight.flatten().tolist()} == {4}
    assert {*module.normal.weight[0].tolist()} == {5}
    assert {*module.data.weight.flatten().tolist()} == {6}
    assert module.cut.weight.abs().max() <= 0.2
    assert module.cut.weight.std().item() == pytest.approx(0.088, rel=0.05)  # of a normal one cut at 2 sigma
    assert not module.words.weight[2].any()
    assert module.words.weight.std().item() == pytest.approx((8 / 9) ** 0.5, rel=0.1)
    assert torch.equal(module.norm.weight, torch.ones(4))
    assert torch.equal(module.norm.running_var, torch.ones(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["usual", "lstm"])
def test_the_usual_ones_are_uniform(name: str) -> None:
    """Of torch's linear and recurrent layers: within one over the root of their inputs, or their state."""
    for parameter in getattr(filled(), name).parameters():
        bound = (64 if name == "usual" else 8) ** -0.5
        assert parameter.abs().max() <= bound
        assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)


def test_weights_that_a_model_draws_if_they_are_zero_are_drawn_when_they_are_filled() -> None:
    with Deferred() as weights, torch.device("cpu"):
        zero, usual = nn.Linear(64, 64), nn.Linear(64, 64)
        nn.init.zeros_(zero.weight)
        for each in (zero, usual):
            draw_if_zero(each.weight)
    for each in (zero, usual):
        weights.fill(each)
    assert zero.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert usual.weight.std().item() == pytest.approx((1 / 64 / 3) ** 0.5, rel=0.1)


WAYS: dict[str, Callable[[nn.Parameter], object]] = {
    "assigned": lambda weight: setattr(weight, "data", torch.full((8, 8), 7.0)),
    "a view filled": lambda weight: weight.view(-1).fill_(7),
    "a view drawn": lambda weight: nn.init.constant_(weight.view(-1), 7),
    "chunks filled": lambda weight: [each.fill_(7) for each in weight.chunk(2)],
    "an output of a function": lambda weight: torch.full((8, 8), 7.0, out=weight),
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_that_a_model_sets_itself_stay_so(way: str) -> None:
    with Deferred() as weights, torch.no_grad():
        linear = nn.Linear(8, 8)
        WAYS[way](linear.weight)
    weights.fill(linear)
    assert {*linear.weight.flatten().tolist()} == {7}


def test_a_weight_that_is_given_anothers_values_has_them() -> None:
    with Deferred() as weights:
        linear, other = nn.Linear(64, 64), nn.Linear(64, 64)
        linear.weight.data = other.weight
    weights.fill(linear)
    weights.fill(other)
    assert torch.equal(linear.weight, other.weight)
    assert linear.weight.std().item() == pytest.approx((1 / 64 / 3) ** 0.5, rel=0.1)


READS: dict[str, Callable[[Tensor], Tensor]] = {
    "detached": lambda weight: weight.detach().norm(),
    "copied": lambda weight: weight.clone().norm(),
    "multiplied": lambda weight: (weight * 2).norm() / 2,
    "in a list": lambda weight: torch.cat([weight, weight]).norm() / 2**0.5,
}


@pytest.mark.parametrize("read", READS)
def test_weights_that_a_model_reads_are_there(read: str) -> None:
    with Deferred():
        found = READS[read](nn.Linear(64, 64).weight)
    assert found.item() == pytest.approx(64 * (1 / 64 / 3) ** 0.5, rel=0.1)


def test_initializers_that_a_model_has_by_name_are_put_off_too() -> None:
    torch.manual_seed(3)
    with Deferred() as weights:
        attention = nn.MultiheadAttention(64, 4)
    assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(3)))
    weights.fill(attention)
    bound = (6 / (64 + 192)) ** 0.5
    assert attention.in_proj_weight.abs().max() <= bound
    assert attention.in_proj_weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    assert not attention.in_proj_bias.any()


def test_questions_for_its_form_draw_no_weight() -> None:
    with Deferred() as weights:
        linear = nn.Linear(8, 8)
        assert linear.weight.shape == (8, 8)
        assert (linear.weight.dim(), linear.weight.numel(), linear.weight.dtype) == (2, 64, torch.float32)
        assert linear.weight.requires_grad_().device.type == "cpu"
    torch.manual_seed(3)
    weights.fill(linear)
    torch.manual_seed(3)
    assert torch.equal(linear.weight, nn.Linear(8, 8).weight)


def test_the_seed_decides_them() -> None:
    def drawn(seed: int) -> list[Tensor]:
        module, weights = built()
        torch.manual_seed(seed)
        weights.fill(module.usual)
        return list(module.usual.parameters())

    assert all(map(torch.equal, drawn(1), drawn(1)))
    assert not any(map(torch.equal, drawn(1), drawn(2)))


def test_functions_of_torch_are_put_back_when_building_fails() -> None:
    before = nn.init.kaiming_uniform_
    with pytest.raises(ZeroDivisionError), Deferred():
        1 / 0  # noqa: B018
    assert nn.init.kaiming_uniform_ is before
    assert nn.Linear(4, 4).weight.any()
