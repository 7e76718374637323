from __future__ import annotations

import pytest
import torch
from torch import nn

from microbench import workloads
from microbench.config import ModelConfig
from microbench.errors import SkippedError, UserError
from microbench.workloads import Workload, library
from microbench.workloads.workload import switch_on

CPU = torch.device("cpu")


def built(
    name: str, *shape: int, training: bool = False, num_classes: int = 10, **kwargs: object
) -> Workload:
    pytest.importorskip("timm")
    config = ModelConfig(
        "timm", f"timm/{name}", input_shape=list(shape), num_classes=num_classes, kwargs=kwargs
    )
    return workloads.build(config, 2, CPU, training, seed=0)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv4_conv_small"])
def test_a_model_infers_and_trains(name: str) -> None:
    workload = built(name, 3, 64, 64, training=True)
    assert workload.shape() == "2x3x64x64"
    assert workload.item == "images"
    output = workload.module(*workload.inputs)
    assert output.shape == (2, 10)
    workload.objective.backward(workload.objective(output))
    assert all(each.grad is not None for each in workload.module.parameters())


def test_the_shape_is_the_models_own_unless_one_is_given() -> None:
    assert built("resnet10t").shape() == "2x3x176x176"
    assert built("resnet10t", 1, 32, 32).shape() == "2x1x32x32"


def test_arguments_reach_the_constructor() -> None:
    counts = [
        sum(each.numel() for each in built("resnet10t", 3, 32, 32, **more).module.parameters())
        for more in ({}, {"layers": (2, 1, 1, 1)})
    ]
    assert counts[0] < counts[1]


def test_arguments_that_a_model_does_not_take_are_one_line() -> None:
    with pytest.raises(UserError, match=r"^timm/resnet10t does not take model.kwargs=\{'depth': 3\} .*depth"):
        built("resnet10t", depth=3)


def test_every_layer_counts_in_the_answer() -> None:
    """Else errors of all but the shortcuts would pass the check: timm begins residual blocks with zero."""
    workload = built("resnet10t", 3, 32, 32, training=True)
    before = workload.module(*workload.inputs)
    with torch.no_grad():
        workload.module.layer1[0].conv1.weight.mul_(-1)  # type: ignore[index,union-attr]
    assert not torch.allclose(before, workload.module(*workload.inputs), rtol=0.01)


def test_without_timm_the_case_is_skipped_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    config = ModelConfig("timm", "timm/resnet50", input_shape=[])
    with pytest.raises(SkippedError, match=r"^model=timm/resnet50 needs timm: pip install .*\[timm\]"):
        workloads.build(config, 2, CPU, False, seed=0)


def test_scales_that_are_almost_zero_become_one_and_zero_matrices_are_drawn() -> None:
    module = nn.Sequential(nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 4))
    batchnorm, layernorm, zero, other = module
    before = other.weight.detach().clone()  # type: ignore[operator,union-attr]
    nn.init.zeros_(batchnorm.weight)  # type: ignore[arg-type]
    nn.init.constant_(layernorm.weight, 1e-6)  # type: ignore[arg-type]
    nn.init.zeros_(zero.weight)  # type: ignore[arg-type]
    switch_on(module)
    assert (batchnorm.weight == 1).all()  # type: ignore[operator,union-attr]
    assert (layernorm.weight == 1).all()  # type: ignore[operator,union-attr]
    assert (batchnorm.bias == 0).all()  # type: ignore[operator,union-attr]
    assert zero.weight.any()  # type: ignore[operator]
    assert torch.equal(other.weight, before)  # type: ignore[arg-type]
