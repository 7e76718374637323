"""Modules that people have: any arguments, any output, and whatever else a class may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microbench.workloads.given import Given


@dataclass
class Batch:
    ids: Tensor
    mask: Tensor
    scale: float


class Tagger(nn.Module):
    """Tied weights, a buffer, a hook and functions without a name; a dataclass in, a dictionary out."""

    def __init__(self, words: int = 10) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 4)
        self.inner = nn.Linear(4, 4)
        self.output = nn.Linear(4, words)
        self.output.weight = self.embedding.weight
        self.register_buffer("offset", torch.ones(4))
        self.activation = lambda value: value.relu()
        self.inner.register_forward_hook(lambda module, args, output: output * 2)

    def forward(self, batch: Batch, shifted: bool = False) -> dict[str, Any]:
        found = self.embedding(batch.ids) * batch.mask.unsqueeze(-1) * batch.scale
        found = self.activation(self.inner(found)) + (self.offset if shifted else 0)
        return {"logits": self.output(found), "shifted": shifted}


def batch(size: int = 3, scale: float = 0.5) -> Batch:
    return Batch(torch.arange(2 * size).reshape(size, 2), torch.ones(size, 2), scale)


def given(module: nn.Module, *args: Any, objective: Any = None, **kwargs: Any) -> Given:
    return Given(module, args, kwargs, objective)
