from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
from fakes import FakeClock
from torch import Tensor, nn

from microbench.config import Config, PrecisionConfig
from microbench.engines import Job, eager
from microbench.measure.sampler import calibrate
from microbench.measure.timer import observe
from microbench.modes import Trial, find, infer, is_finite
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient

CALL = 0.25
CONFIG = Config(precision=PrecisionConfig("fp32"))
CONFIG.device.name = "cpu"


class Recorder(nn.Module):
    """Takes time on the clock, and records torch's and its own state in each call."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.weight = nn.Parameter(torch.ones(2))
        self.calls: list[dict[str, bool]] = []

    def forward(self, value: Tensor) -> Tensor:
        self.clock.advance(CALL)
        output = value * self.weight
        self.calls.append(
            {
                "training": self.training,
                "inference_mode": torch.is_inference_mode_enabled(),
                "grad": torch.is_grad_enabled(),
                "differentiable": output.requires_grad,
            }
        )
        return output


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@contextmanager
def trial_of(module: nn.Module, value: Tensor, grad: bool = False) -> Iterator[Trial]:
    workload, config = Workload("toy", module, (value,), OnesGradient()), deepcopy(CONFIG)
    config.mode.grad = grad
    with infer.Mode().experiment(eager.prepare(Job(workload, config, False)), config) as trial:
        yield trial


def test_inference_is_the_time_of_the_call(clock: FakeClock) -> None:
    with trial_of(Recorder(clock), torch.ones(2)) as trial:
        assert observe(trial.experiment, clock) == {"inference": CALL}


def test_inference_runs_in_eval_mode_under_inference_mode_without_gradients(clock: FakeClock) -> None:
    module = Recorder(clock).train()
    with trial_of(module, torch.ones(2)) as trial:
        trial.experiment.step(clock.mark, 1)
        trial.experiment.step(clock.mark, 3)
        assert trial.finite()
    state = {"training": False, "inference_mode": True, "grad": False, "differentiable": False}
    assert module.calls == [state] * 5
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("outside", [True, False])
def test_with_autograd_on_the_output_can_be_differentiated(clock: FakeClock, outside: bool) -> None:
    module = Recorder(clock).train()
    with torch.set_grad_enabled(outside):
        with trial_of(module, torch.ones(2), grad=True) as trial:
            trial.experiment.step(clock.mark, 2)
        assert torch.is_grad_enabled() is outside
    state = {"training": False, "inference_mode": False, "grad": True, "differentiable": True}
    assert module.calls == [state] * 2


def test_merged_calls_all_run_and_the_time_is_divided_by_them(clock: FakeClock) -> None:
    module = Recorder(clock)
    with trial_of(module, torch.ones(2)) as trial:
        assert observe(trial.experiment, clock, calls=8) == {"inference": CALL}
    assert len(module.calls) == 8
    assert clock.now() == 8 * CALL


def test_short_calls_are_merged(clock: FakeClock) -> None:
    with trial_of(Recorder(clock), torch.ones(2)) as trial:
        assert calibrate(trial.experiment, typical=CALL, min_sample=1.0) == 4


def test_a_nan_or_an_infinity_in_the_output_is_detected(clock: FakeClock) -> None:
    value = torch.ones(2)
    with trial_of(Recorder(clock), value) as trial:
        assert trial.finite()
        value[1] = torch.inf
        assert not trial.finite()


def test_the_mode_infer_does_not_train() -> None:
    assert isinstance(find("infer"), infer.Mode)
    assert not infer.Mode.TRAINING


NAN = torch.tensor([1.0, torch.nan])


@pytest.mark.parametrize(
    ("output", "finite"),
    [
        (torch.ones(2), True),
        (NAN, False),
        (torch.tensor(-torch.inf), False),
        (torch.tensor([1, 2]), True),  # integers always are finite
        (torch.ones(2, dtype=torch.bfloat16), True),
        ((torch.ones(2), (torch.ones(2), NAN)), False),
        ([torch.ones(2), {"aux": NAN}], False),
        ({"out": torch.ones(2)}, True),
        (None, True),
        ((torch.ones(2), None), True),
    ],
)
def test_is_finite_searches_nested_outputs(output: Any, finite: bool) -> None:
    assert is_finite(output) is finite
