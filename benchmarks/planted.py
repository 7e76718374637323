"""A layer whose work consists of equal parts: with 103 instead of 100 of them it is 3 % slower."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Repeat(nn.Module):
    """Multiplies its input by one matrix repeatedly.

    Args:
        times: the number of multiplications.
        size: rows and columns of the matrix, and the width of the input.
    """

    def __init__(self, times: int, size: int = 256) -> None:
        super().__init__()
        self.times = times
        self.weight = nn.Parameter(torch.eye(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, multiplied by the identity."""
        for _ in range(self.times):
            x = x @ self.weight
        return x
