from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from fakes import FakeClock
from torch import Tensor, nn

from microbench.config import Config, OptimizerConfig, PrecisionConfig
from microbench.engines import Job, Program, eager
from microbench.errors import UserError
from microbench.measure.experiment import Experiment
from microbench.measure.sampler import calibrate
from microbench.measure.timer import observe
from microbench.modes import Trial, find, train
from microbench.options.compose import from_options
from microbench.workloads import Objective, Workload
from microbench.workloads.objectives import OnesGradient

# Powers of two, so that each sum of some of them is unique.
FORWARD, LOSS, BACKWARD, STEP, ZERO_GRAD = 1.0, 2.0, 4.0, 8.0, 16.0
SGD = OptimizerConfig(name="sgd", cls="SGD", lr=0.5, kwargs={})
CONFIG = Config(precision=PrecisionConfig("fp32"), optimizer=SGD)
CONFIG.device.name = "cpu"


class TickingClock(FakeClock):
    """A fake clock on which setting a mark can take time too."""

    tick = 0.0

    def mark(self) -> float:
        self.advance(self.tick)
        return self.now()


class _SlowBackward(torch.autograd.Function):
    """The identity, whose backward pass takes time."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, clock: FakeClock) -> Tensor:
        ctx.clock = clock
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.clock.advance(BACKWARD)
        return gradient, None


class Toy(nn.Module):
    """Scales its input by a weight, if it has one; forward and backward take time on the clock."""

    def __init__(self, clock: FakeClock, weight: bool = True) -> None:
        super().__init__()
        self.clock = clock
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0])) if weight else None

    def forward(self, value: Tensor) -> Tensor:
        self.clock.advance(FORWARD)
        scaled = value if self.weight is None else value * self.weight
        output: Tensor = _SlowBackward.apply(scaled, self.clock)
        return output


class SlowLoss:
    """A sum that takes time to compute."""

    is_loss = True

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def __call__(self, output: Tensor) -> Tensor:
        self.clock.advance(LOSS)
        return output.sum()

    def backward(self, root: Tensor) -> None:
        root.backward()


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def gradients(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Let torch's SGD take time on the clock, and return the gradients of each of its steps."""
    found: list[list[Tensor]] = []

    class SlowSGD(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            clock.advance(STEP)
            found.append([p.grad.clone() for p in self.param_groups[0]["params"] if p.grad is not None])
            super().step(closure)

        def zero_grad(self, set_to_none: bool = True) -> None:
            clock.advance(ZERO_GRAD)
            super().zero_grad(set_to_none)

    monkeypatch.setattr(torch.optim, "SGD", SlowSGD)
    return found


@contextmanager
def trial_of(
    module: nn.Module, objective: Objective, input_grad: bool = False
) -> Iterator[tuple[Trial, Tensor]]:
    """Yield the trial of training a module eagerly, with its input."""
    value = torch.tensor([3.0, 5.0], requires_grad=input_grad)
    workload = Workload("toy", module, (value,), objective)
    with train.Mode().experiment(eager.prepare(Job(workload, CONFIG, True)), CONFIG) as trial:
        yield trial, value


@pytest.mark.usefixtures("gradients")
def test_each_phase_of_a_model_is_timed_separately(clock: FakeClock) -> None:
    with trial_of(Toy(clock), SlowLoss(clock)) as (trial, _):
        assert observe(trial.experiment, clock) == {
            "forward": FORWARD,
            "loss": LOSS,
            "backward": BACKWARD,
            "update": STEP + ZERO_GRAD,
            "total": FORWARD + LOSS + BACKWARD + STEP + ZERO_GRAD,
        }


@pytest.mark.usefixtures("gradients")
def test_a_layer_has_no_loss_phase(clock: FakeClock) -> None:
    with trial_of(Toy(clock), OnesGradient()) as (trial, _):
        assert observe(trial.experiment, clock) == {
            "forward": FORWARD,
            "backward": BACKWARD,
            "update": STEP + ZERO_GRAD,
            "total": FORWARD + BACKWARD + STEP + ZERO_GRAD,
        }


def test_a_module_without_parameters_has_no_update_phase(clock: FakeClock) -> None:
    with trial_of(Toy(clock, weight=False), OnesGradient(), input_grad=True) as (trial, _):
        assert observe(trial.experiment, clock) == {
            "forward": FORWARD,
            "backward": BACKWARD,
            "total": FORWARD + BACKWARD,
        }


@pytest.mark.usefixtures("gradients")
def test_total_is_read_on_one_clock_from_forward_to_update(clock: TickingClock) -> None:
    clock.tick = 1.0
    with trial_of(Toy(clock), SlowLoss(clock)) as (trial, _):
        times = observe(trial.experiment, clock)
    # Each of the four phases includes the mark at its end, and the total includes all four.
    assert times["forward"] == FORWARD + 1
    assert times["update"] == STEP + ZERO_GRAD + 1
    assert times["total"] == FORWARD + LOSS + BACKWARD + STEP + ZERO_GRAD + 4


def test_total_ends_with_backward_if_nothing_is_updated(clock: TickingClock) -> None:
    clock.tick = 1.0
    with trial_of(Toy(clock, weight=False), OnesGradient(), input_grad=True) as (trial, _):
        assert observe(trial.experiment, clock)["total"] == FORWARD + BACKWARD + 2


@pytest.mark.usefixtures("gradients")
def test_total_is_measured_and_not_the_sum_of_phases(clock: FakeClock) -> None:
    with trial_of(Toy(clock), SlowLoss(clock)) as (trial, _):
        first, last = trial.experiment.phases["total"]
        gap = 64.0

        def with_a_gap(mark: Callable[[], float], calls: int) -> list[float]:
            marks = list(trial.experiment.step(mark, calls))
            return [marks[0], *(each + gap for each in marks[1:])]

        gapped = Experiment(with_a_gap, trial.experiment.phases, ("total",), "total")
        assert (first, last) == (0, 4)
        assert observe(gapped, clock)["total"] == gap + FORWARD + LOSS + BACKWARD + STEP + ZERO_GRAD


FREE = 32.0


class Output(dict[str, Tensor]):
    """An output that takes time to be freed."""

    def __init__(self, clock: FakeClock, value: Tensor) -> None:
        super().__init__(value=value)
        self.clock = clock

    def __del__(self) -> None:
        self.clock.advance(FREE)


class Wrapped(Toy):
    """The toy module with such an output."""

    def forward(self, value: Tensor) -> Any:
        return Output(self.clock, super().forward(value))


class LossOfWrapped(SlowLoss):
    """The sum of such an output."""

    def __call__(self, output: Any) -> Tensor:
        return super().__call__(output["value"])


@pytest.mark.usefixtures("gradients")
@pytest.mark.parametrize("is_loss", [True, False])
def test_an_output_outlives_its_step_and_is_freed_by_the_next_forward(
    is_loss: bool, clock: FakeClock
) -> None:
    objective = LossOfWrapped(clock) if is_loss else OnesGradient()
    with trial_of(Wrapped(clock), objective) as (trial, _):
        first, second, third = (observe(trial.experiment, clock) for _ in range(3))
    assert first["forward"] == FORWARD
    assert first["total"] == FORWARD + LOSS * is_loss + BACKWARD + STEP + ZERO_GRAD
    assert second["forward"] == third["forward"] == FORWARD + FREE
    assert second["total"] == third["total"] == first["total"] + FREE
    for phase in {"loss", "backward", "update"} & first.keys():
        assert second[phase] == third[phase] == first[phase]


@pytest.mark.usefixtures("gradients")
def test_a_loss_outlives_its_step(clock: FakeClock) -> None:
    losses: list[weakref.ref[Tensor]] = []

    class Watched(SlowLoss):
        def __call__(self, output: Tensor) -> Tensor:
            loss = super().__call__(output)
            losses.append(weakref.ref(loss))
            return loss

    with trial_of(Toy(clock), Watched(clock)) as (trial, _):
        for step in range(3):
            trial.experiment.step(clock.mark, 1)
            assert [loss() is not None for loss in losses] == [False] * step + [True]


def test_gradients_including_the_inputs_are_dropped_after_each_step(
    clock: FakeClock, gradients: list[list[Tensor]]
) -> None:
    toy = Toy(clock)
    with trial_of(toy, SlowLoss(clock), input_grad=True) as (trial, value):
        for step in (1, 2):
            trial.experiment.step(clock.mark, 1)
            assert toy.weight is not None
            assert toy.weight.grad is None
            assert value.grad is None
            assert len(gradients) == step
    # d sum(x * w) / d w is x, in the second step as in the first: gradients are not accumulated.
    assert [[gradient.tolist() for gradient in step] for step in gradients] == [[[3.0, 5.0]], [[3.0, 5.0]]]


def test_input_gradients_are_dropped_without_parameters(clock: FakeClock) -> None:
    with trial_of(Toy(clock, weight=False), OnesGradient(), input_grad=True) as (trial, value):
        trial.experiment.step(clock.mark, 1)
        assert value.grad is None


@pytest.mark.usefixtures("gradients")
def test_the_update_is_the_optimizers_step(clock: FakeClock) -> None:
    toy = Toy(clock)
    with trial_of(toy, SlowLoss(clock)) as (trial, _):
        trial.experiment.step(clock.mark, 1)
    assert toy.weight is not None
    assert toy.weight.tolist() == [1.0 - 0.5 * 3.0, 2.0 - 0.5 * 5.0]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimizer_of_the_options_changes_the_weights(name: str) -> None:
    config = from_options({"model": "dense", "optimizer": name}, sweep=False)[0].config.optimizer
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    for call in train.make_update(config, [weight], []):
        call()
    # At 1e-6, all three change the weight by about the rate: SGD by a gradient of one, Adam by its sign.
    assert (1 - weight).tolist() == pytest.approx([1e-6, 1e-6], rel=0.1)
    assert weight.grad is None


@pytest.mark.usefixtures("gradients")
def test_training_runs_in_train_mode_with_gradients_regardless_of_the_context(clock: FakeClock) -> None:
    toy = Toy(clock).eval()
    with torch.no_grad():
        with trial_of(toy, SlowLoss(clock)) as (trial, _):
            assert toy.training
            assert torch.is_grad_enabled()
            trial.experiment.step(clock.mark, 1)
        assert not torch.is_grad_enabled()


@pytest.mark.usefixtures("gradients")
def test_training_steps_are_never_merged(clock: FakeClock) -> None:
    with trial_of(Toy(clock), SlowLoss(clock)) as (trial, _):
        assert calibrate(trial.experiment, typical=1e-9, min_sample=1.0) == 1


@pytest.mark.usefixtures("gradients")
def test_the_stopping_rule_watches_forward_backward_and_total(clock: FakeClock) -> None:
    with trial_of(Toy(clock), SlowLoss(clock)) as (trial, _):
        assert trial.experiment.main == ("forward", "backward", "total")
        assert trial.experiment.whole == "total"


@pytest.mark.parametrize("where", ["input", "loss"])
def test_a_nan_in_the_output_or_the_loss_is_detected(where: str, clock: FakeClock) -> None:
    toy = Toy(clock)

    class NaNLoss(SlowLoss):
        def __call__(self, output: Tensor) -> Tensor:
            return output.sum() * torch.nan

    objective = NaNLoss(clock) if where == "loss" else OnesGradient()
    with trial_of(toy, objective) as (trial, value):
        if where == "input":
            assert trial.finite()
            value[0] = torch.nan
        assert not trial.finite()


class TestScaledLoss:
    """Under autocast to float16 the loss is scaled, and the gradients are unscaled before the update."""

    @pytest.fixture
    def scaled(
        self, clock: FakeClock, gradients: list[list[Tensor]], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[Trial, Toy]]:
        precision = PrecisionConfig("amp_fp16", autocast="float16")
        monkeypatch.setattr(sys.modules[__name__], "CONFIG", replace(CONFIG, precision=precision))
        toy = Toy(clock)
        with trial_of(toy, SlowLoss(clock)) as (trial, _):
            yield trial, toy

    def test_the_update_is_that_of_the_unscaled_gradient(
        self, scaled: tuple[Trial, Toy], clock: FakeClock, gradients: list[list[Tensor]]
    ) -> None:
        trial, toy = scaled
        trial.experiment.step(clock.mark, 1)
        assert toy.weight is not None
        assert [gradient.tolist() for gradient in gradients[0]] == [[3.0, 5.0]]
        assert toy.weight.tolist() == [1.0 - 0.5 * 3.0, 2.0 - 0.5 * 5.0]
        assert toy.weight.grad is None

    def test_backward_starts_from_the_scaled_loss(self, scaled: tuple[Trial, Toy], clock: FakeClock) -> None:
        trial, toy = scaled
        found: list[Tensor] = []
        assert toy.weight is not None
        toy.weight.register_hook(found.append)
        trial.experiment.step(clock.mark, 1)
        (gradient,) = found
        scale = gradient[0].item() / 3.0
        assert scale >= 1024
        assert gradient.tolist() == [3.0 * scale, 5.0 * scale]

    def test_a_step_whose_gradients_overflow_updates_nothing_and_the_next_is_scaled_less(
        self, scaled: tuple[Trial, Toy], clock: FakeClock, gradients: list[list[Tensor]]
    ) -> None:
        trial, toy = scaled
        assert toy.weight is not None
        found: list[Tensor] = []
        handle = toy.weight.register_hook(lambda gradient: gradient * torch.inf)
        trial.experiment.step(clock.mark, 1)
        handle.remove()
        assert toy.weight.tolist() == [1.0, 2.0]
        assert gradients == []
        toy.weight.register_hook(found.append)
        trial.experiment.step(clock.mark, 1)
        assert found[0][0].item() == 3.0 * 32768  # half of the 65536 that torch begins with
        assert len(gradients) == 1

    def test_scaling_the_loss_is_part_of_backward_and_unscaling_part_of_update(
        self, scaled: tuple[Trial, Toy], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trial, _ = scaled
        for name, seconds in (("scale", 64.0), ("unscale_", 128.0), ("update", 256.0)):
            monkeypatch.setattr(torch.amp.GradScaler, name, slowed(name, clock, seconds))
        times = observe(trial.experiment, clock)
        assert times["backward"] == BACKWARD + 64
        assert times["update"] == STEP + ZERO_GRAD + 128 + 256


def slowed(name: str, clock: FakeClock, seconds: float) -> Any:
    """Return a method of torch's scaler that takes time."""
    method = getattr(torch.amp.GradScaler, name)

    def call(self: torch.amp.GradScaler, *arguments: Any) -> Any:
        clock.advance(seconds)
        return method(self, *arguments)

    return call


def test_the_mode_train_trains() -> None:
    assert isinstance(find("train"), train.Mode)
    assert train.Mode.TRAINING


def test_a_program_without_the_modules_parameters_updates_none(clock: FakeClock) -> None:
    toy = Toy(clock)
    value = torch.ones(2)
    workload = Workload("toy", toy, (value,), OnesGradient())
    program = Program(workload, lambda: toy(value))
    with train.Mode().experiment(program, CONFIG) as trial:
        assert "update" not in trial.experiment.phases


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        (OptimizerConfig("x", "Adamm", 0.1), "Unknown optimizer.cls 'Adamm'. Did you mean Adam"),
        (
            OptimizerConfig("x", "SGD", 0.1, {"betas": 1}),
            "SGD does not take optimizer.lr=0.1 optimizer.kwargs=",
        ),
        (OptimizerConfig("x", "SGD", -0.1), "SGD does not take optimizer.lr=-0.1 optimizer.kwargs={}: "),
    ],
)
def test_an_optimizer_that_cannot_be_created_is_a_user_error(optimizer: OptimizerConfig, line: str) -> None:
    with pytest.raises(UserError) as caught:
        train.make_update(optimizer, [nn.Parameter(torch.ones(2))], [])
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
