from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import workloads
from microbench.config import Config, ModelConfig, PrecisionConfig
from microbench.engines import Job, Program, eager
from microbench.errors import SkippedError, UserError
from microbench.options.compose import from_options
from microbench.workloads import Workload
from microbench.workloads.objectives import CrossEntropy
from microbench.workloads.parts.deferred import Deferred
from microbench.workloads.torchvision import build
from microbench.workloads.torchvision.detection import comparable, target
from microbench.workloads.torchvision.optical_flow import SequenceLoss

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


def of(name: str, shape: list[int], training: bool, batch_size: int = 2) -> Workload:
    (case,) = from_options({"model": name, "model.input_shape": shape}, sweep=False)
    return workloads.build(case.config.model, batch_size, CPU, training, seed=0)


def test_segmentation_trains_on_pixels_with_its_auxiliary_classifier() -> None:
    workload = of("fcn_resnet50", [3, 32, 40], training=True)
    with torch.no_grad():
        output = workload.module(*workload.inputs)
        loss = workload.objective(output)
    assert output["out"].shape == output["aux"].shape == (2, 21, 32, 40)
    pixels: Tensor = workload.objective._targets  # type: ignore[attr-defined]
    main, auxiliary = (nn.functional.cross_entropy(output[name], pixels) for name in ("out", "aux"))
    assert loss.item() == pytest.approx((main + 0.5 * auxiliary).item())


def test_a_clip_has_five_dimensions_and_counts_as_a_clip() -> None:
    workload = of("mc3_18", [3, 4, 32, 32], training=False, batch_size=1)
    assert (workload.shape(), workload.item) == ("1x3x4x32x32", "clips")
    with torch.inference_mode():
        assert workload.module(*workload.inputs).shape == (1, 400)


def test_the_sequence_loss_counts_later_estimates_more() -> None:
    flow = torch.zeros(1, 2, 3, 3)
    loss = SequenceLoss(flow)([flow + 5, flow + 2, flow - 1])
    assert loss.item() == pytest.approx(0.64 * 5 + 0.8 * 2 + 1)


def test_a_model_of_flow_takes_two_images() -> None:
    workload = of("raft_small", [3, 128, 128], training=False, batch_size=1)
    assert workload.shape() == "1x3x128x128, 1x3x128x128"
    assert not torch.equal(*workload.inputs)


def test_a_quantized_model_only_infers_and_holds_no_floating_point_convolution() -> None:
    with pytest.raises(SkippedError, match=r"only infers: use mode=infer, or model=resnet18 to train"):
        of("quantized_resnet18", [3, 32, 32], training=True)
    if not set(torch.backends.quantized.supported_engines) - {"none"}:
        pytest.skip("this torch has no kernels for quantized models")
    workload = of("quantized_resnet18", [3, 32, 32], training=False)
    assert not any(isinstance(each, nn.Conv2d) for each in workload.module.modules())
    with torch.inference_mode():
        output = workload.module(*workload.inputs)
    assert output.shape == (2, 1000)
    assert len(output.unique()) > 100


def test_activations_of_an_untrained_model_neither_vanish_nor_explode() -> None:
    for name in ("mobilenet_v3_small", "densenet121"):
        workload = of(name, [3, 32, 32], training=False)
        with torch.inference_mode():
            one, other = workload.module(*workload.inputs)
        assert 1e-3 < one.std() < 1e3
        assert (one - other).abs().max() > 0.05 * one.abs().max()


@pytest.mark.parametrize(
    ("name", "found"),
    [("ssdlite320_mobilenet_v3_large", 300), ("fasterrcnn_mobilenet_v3_large_320_fpn", 100)],
)
def test_a_detector_finds_as_many_boxes_as_it_may(name: str, found: int) -> None:
    workload = of(name, [3, 128, 160], training=False)
    assert workload.shape() == "3x128x160, 3x128x160"
    assert workload.items == 2
    with torch.inference_mode():
        detections = workload.module(*workload.inputs)
    assert [len(each["boxes"]) for each in detections] == [found, found]
    assert all(len(each["labels"].unique()) > 1 for each in detections)


def test_a_detector_whose_weights_are_drawn_later_finds_them_too() -> None:
    with Deferred() as weights:
        workload = of("fasterrcnn_mobilenet_v3_large_320_fpn", [3, 128, 160], training=False, batch_size=1)
    weights.fill(workload.module)
    with torch.inference_mode():
        (detections,) = workload.module(*workload.inputs)
    assert len(detections["boxes"]) == 100


def test_what_is_compared_of_detections_does_not_depend_on_their_order() -> None:
    one = {"boxes": torch.rand(5, 4), "labels": torch.arange(5), "masks": torch.rand(5, 1, 6, 6)}
    order = torch.tensor([3, 0, 4, 1, 2])
    other = {name: each[order] for name, each in one.items()}
    found, again = comparable([one]), comparable([other])
    assert [tuple(each.shape) for each in found] == [(5, 4), (5,)]
    assert all(map(torch.equal, found, again))


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "ssd300_vgg16"])
def test_the_targets_of_a_detector_lie_within_the_image(name: str) -> None:
    (case,) = from_options({"model": name, "model.input_shape": [3, 48, 96]}, sweep=False)
    drawn = target(case.config.model)
    left, top, right, bottom = drawn["boxes"].unbind(1)
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= 96).all()
    assert (bottom <= 48).all()
    assert (right - left >= 0.2 * 96 - 1e-3).all()
    assert drawn["labels"].min() >= 1
    assert ("masks" in drawn) == (name == "maskrcnn_resnet50_fpn")
    assert ("keypoints" in drawn) == (name == "keypointrcnn_resnet50_fpn")


def test_a_detector_trains_on_the_sum_of_its_losses() -> None:
    workload = of("ssdlite320_mobilenet_v3_large", [3, 64, 64], training=True)
    losses = workload.module(*workload.inputs)
    loss = workload.objective(losses)
    assert loss.item() == pytest.approx(sum(each.item() for each in losses.values()))
    workload.objective.backward(loss)
    assert any(each.grad is not None for each in workload.module.parameters())


def test_a_quantized_model_has_no_more_to_draw() -> None:
    with Deferred() as weights:
        workload = of("quantized_shufflenet_v2_x0_5", [3, 64, 64], training=False)
    weights.fill(workload.module)
    assert workload.module(*workload.inputs).shape == (2, 1000)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("resnet18", {"args": [1]}, "model.args is for layers, and resnet18 has inputs of its own: leave it"),
        ("resnet18", {"input_grad": True}, "model.input_grad is for layers, and resnet18 has inputs"),
        ("raft_small", {"num_classes": 3}, "model.num_classes is for classifiers, and optical flow has no"),
    ],
)
def test_an_option_without_an_effect_is_refused(name: str, given: dict[str, Any], told: str) -> None:
    config = replace(ModelConfig("torchvision", name, input_shape=[3, 128, 128]), **given)
    with pytest.raises(UserError) as caught:
        workloads.build(config, 2, CPU, False, seed=0)
    assert str(caught.value).startswith(told)
