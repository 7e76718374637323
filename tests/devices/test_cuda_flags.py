"""Torch's two interfaces to TF32: both can be read while a case runs, and are afterwards what they were."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch

from microbench.config import Config, DeviceConfig, PrecisionConfig
from microbench.devices import cuda
from microbench.devices.cuda import flags

BACKENDS: Any = torch.backends
NEW = (
    BACKENDS.cuda.matmul,
    BACKENDS.cudnn,
    BACKENDS.cudnn.conv,
    BACKENDS.cudnn.rnn,
    BACKENDS.mkldnn.matmul,
    BACKENDS.mkldnn.conv,
)
OLD: dict[str, Callable[[], object]] = {
    "cudnn.allow_tf32": lambda: BACKENDS.cudnn.allow_tf32,
    "matmul.allow_tf32": lambda: BACKENDS.cuda.matmul.allow_tf32,
    "matmul precision": torch.get_float32_matmul_precision,
}


def answer(getter: Callable[[], object]) -> object:
    try:
        return getter()
    except RuntimeError:
        return "raises"


def state() -> list[object]:
    """Return what every getter of both interfaces says."""
    return [*(each.fp32_precision for each in NEW), *map(answer, OLD.values())]


def hidden() -> list[object]:
    """Return what the old interface says once the new one contradicts none of its values."""
    for each in NEW:
        each.fp32_precision = "ieee"
    return [answer(torch.get_float32_matmul_precision), answer(OLD["cudnn.allow_tf32"])]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Put back what these tests change, and let no warning pass."""
    new = [each.fp32_precision for each in NEW]
    matmul, cudnn = torch.get_float32_matmul_precision(), BACKENDS.cudnn.allow_tf32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_float32_matmul_precision(matmul)
    BACKENDS.cudnn.allow_tf32 = cudnn
    for each, precision in zip(NEW, new, strict=True):
        each.fp32_precision = precision


def prepared(precision: str) -> Any:
    return cuda.Device().prepared(Config(device=DeviceConfig("cuda"), precision=PrecisionConfig(precision)))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "amp_fp16"])
def test_every_getter_answers_while_a_case_runs(precision: str) -> None:
    is_tf32 = precision == "tf32"
    with prepared(precision):
        assert [answer(getter) for getter in OLD.values()] == [
            is_tf32,
            is_tf32,
            "high" if is_tf32 else "highest",
        ]
        assert [each.fp32_precision for each in NEW[:4]] == ["tf32" if is_tf32 else "ieee"] * 4
        with BACKENDS.cudnn.flags(enabled=True, benchmark=True):
            assert BACKENDS.cudnn.benchmark
        assert [each.fp32_precision for each in NEW[:4]] == ["tf32" if is_tf32 else "ieee"] * 4


def test_from_torchs_defaults_all_is_put_back() -> None:
    """In a fresh interpreter, because other tests change torch's flags."""
    script = "import test_cuda_flags as t; before = t.state()\nfor p in ('fp32', 'tf32'):\n"
    script += " with t.prepared(p): pass\n assert t.state() == before, (p, before, t.state())"
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])  # noqa: PTH120
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, check=True)


STATES = list(
    product(
        ("none", "ieee", "tf32"),  # matmul
        ("none", "ieee", "tf32"),  # cudnn
        ("none", "ieee", "tf32"),  # its convolutions and recurrent layers
        ("ieee", "tf32", "bf16"),  # oneDNN's matmul
        ("highest", "high", "medium"),
        (False, True),
    )
)


def test_from_any_state_all_is_put_back_even_if_the_case_fails() -> None:
    for matmul, cudnn, conv, onednn, old_matmul, old_cudnn in STATES:
        torch.set_float32_matmul_precision(old_matmul)
        BACKENDS.cudnn.allow_tf32 = old_cudnn
        for each, precision in zip(NEW[:5], (matmul, cudnn, conv, conv, onednn), strict=True):
            each.fp32_precision = precision
        before = state()
        for precision in ("fp32", "tf32"):
            with pytest.raises(KeyError), prepared(precision):  # noqa: PT012
                assert "raises" not in state()
                raise KeyError
            assert state() == before, (matmul, cudnn, conv, onednn, old_matmul, old_cudnn, precision)
        old = hidden()
        assert old == [old_matmul, "raises" if old_cudnn else False]


@pytest.mark.parametrize("parent", [BACKENDS, BACKENDS.cudnn])
def test_what_inherits_its_value_still_does_afterwards(parent: Any) -> None:
    """Else the user's later change of what it inherits from would have no effect."""
    settings = (*flags._settings(), BACKENDS.mkldnn.conv)
    before = [each.fp32_precision for each in settings]
    found = []
    try:
        for precision in (None, "fp32", "tf32"):
            for each in settings:
                each.fp32_precision = "none"
            parent.fp32_precision = "tf32"
            if precision is not None:
                with prepared(precision):
                    assert "raises" not in state()
            told = [[each.fp32_precision for each in settings]]
            parent.fp32_precision = "ieee"
            found.append([*told, [each.fp32_precision for each in settings]])
    finally:
        for each, precision in zip(settings, before, strict=True):
            each.fp32_precision = precision
    assert found[1] == found[2] == found[0]
    assert found[0][0] != found[0][1]
