"""Products, compared with torch's own counter, which counts two operations per multiplication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from microbench.flops import Counts
from microbench.profile.calls import Call
from microbench.profile.trace import trace

pytestmark = pytest.mark.long


def total(root: Call) -> Counts:
    return sum((call.counts for call, _ in root.walk() if not call.inner), Counts())


@pytest.fixture
def _without_fused_layers() -> Any:
    # torch's counter has no formula for the kernel that runs nn.MultiheadAttention in eval.
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.usefixtures("_without_fused_layers")
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_products_of_every_classifier_are_those_of_torchs_counter(
    name: str, classifier: Callable[..., Any]
) -> None:
    model, image = classifier(name)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counts = total(trace(model, lambda: model(image)))
    assert 2 * counts.products == counter.get_total_flops()
    assert counts.unknown == 0


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32"])
def test_fused_layers_have_the_counts_of_their_parts(name: str, classifier: Callable[..., Any]) -> None:
    model, image = classifier(name)
    with torch.no_grad():
        fused = total(trace(model, lambda: model(image)))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            parts = total(trace(model, lambda: model(image)))
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert fused == parts


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "swin_t", "densenet121"])
def test_products_of_training_are_those_of_torchs_counter(name: str, classifier: Callable[..., Any]) -> None:
    root, forward, backward = trained(classifier, name)
    assert 2 * total(root).products == forward
    assert 2 * total(root).backward_products == backward
    assert total(root).unknown == 0


@pytest.mark.parametrize("name", ["mobilenet_v2", "convnext_tiny"])
def test_torchs_counter_counts_weight_gradients_of_grouped_convolutions_as_dense(
    name: str, classifier: Callable[..., Any]
) -> None:
    root, forward, backward = trained(classifier, name)
    surplus = sum(
        call.counts.products * (call.module.groups - 1)
        for call, _ in root.walk()
        if isinstance(call.module, torch.nn.Conv2d)
    )
    assert surplus > 0
    assert 2 * total(root).products == forward
    assert 2 * (total(root).backward_products + surplus) == backward


def test_torchs_counter_counts_scores_that_a_fused_backward_recomputes() -> None:
    query, key, value = (torch.rand(2, 4, length, 16, requires_grad=True) for length in (5, 7, 7))
    attend = Attention()
    with FlopCounterMode(display=False) as counter:
        outputs: list[torch.Tensor] = []
        root = trace(attend, lambda: outputs.append(attend(query, key, value)))
        forward = counter.get_total_flops()
        outputs[0].sum().backward()
    if forward == 0:
        pytest.skip("this torch's counter has no rule for the fused attention of the CPU")
    backward = counter.get_total_flops() - forward
    scores = 2 * 4 * 5 * 7 * 16
    assert 2 * total(root).products == forward == 2 * 2 * scores
    assert 2 * (total(root).backward_products + scores) == backward


class Attention(torch.nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, value)


def trained(classifier: Callable[..., Any], name: str) -> tuple[Call, int, int]:
    model, image = classifier(name, batch_size=2)
    outputs: list[torch.Tensor] = []
    with FlopCounterMode(display=False) as counter:
        root = trace(model.train(), lambda: outputs.append(model(image)))
        forward = counter.get_total_flops()
        outputs[0].sum().backward()
    return root, forward, counter.get_total_flops() - forward
