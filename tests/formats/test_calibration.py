from __future__ import annotations

import pytest
import torch

from microbench.formats.calibration import LENGTH, batches, saturated


def test_the_first_batch_is_the_given_inputs() -> None:
    images, weights = torch.randn(2, 3), torch.randn(4)
    first, *_ = batches((images, weights), seed=0)
    assert [tensor.data_ptr() for tensor in first] == [images.data_ptr(), weights.data_ptr()]


def test_the_others_are_the_same_values_in_other_orders() -> None:
    indices = torch.arange(100).view(4, 25)
    _, *others = batches((indices,), seed=0, count=3)
    assert len(others) == 2
    for (shuffled,) in others:
        assert shuffled.shape == indices.shape
        assert not torch.equal(shuffled, indices)
        assert torch.equal(shuffled.flatten().sort().values, indices.flatten())


def test_the_seed_says_which() -> None:
    values = torch.arange(100)

    def second(seed: int) -> list[int]:
        return [*batches((values,), seed)][1][0].tolist()

    assert second(1) == second(1) != second(2)


def test_inputs_that_require_gradients_are_drawn_from_too() -> None:
    for (tensor,) in batches((torch.randn(3, requires_grad=True),), seed=0):
        assert not tensor.requires_grad


@pytest.mark.parametrize(("pair", "is_saturated"), [(2 * 255 * 127, False), (2**15 - 1, True)])
def test_sums_whose_pairs_stop_at_16_bits_are_saturated(pair: int, is_saturated: bool) -> None:
    assert saturated(torch.full((1, 3), LENGTH // 2 * pair)) is is_saturated
