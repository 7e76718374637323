from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from microbench.engines import Program
from microbench.errors import SkippedError
from microbench.formats import mkldnn
from microbench.watch.tensors import tensors

from .support import SumOfSquares, inferred, prepared

HAS_BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 10, 10)


def blocked(module: nn.Module, *inputs: Tensor, **options: Any) -> Program:
    return prepared(module, *inputs, layout="mkldnn", **options)


class Between(nn.Module):
    """Two convolutions with something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), between

    def forward(self, value: Tensor) -> Tensor:
        output: Tensor = self.second(self.between(self.first(value)))
        return output


def network() -> nn.Sequential:
    """Return a network of which torch computes everything in the layout."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def double(value: Tensor) -> Tensor:
    return torch.cat([value[:, :4], value.chunk(2, 1)[1]], 1) * 2


def windows(value: Tensor) -> Tensor:
    six = value.reshape(value.shape[0], 8, 2, 4, 2, 4).permute(
        0, 2, 4, 3, 5, 1
    )  # blocked tensors have at most five
    return six.reshape(value.shape)


class Whole(nn.Module):
    """A part with several outputs, which is not traced into."""

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        return torch.relu(value), value if len(list(value.shape)) else -value


Whole.__module__ = "torch.nn.mine"  # torch.fx does not trace into the parts of torch.nn


class TakesSecond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.whole = Whole()

    def forward(self, value: Tensor) -> Tensor:
        second: Tensor = self.whole(value)[1]
        return second.permute(0, 1, 3, 2)


def in_place(value: Tensor) -> Tensor:
    clamped = functional.relu6(value, inplace=True)
    return value + clamped  # both are clamped


@pytest.mark.parametrize("cached", [True, False])
def test_a_network_runs_in_the_layout_from_end_to_end(cached: bool) -> None:
    module, value = network(), images()
    expected = copy.deepcopy(module).eval()(value)
    program = blocked(module, value, cache_weights=cached)
    with torch.inference_mode():
        output = program.call()
    assert output.is_mkldnn
    assert program.workload.inputs[0].is_mkldnn
    torch.testing.assert_close(program.outputs(output), expected)
    assert program.info.conversions == 0


@pytest.mark.parametrize(
    ("between", "conversions"),
    [
        (torch.sigmoid, 0),
        (nn.Identity(), 0),
        (nn.GELU(), 0),
        (nn.ReLU6(), 2),
        (nn.Sequential(nn.Hardswish(), nn.SiLU(inplace=True)), 2),  # one after the other, dense
        (nn.GroupNorm(2, 8), 2),
        (double, 2),
        (in_place, 2),
        (windows, 2),
        (TakesSecond(), 2),
        (lambda value: torch.relu_(value) + value, 0),
        (
            lambda value: value * nn.functional.adaptive_avg_pool2d(value, 1),
            3,
        ),  # broadcasting is not supported
        (lambda value: value.reshape(value.shape[0], 8, 4, -1), 0),
        (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), 2),  # torch computes it wrongly
        (lambda value: functional.avg_pool2d(value, 2), 0),
    ],
)
def test_parts_that_torch_cannot_compute_in_the_layout_run_dense_between_conversions(
    between: Callable[[Tensor], Tensor], conversions: int
) -> None:
    module, value = Between(between), images()
    expected = copy.deepcopy(module)(value)
    program = blocked(module, value)
    torch.testing.assert_close(inferred(program), expected)
    assert program.info.conversions == conversions


@pytest.mark.parametrize("cached", [True, False])
def test_weights_are_packed_once_or_in_each_call(cached: bool) -> None:
    module, value = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(256, 2)), images()
    program = blocked(module, value, cache_weights=cached)
    before = inferred(program)
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert torch.equal(inferred(program), before) is cached


