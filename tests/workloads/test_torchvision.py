from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from microbench import workloads
from microbench.config import Config, ModelConfig, PrecisionConfig
from microbench.engines import Job, Program, eager
from microbench.errors import UserError
from microbench.options.compose import from_options
from microbench.workloads import Workload
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.torchvision import build

CPU = torch.device("cpu")
CONFIG = Config(precision=PrecisionConfig("fp32"))
CONFIG.device.name = "cpu"
LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
CLASSES = torch.tensor([2, 0])


def cross_entropy(logits: Tensor, classes: Tensor) -> float:
    """Return the mean over the batch of -log softmax, number by number."""
    losses = [
        math.log(sum(math.exp(each) for each in row)) - row[chosen]
        for row, chosen in zip(logits.tolist(), classes.tolist(), strict=True)
    ]
    return sum(losses) / len(losses)


def built(name: str = "resnet18", training: bool = True, seed: int = 0, num_classes: int = 10) -> Workload:
    config = ModelConfig("torchvision", name, input_shape=[3, 32, 32], num_classes=num_classes)
    return workloads.build(config, 2, CPU, training, seed)


def eagerly(workload: Workload, training: bool) -> Program:
    return eager.prepare(Job(workload, CONFIG, training))


def test_the_loss_is_the_cross_entropy_of_the_classes() -> None:
    by_hand = (math.log(math.e + math.e**2 + math.e**3) - 3 + math.log(3)) / 2
    assert cross_entropy(LOGITS, CLASSES) == pytest.approx(by_hand)
    assert CrossEntropy(CLASSES, 0.3)(LOGITS).item() == pytest.approx(by_hand)


@pytest.mark.parametrize("count", [1, 2])
def test_auxiliary_outputs_add_their_weighted_loss(count: int) -> None:
    auxiliary = [LOGITS * (index + 2) for index in range(count)]
    expected = cross_entropy(LOGITS, CLASSES) + 0.3 * sum(cross_entropy(each, CLASSES) for each in auxiliary)
    assert CrossEntropy(CLASSES, 0.3)((LOGITS, *auxiliary)).item() == pytest.approx(expected)


def test_auxiliary_outputs_that_are_none_add_nothing() -> None:
    assert CrossEntropy(CLASSES, 0.3)((LOGITS, None)).item() == pytest.approx(cross_entropy(LOGITS, CLASSES))


def test_googlenet_trains_with_both_auxiliary_losses() -> None:
    quickly = {"model": "googlenet", "model.kwargs": {"init_weights": False}}
    (case,) = from_options(quickly, sweep=False)
    workload = workloads.build(case.config.model, 2, CPU, training=True, seed=0)
    with torch.no_grad():
        output = eagerly(workload, True).call()
        loss = workload.objective(output)
    classes = workload.objective._targets  # type: ignore[attr-defined]
    assert classes.shape == (2,)
    main, second, first = (cross_entropy(each, classes) for each in output)
    assert loss.item() == pytest.approx(main + 0.3 * (second + first), rel=1e-5)


def test_a_model_is_built_with_its_images_classes_and_mode() -> None:
    workload = built(num_classes=7)
    assert workload.name == "resnet18"
    assert workload.shape() == "2x3x32x32"
    assert workload.module.training
    assert workload.objective.is_loss
    assert workload.module(*workload.inputs).shape == (2, 7)
    assert not built(training=False).module.training


def test_every_parameter_gets_its_gradient_from_the_loss() -> None:
    workload = built()
    program = eagerly(workload, True)
    loss = workload.objective(program.call())
    workload.objective.backward(loss)
    expected = torch.autograd.grad(
        workload.objective(workload.module(*workload.inputs)), list(program.parameters)
    )
    assert loss.shape == ()
    for parameter, true in zip(program.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, true, rtol=1e-3, atol=1e-4)


def test_the_seed_decides_weights_images_and_classes() -> None:
    def drawn(seed: int) -> list[Tensor]:
        workload = built(seed=seed, num_classes=1000)
        classes: Tensor = workload.objective._targets  # type: ignore[attr-defined]
        return [workload.module.fc.weight, *workload.inputs, classes]  # type: ignore[list-item]

    same, again, another = drawn(1), drawn(1), drawn(2)
    assert all(map(torch.equal, same, again))
    assert not any(map(torch.equal, same, another))


def test_an_unknown_source_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^Unknown workload 'torchvison'\. Did you mean torchvision\?"):
        workloads.build(ModelConfig("torchvison", "x", input_shape=[1]), 1, CPU, False, 0)


def test_no_output_is_zero_for_weights_that_torchvision_leaves_at_zero() -> None:
    vit = ModelConfig("torchvision", "vit_b_16", input_shape=[3, 32, 32])
    workload = build(vit, 1, CPU, False)

    with torch.no_grad():
        assert workload.module(*workload.inputs).abs().min() > 0
