"""The names and sizes that are known without torchvision are those that torchvision itself has."""

from __future__ import annotations

import re

import pytest
from torchvision import models

from microbench.options.torchvision import CLASSES, SIZES, options_of, torchvision_models

WITHOUT_A_CROP = ("detection", "segmentation", "optical_flow")


def test_the_names_are_those_that_torchvision_registers() -> None:
    assert sorted(torchvision_models()) == models.list_models()
    assert {*SIZES, *CLASSES} <= set(torchvision_models())
    assert len(torchvision_models()) >= 121


def test_the_family_is_the_module_or_package_that_defines_a_model() -> None:
    known = torchvision_models()
    assert known["resnext50_32x4d"] == "resnet"
    assert known["vit_b_16"] == "vision_transformer"
    assert known["ssd300_vgg16"] == "detection"
    assert known["quantized_resnet18"] == "quantization"
    for name, family in known.items():
        assert models.get_model_builder(name).__module__.split(".")[2] == family


@pytest.mark.parametrize("name", models.list_models())
def test_sizes_and_classes_are_those_of_the_default_weights(name: str) -> None:
    weights = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    options = options_of(name)
    if torchvision_models()[name] not in WITHOUT_A_CROP:
        crop = weights.transforms().crop_size
        assert options["input_shape"][-2:] == [crop[0], crop[-1]]
    if categories := weights.meta.get("categories"):
        assert options.get("num_classes", 1000) == len(categories)


@pytest.mark.parametrize("name", [name for name, family in torchvision_models().items() if family == "video"])
def test_clips_have_frames_enough(name: str) -> None:
    weights = models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    frames = options_of(name)["input_shape"][1]
    assert frames >= weights.meta.get("min_temporal_size", 1)


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_a_detector_of_one_size_has_it_in_its_name(name: str) -> None:
    (size,) = re.findall(r"\d{3}", name)[:1]
    assert options_of(name)["input_shape"] == [3, int(size), int(size)]
