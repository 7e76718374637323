from __future__ import annotations

import torchvision.models
from hydra.core.object_type import ObjectType

from microbench.options import catalog


def test_the_names_are_those_torchvision_registers_as_classifiers() -> None:
    registered = torchvision.models.list_models(module=torchvision.models)
    assert set(catalog.torchvision_models()) == set(registered)
    assert len(registered) >= 80


def test_the_family_is_the_module_that_defines_a_model() -> None:
    known = catalog.torchvision_models()
    assert known["resnext50_32x4d"] == "resnet"
    assert known["vit_b_16"] == "vision_transformer"
    for name, family in known.items():
        builder = torchvision.models.get_model_builder(name)
        assert builder.__module__ == f"torchvision.models.{family}"


def test_families_group_the_names_and_sort_their_numbers() -> None:
    grouped = catalog.families(["resnet101", "vgg16", "resnet18", "dense", "resnet50", "vgg11_bn", "vgg11"])
    assert grouped == {"resnet": ["resnet18", "resnet50", "resnet101"], "vgg": ["vgg11", "vgg11_bn", "vgg16"]}


def source() -> catalog.TorchvisionSource:
    return catalog.TorchvisionSource("catalog", "torchvision://")


def test_hydra_finds_a_configuration_for_each_model_and_for_nothing_else() -> None:
    found = source()
    assert found.list("model", ObjectType.CONFIG) == sorted(catalog.torchvision_models())
    assert found.list("", ObjectType.GROUP) == ["model"]
    assert found.list("device", None) == []
    assert found.is_config("model/vgg16")
    assert found.is_config("model/vgg16.yaml")
    assert not found.is_config("model/vgg61")
    assert not found.is_config("vgg16")
    assert found.is_group("model")
    assert not found.is_group("device")


def test_a_models_configuration_is_its_name_and_the_usual_image() -> None:
    config = source().load_config("model/vgg16.yaml").config
    assert config == {"source": "torchvision", "name": "vgg16", "input_shape": [3, 224, 224]}