def test_the_parameters_of_a_case_are_those_of_its_module() -> None:
    module = network()
    program = blocked(module, images())
    found = list(program.workload.module.parameters())
    assert all(one is other for one, other in zip(found, module.parameters(), strict=True))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2),
        nn.Conv2d(3, 6, 3, groups=3, bias=False, padding="same"),
        nn.Conv2d(
            3, 4, 3, padding=1, padding_mode="reflect"
        ),  # skipped, because torch pads no blocked tensor
        nn.ConvTranspose2d(3, 4, 4, 2, 1),
        nn.BatchNorm2d(3),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(3, 2),
        nn.PReLU(),
        nn.Softmax(1),
    ],
)
def test_a_layer_computes_the_same_or_is_skipped(module: nn.Module) -> None:
    value = images()
    expected = copy.deepcopy(module).eval()(value)
    if getattr(module, "padding_mode", "zeros") != "zeros":
        with pytest.raises(
            SkippedError, match=r"^layout=mkldnn: torch supports no part of mine in it \(Conv2d: "
        ):
            blocked(module, value)
        return
    torch.testing.assert_close(inferred(blocked(module, value)), expected)


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Conv1d(3, 4, 3), (2, 3, 9)), (nn.Conv3d(3, 4, 2), (2, 3, 5, 5, 5)), (nn.Linear(6, 4), (2, 5, 6))],
)
def test_layers_of_other_dimensions_compute_the_same(module: nn.Module, shape: tuple[int, ...]) -> None:
    value = torch.randn(shape)
    torch.testing.assert_close(inferred(blocked(module, value)), copy.deepcopy(module)(value))


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (nn.LayerNorm(8), "LayerNorm: "),
        (nn.LSTM(8, 4), "LSTM: "),
        (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), "AvgPool2d: its results differ there"),
    ],
)
def test_a_module_that_would_run_entirely_dense_is_skipped_with_the_reason(
    module: nn.Module, why: str
) -> None:
    value = torch.randn(2, 3, 8, 8)[:, 0] if isinstance(module, nn.LSTM) else torch.randn(2, 3, 8, 8)
    line = f"layout=mkldnn: torch supports no part of mine in it ({why}"
    with pytest.raises(SkippedError, match="^" + re.escape(line)) as caught:
        blocked(module, value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_indices_are_not_converted() -> None:
    indices = torch.randint(7, (3, 5))
    with pytest.raises(SkippedError, match=r"^layout=mkldnn: torch supports no part of mine in it$"):
        blocked(nn.Embedding(7, 4), indices)
    module = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    program = blocked(module, indices)
    torch.testing.assert_close(inferred(program), module(indices))
    assert program.info.conversions == 1


class Branching(nn.Module):
    """A part that branches on its values."""

    def forward(self, value: Tensor) -> Tensor:
        return value if value.sum() > 0 else -value


def test_a_part_that_cannot_be_traced_stays_whole_and_runs_dense() -> None:
    module, value = Between(Branching()), images()
    program = blocked(module, value)
    torch.testing.assert_close(inferred(program), module(value))
    assert program.info.conversions == 2


def test_a_module_that_cannot_be_traced_is_skipped() -> None:
    line = r"^layout=mkldnn: torch\.fx cannot trace mine into its parts: symbolically traced variables"
    with pytest.raises(SkippedError, match=line):
        blocked(Branching(), images())


def test_shared_inputs_stay_shared() -> None:
    value = images()
    program = blocked(Sum(), value, value)
    one, other = program.workload.inputs
    assert one is other
    torch.testing.assert_close(inferred(program), value * 2)


class Sum(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class WholeBatch(nn.Module):
    """A module that only accepts a batch of three."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, value: Tensor) -> Tensor:
        output: Tensor = self.linear(value.reshape(3, 4))
        return output


def test_a_module_that_accepts_no_smaller_batch_is_tried_on_all_of_it() -> None:
    module, value = WholeBatch(), torch.randn(3, 4)
    torch.testing.assert_close(inferred(blocked(module, value)), module(value))


def test_nested_outputs_are_dense_for_the_check() -> None:
    module, value = Several(), images()
    found = list(tensors(inferred(blocked(module, value))))
    assert not any(each.is_mkldnn for each in found)
    torch.testing.assert_close(found, list(tensors(module(value))))


class Several(nn.Module):
    """A module with nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, value: Tensor) -> dict[str, Any]:
        output = self.conv(value)
        return {"one": output, "more": [torch.relu(output), (output.flatten(1),)]}


class TestTraining:
    def test_gradients_are_those_of_dense_tensors(self) -> None:
        module, value = network(), images()
        reference = copy.deepcopy(module).train()
        loss = SumOfSquares()
        loss.backward(loss(reference(value)))
        program = blocked(module, value, training=True, objective=SumOfSquares(), mode="train")
        output = program.call()
        assert not output.is_mkldnn  # the loss takes it
        assert program.info.conversions == 1
        program.workload.objective.backward(program.workload.objective(output))
        for mine, true in zip(program.parameters, reference.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, true.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(module[1].running_mean, reference[1].running_mean)

    def test_trials_leave_statistics_weights_and_random_numbers_unchanged(self) -> None:
        module, value = network().train(), images()
        before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
        blocked(module, value, training=True, objective=SumOfSquares(), mode="train")
        after = module.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
        assert all(parameter.grad is None for parameter in module.parameters())
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_part_without_a_gradient_in_the_layout_runs_dense(self) -> None:
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Dropout(), nn.Conv2d(4, 2, 1))
        program = blocked(module, images(), training=True, objective=SumOfSquares(), mode="train")
        assert program.info.conversions == 3

    def test_a_layers_output_stays_blocked_and_so_does_its_gradient(self) -> None:
        module, value = nn.MaxPool2d(2, 2), images().requires_grad_()
        program = blocked(module, value, training=True, mode="train")
        output = program.call()
        assert output.is_mkldnn
        objective = program.workload.objective
        for _ in range(2):
            objective.backward(objective(program.call()))
        (mine,) = program.workload.inputs
        assert mine.grad is not None
        assert mine.grad.is_mkldnn
        (true,) = torch.autograd.grad(module(value).sum(), value)
        torch.testing.assert_close(mine.grad.to_dense(), true * 2)

    def test_only_fp32_trains(self) -> None:
        line = "layout=mkldnn in training supports precision=fp32 only: torch needs other weights packed"
        with pytest.raises(SkippedError, match=f"^{re.escape(line)}$"):
            blocked(network(), images(), training=True, mode="train", precision="bf16")


class TestPrecisions:
    @pytest.mark.skipif(not HAS_BF16, reason="oneDNN does not do bf16 on this CPU")
    def test_bf16_runs_in_the_layout_with_packed_weights(self) -> None:
        module, value = network(), images()
        expected = copy.deepcopy(module).eval()(value)
        program = blocked(module, value, precision="bf16")
        output = inferred(program)
        assert (output.dtype, program.info.conversions) == (torch.bfloat16, 0)
        torch.testing.assert_close(output.float(), expected, rtol=0.02, atol=0.02)

    def test_weights_of_other_precisions_are_packed_or_not_at_all(self) -> None:
        line = "layout=mkldnn with cache_weights=false supports precision=fp32 only"
        with pytest.raises(SkippedError, match=f"^{line}"):
            blocked(network(), images(), precision="bf16", cache_weights=False)

    @pytest.mark.parametrize("precision", ["amp_bf16", "amp_fp16"])
    def test_the_layout_does_not_support_autocast(self, precision: str) -> None:
        with pytest.raises(SkippedError, match=f"^layout=mkldnn does not support precision={precision}: "):
            blocked(network(), images(), precision=precision)


class TestOneDNN:
    def test_the_layout_is_skipped_if_onednn_is_switched_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        assert not mkldnn.is_usable()
        with pytest.raises(
            SkippedError, match=r"^layout=mkldnn is oneDNN's, and device\.mkldnn=false switches"
        ):
            blocked(network(), images())

    def test_the_layout_is_skipped_if_torch_was_built_without_onednn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        assert not mkldnn.is_usable()
        with pytest.raises(SkippedError, match=r"^layout=mkldnn needs a torch built with oneDNN$"):
            blocked(network(), images())

    def test_the_layout_is_skipped_on_another_device(self) -> None:
        with pytest.raises(SkippedError, match=r"^layout=mkldnn is oneDNN's layout for the CPU: use"):
            blocked(nn.Identity(), torch.empty(1, device="meta"))
