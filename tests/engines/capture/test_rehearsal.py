from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from microbench.engines.capture.rehearsal import rehearse
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient


class Net(nn.Module):
    """Batch normalization and dropout; notes the state in which each call finds torch."""

    def __init__(self) -> None:
        super().__init__()
        self.normalization = nn.BatchNorm1d(3)
        self.dropout = nn.Dropout(0.5)
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, value: Tensor) -> Tensor:
        self.calls.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        output: Tensor = self.dropout(self.normalization(value))
        return output


def workload_of(training: bool) -> Workload:
    torch.manual_seed(0)
    inputs = (torch.randn(4, 3, requires_grad=training),)
    return Workload("tiny", Net().train(training), inputs, OnesGradient())


@pytest.mark.parametrize("training", [True, False])
def test_a_rehearsal_calls_as_the_mode_does(training: bool) -> None:
    workload = workload_of(training)
    rehearse(lambda: workload.module(*workload.inputs), workload, training, times=2)
    assert workload.module.calls == [(training, not training)] * 2


def test_a_rehearsal_of_training_computes_gradients_and_drops_them() -> None:
    workload = workload_of(training=True)
    seen: list[Tensor] = []
    workload.inputs[0].register_hook(seen.append)
    rehearse(lambda: workload.module(*workload.inputs), workload, training=True)
    assert len(seen) == 1
    assert all(tensor.grad is None for tensor in (*workload.module.parameters(), *workload.inputs))


def test_a_rehearsal_leaves_buffers_and_random_numbers_as_they_were() -> None:
    workload = workload_of(training=True)
    buffers = dict(workload.module.named_buffers())
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    state = torch.get_rng_state()
    rehearse(lambda: workload.module(*workload.inputs), workload, training=True)
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in workload.module.named_buffers():
        assert buffer is buffers[name]
        assert torch.equal(buffer, before[name])


def test_a_rehearsal_that_fails_leaves_them_too() -> None:
    workload = workload_of(training=True)
    state = torch.get_rng_state()

    def call() -> Tensor:
        workload.module(*workload.inputs)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        rehearse(call, workload, training=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert workload.module.normalization.num_batches_tracked == 0
