from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from microbench.errors import SkippedError

from .support import SumOfSquares, inferred, prepared

CHANNELS_LAST = torch.channels_last


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))


@pytest.mark.parametrize("training", [False, True])
def test_images_and_kernels_have_their_channels_last_and_compute_the_same(training: bool) -> None:
    module, images = network(), torch.randn(2, 3, 6, 6)
    expected = copy.deepcopy(module).train(training)(images)
    program = prepared(module, images, training=training, objective=SumOfSquares(), layout="channels_last")
    (mine,) = program.workload.inputs
    assert mine.is_contiguous(memory_format=CHANNELS_LAST)
    assert not mine.is_contiguous()
    assert program.workload.module[0].weight.is_contiguous(memory_format=CHANNELS_LAST)  # type: ignore[index]
    torch.testing.assert_close(program.call(), expected, rtol=1e-4, atol=1e-5)
    assert program.info.conversions is None


def test_gradients_are_those_of_contiguous_tensors() -> None:
    module, images = network().train(), torch.randn(2, 3, 6, 6)
    reference, loss = copy.deepcopy(module), SumOfSquares()
    loss.backward(loss(reference(images)))
    program = prepared(module, images, training=True, objective=loss, layout="channels_last")
    loss.backward(loss(program.call()))
    for mine, true in zip(program.parameters, reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, true.grad, rtol=1e-3, atol=1e-4)


def test_other_inputs_are_unchanged_and_shared_inputs_stay_shared() -> None:
    images, vector = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3)
    program = prepared(nn.Identity(), images, images, vector, layout="channels_last")
    one, other, last = program.workload.inputs
    assert one is other
    assert one.requires_grad
    assert last is vector


def test_a_workload_without_images_is_skipped() -> None:
    line = (
        r"^layout=channels_last is for inputs of \(batch, channels, height, width\): this one has shape 2x3"
    )
    with pytest.raises(SkippedError, match=line):
        prepared(nn.Linear(3, 2), torch.randn(2, 3), layout="channels_last")


def test_contiguous_tensors_are_left_alone() -> None:
    module, images = network(), torch.randn(2, 3, 6, 6)
    program = prepared(module, images)
    assert program.workload.module is module
    assert program.workload.inputs == (images,)
    assert inferred(program).shape == (2, 2)
