"""The libraries of a GPU, as a case wants them: cuDNN's choice of algorithms, and deterministic ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from microbench.config import DeviceConfig

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED = ":4096:8"
"""What makes cuBLAS deterministic, as torch requires it: a workspace of a fixed size per stream."""


@contextmanager
def prepared(options: DeviceConfig) -> Iterator[None]:
    """Let cuDNN try its algorithms, or use only deterministic ones, as the options say; then restore."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    workspace = os.environ.get(WORKSPACE)
    cudnn.benchmark, cudnn.deterministic = options.cudnn_benchmark, options.deterministic
    torch.use_deterministic_algorithms(options.deterministic)
    if options.deterministic and workspace is None:
        os.environ[WORKSPACE] = FIXED
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before[:2]
        torch.use_deterministic_algorithms(before[2])
        if options.deterministic and workspace is None:
            del os.environ[WORKSPACE]


def settings() -> dict[str, str | bool | None]:
    """Return what they are set to: fields of `Process`."""
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    return {
        "products": matmul.fp32_precision,
        "cudnn_benchmark": cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
