"""Models without memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision import models

SIZES = {"inception_v3": 299}
DRAWN_ANEW = ("googlenet", "inception_v3")  # their initial weights take long to draw

WithInput = tuple[nn.Module, Tensor]


class _WithoutMemory(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@pytest.fixture
def classifier() -> Callable[..., WithInput]:
    def build(name: str, batch_size: int = 1) -> WithInput:
        options = {"init_weights": False} if name in DRAWN_ANEW else {}
        with _WithoutMemory():
            module = models.get_model(name, weights=None, **options)
        size = SIZES.get(name, 224)
        return module.eval().to("meta"), torch.empty(batch_size, 3, size, size, device="meta")

    return build
