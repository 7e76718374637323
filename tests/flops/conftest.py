"""Models without memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torchvision import models

SIZES = {"inception_v3": 299}
SLOW_TO_DRAW = ("googlenet", "inception_v3")  # their initial weights take long to draw

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
        options = {"init_weights": False} if name in SLOW_TO_DRAW else {}
        with _WithoutMemory():
            module = models.get_model(name, weights=None, **options)
        size = SIZES.get(name, 224)
        return module.eval().to("meta"), torch.empty(batch_size, 3, size, size, device="meta")

    return build


@pytest.fixture
def flops_of() -> Callable[[Callable[[], object]], int]:
    """Count by torch's formulas all work that is run: two per multiplication of a product."""

    def count(run: Callable[[], object]) -> int:
        with _Formulas() as found:
            run()
        return found.flops

    return count


class _Formulas(TorchDispatchMode):
    """Counts by torch's formulas; its own counter fails if gradients are computed within a module."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=output)
        return output
