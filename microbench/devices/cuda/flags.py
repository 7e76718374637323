"""Torch's flags of full fp32 or TF32, which it has twice: an old interface, and a new one beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

FULL, TF32, UNSET = "ieee", "tf32", "none"


def _settings() -> tuple[Any, ...]:
    """Return what has an `fp32_precision` in the new interface: for all, for cuDNN, and what inherits these.

    oneDNN's own is left out: torch sets the one for all in its place.
    """
    backends: Any = torch.backends
    cudnn = backends.cudnn
    return backends, cudnn, backends.cuda.matmul, cudnn.conv, cudnn.rnn, backends.mkldnn.matmul


@contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Compute fp32 products of matrices, convolutions and recurrent layers in full, or in TF32.

    Torch's getters of the old interface raise an error where the new one says something else, and libraries
    still call them, torch's own compiler too. So both are set: the old one first, because it changes the
    new one's values, also that of oneDNN's matrix products.
    """
    settings = _settings()
    every, *on_gpu, _ = settings
    before = _own(settings)
    matmul, cudnn = _old(settings)
    try:
        every.fp32_precision = before[0]
        _set_old("high" if tf32 else "highest", tf32)
        for each in on_gpu:
            each.fp32_precision = TF32 if tf32 else FULL
        yield
    finally:
        _set_old(matmul, cudnn)
        for each, precision in zip(settings, before, strict=True):
            each.fp32_precision = precision


def _own(settings: tuple[Any, ...]) -> list[str]:
    """Return each setting's own value, not one that it inherits from those before it: these are unset."""
    found = []
    for each in settings:
        found.append(each.fp32_precision)
        each.fp32_precision = UNSET
    return found


def _old(settings: tuple[Any, ...]) -> tuple[str, bool]:
    """Return the old interface's values, whatever the new ones are; these are full fp32 afterwards.

    With full fp32 in the new interface, no value of the old one for matrices contradicts it, and of cuDNN's,
    only true does.
    """
    for each in settings:
        each.fp32_precision = FULL
    try:
        cudnn = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        cudnn = True
    return torch.get_float32_matmul_precision(), cudnn


def _set_old(matmul: str, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
