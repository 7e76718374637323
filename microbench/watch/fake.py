"""Fake tensors: with a shape and a type, and no memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only


def faked(mode: FakeTensorMode, values: Any) -> Any:
    """Values, however nested, with fake tensors in the place of their tensors."""
    return tree_map_only(Tensor, _faker(mode), values)


def _faker(mode: FakeTensorMode) -> Callable[[Tensor], Tensor]:
    def convert(tensor: Tensor) -> Tensor:
        return mode.from_tensor(tensor).requires_grad_(tensor.requires_grad)

    return convert
