from __future__ import annotations

import torch
from torch import nn

from microbench.workloads.calibration import PRIOR, calibrate
from microbench.workloads.parts.deferred import Deferred


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1)).eval()


def batch() -> torch.Tensor:
    return 100 * torch.randn(2, 3, 18, 18, generator=torch.Generator().manual_seed(1)) + 7


def test_normalization_gets_the_batchs_mean_squares_towards_those_of_all_channels() -> None:
    made, given = model(), batch()
    calibrate(made, [given])
    squares = made[0](given).square().transpose(0, 1).flatten(1).mean(1).detach()
    count = 2 * 16 * 16
    expected = (count * squares + PRIOR * squares.mean()) / (count + PRIOR)
    torch.testing.assert_close(made[1].running_var, expected)
    assert torch.equal(made[1].running_mean, torch.zeros(4))


def test_the_module_is_called_once_and_otherwise_unchanged() -> None:
    made, given = model(), batch()
    before = {name: each.clone() for name, each in made.named_parameters()}
    calls: list[object] = []
    made.register_forward_hook(lambda *args: calls.append(args))
    calibrate(made, [given])
    assert len(calls) == 1
    assert not made.training
    assert not any(each._forward_pre_hooks for each in made.modules())
    assert all(torch.equal(each, before[name]) for name, each in made.named_parameters())
    assert all(each.grad_fn is None for each in made.buffers())


def test_a_model_without_batch_normalization_is_not_called() -> None:
    def fails(*args: object) -> None:
        raise AssertionError("called")

    made = nn.Linear(3, 2)
    made.register_forward_pre_hook(fails)
    calibrate(made, [torch.zeros(1, 3)])


def test_a_value_per_channel_is_enough_and_repeated_calls_count_once() -> None:
    norm = nn.BatchNorm1d(3)
    calibrate(nn.Sequential(norm, norm).eval(), [torch.tensor([[0.0, 3.0, 6.0], [2.0, 3.0, 6.0]])])
    squares = torch.tensor([2.0, 9.0, 36.0])
    expected = (2 * squares + PRIOR * squares.mean()) / (2 + PRIOR)
    torch.testing.assert_close(norm.running_var, expected)


def test_a_layers_channels_get_the_deviation_about_their_biases() -> None:
    made, given = model(), batch()
    bias = made[3].bias.detach().clone()
    calibrate(made, [given], {made[3]: 2.0})
    values = made(given).transpose(0, 1).flatten(1).detach()
    torch.testing.assert_close(values.std(1, correction=0), torch.full((5,), 2.0))
    torch.testing.assert_close(values.mean(1), bias, rtol=1e-3, atol=1e-3)


def test_deferred_weights_are_calibrated_when_they_are_drawn() -> None:
    given = batch()
    with Deferred() as weights:
        deferred = model()
        calibrate(deferred, [given])
    assert torch.equal(deferred[1].running_var, torch.ones(4))
    weights.fill(deferred[0])
    assert torch.equal(deferred[1].running_var, torch.ones(4))
    weights.fill(deferred)
    drawn = model()
    calibrate(drawn, [given])
    torch.testing.assert_close(deferred[1].running_var, drawn[1].running_var)
    assert not torch.equal(drawn[1].running_var, torch.ones(4))


def test_a_model_that_was_cast_meanwhile_is_calibrated_in_the_type_of_its_examples() -> None:
    given = batch()
    with Deferred() as weights:
        cast = model()
        calibrate(cast, [given], {cast[3]: 2.0})
    weights.fill(cast.to(torch.bfloat16))
    assert {each.dtype for each in cast.parameters()} == {torch.bfloat16}
    found = cast[1].running_var
    assert found.dtype is torch.bfloat16
    again = cast.float()
    calibrate(again, [given])
    torch.testing.assert_close(found.float(), again[1].running_var, rtol=2**-7, atol=0)
    assert again(given).transpose(0, 1).flatten(1).std(1).detach().allclose(torch.full((5,), 2.0), rtol=0.1)
