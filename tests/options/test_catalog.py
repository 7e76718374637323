from __future__ import annotations

from hydra.core.object_type import ObjectType

from microbench.options import catalog
from microbench.options.torchvision import torchvision_models


def test_families_group_the_names_and_sort_their_numbers() -> None:
    grouped = catalog.families(["resnet101", "vgg16", "resnet18", "dense", "resnet50", "vgg11_bn", "vgg11"])
    assert grouped == {"resnet": ["resnet18", "resnet50", "resnet101"], "vgg": ["vgg11", "vgg11_bn", "vgg16"]}


def source() -> catalog.TorchvisionSource:
    return catalog.TorchvisionSource("catalog", "torchvision://")


def test_hydra_finds_a_configuration_for_each_model_and_for_nothing_else() -> None:
    found = source()
    assert found.list("model", ObjectType.CONFIG) == sorted(torchvision_models())
    assert found.list("", ObjectType.GROUP) == ["model"]
    assert found.list("device", None) == []
    assert found.is_config("model/vgg16")
    assert found.is_config("model/vgg16.yaml")
    assert not found.is_config("model/vgg61")
    assert not found.is_config("vgg16")
    assert found.is_group("model")
    assert not found.is_group("device")


def test_a_models_configuration_is_its_name_and_its_input() -> None:
    config = source().load_config("model/vgg16.yaml").config
    assert config == {"source": "torchvision", "name": "vgg16", "input_shape": [3, 224, 224]}
