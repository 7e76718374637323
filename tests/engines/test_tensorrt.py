from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microbench import engines
from microbench.config import Config, DeviceConfig, EngineConfig, PrecisionConfig
from microbench.distribution import install_line
from microbench.engines import Job, Program
from microbench.errors import SkippedError
from microbench.workloads import Workload
from microbench.workloads.objectives import OnesGradient


def prepared(module: nn.Module, *inputs: Tensor, precision: PrecisionConfig, device: str) -> Program:
    config = replace(
        Config(), precision=precision, device=DeviceConfig(device), engine=EngineConfig("tensorrt")
    )
    return engines.prepare(Job(Workload("tiny", module, inputs, OnesGradient()), config, training=False))


class Compiler(ModuleType):
    """A stub of torch_tensorrt: records what it is to compile, and returns the module."""

    __version__ = "2.15.0"

    def __init__(self) -> None:
        super().__init__("torch_tensorrt")
        self.__spec__ = ModuleSpec("torch_tensorrt", None)
        self.given: dict[str, Any] = {}

    def compile(self, module: nn.Module, **given: Any) -> Callable[..., Any]:
        self.given = given
        return module


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    found = Compiler()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", found)
    return found


def test_the_module_is_compiled_in_its_own_precision(compiler: Compiler) -> None:
    program = prepared(
        nn.Linear(4, 4), torch.randn(2, 4), precision=PrecisionConfig("bf16", cast="bfloat16"), device="cuda"
    )
    (given,) = compiler.given["inputs"]
    assert given is program.workload.inputs[0]
    assert given.dtype == program.call().dtype == torch.bfloat16
    assert program.info.engine == "torch_tensorrt 2.15.0"


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_tf32_is_used_only_if_requested(compiler: Compiler, precision: str) -> None:
    prepared(nn.ReLU(), torch.randn(4), precision=PrecisionConfig(precision), device="cuda")
    assert compiler.given["disable_tf32"] is (precision == "fp32")


def test_without_a_gpu_it_is_skipped() -> None:
    with pytest.raises(SkippedError) as raised:
        prepared(nn.ReLU(), torch.randn(4), precision=PrecisionConfig("fp32"), device="cpu")
    text = "engine=tensorrt does not support device=cpu; it supports cuda (needs an NVIDIA GPU)"
    assert str(raised.value) == text  # no library to install helps


def test_without_the_library_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(SkippedError, match=re.escape(f"needs torch_tensorrt: {install_line('tensorrt')}")):
        prepared(nn.ReLU(), torch.randn(4), precision=PrecisionConfig("fp32"), device="cuda")
