"""Models that are built without drawing their weights, and those that are drawn all the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from microbench.profile.deferred import Deferred


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


def test_weights_that_a_model_leaves_at_zero_are_drawn() -> None:
    assert filled().zero.weight.std().item() == pytest.approx(0.02, rel=0.1)


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
