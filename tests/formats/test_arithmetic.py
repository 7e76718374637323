from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from microbench.config import PrecisionConfig
from microbench.formats import arithmetic, mkldnn

PRECISIONS = {
    "fp32": PrecisionConfig("fp32"),
    "bf16": PrecisionConfig("bf16", cast="bfloat16"),
    "amp_bf16": PrecisionConfig("amp_bf16", autocast="bfloat16"),
    "fp16": PrecisionConfig("fp16", cast="float16"),
}
EMULATED = "bfloat16 emulated in fp32"


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove limits from the environment, and what is cached about the CPU."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    arithmetic.available.cache_clear()
    yield
    arithmetic.available.cache_clear()


def let_the_cpu_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str) -> None:
    """Let the kernel list these instructions, and torch none, as with torch 2.11."""
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t\t: none\n")
    monkeypatch.setattr(arithmetic, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("flags", "bf16", "fp16"),
    [
        ("avx2", EMULATED, "float16 emulated in fp32"),
        ("avx2 avx512_bf16", "avx512_bf16", "float16 emulated in fp32"),
        ("avx2 avx512_bf16 avx512_fp16 amx_bf16", "amx_bf16", "avx512_fp16"),
        ("amx_bf16 amx_fp16 avx512_fp16", "amx_bf16", "amx_fp16"),
    ],
)
def test_the_best_instructions_of_the_cpu_multiply(
    flags: str, bf16: str, fp16: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_the_cpu_have(monkeypatch, tmp_path, flags)
    assert arithmetic.of(PRECISIONS["bf16"], "cpu") == arithmetic.of(PRECISIONS["amp_bf16"], "cpu") == bf16
    assert arithmetic.of(PRECISIONS["fp16"], "cpu") == fp16
    assert arithmetic.of(PRECISIONS["fp32"], "cpu") == "fp32"
    multiplied = {"bfloat16": bf16, "float16": fp16}
    assert arithmetic.emulated("cpu") == tuple(
        name for name, by in multiplied.items() if by == f"{name} emulated in fp32"
    )
    assert arithmetic.emulated("cuda") == ()


@pytest.mark.parametrize(
    ("limit", "bf16"),
    [
        ("AVX2", EMULATED),
        ("avx512_core", EMULATED),
        ("AVX512_CORE_BF16", "avx512_bf16"),
        ("AVX10_1_512", "avx512_bf16"),
        ("AVX512_CORE_AMX", "amx_bf16"),
        ("DEFAULT", "amx_bf16"),
        ("", "amx_bf16"),
    ],
)
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_the_environment_can_keep_onednn_from_using_instructions(
    name: str, limit: str, bf16: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_the_cpu_have(monkeypatch, tmp_path, "avx512_bf16 avx512_fp16 amx_bf16")
    monkeypatch.setenv(name, limit)
    assert arithmetic.of(PRECISIONS["bf16"], "cpu") == bf16


def test_without_onednn_torch_converts_to_fp32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    let_the_cpu_have(monkeypatch, tmp_path, "avx512_bf16")
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert arithmetic.of(PRECISIONS["bf16"], "cpu") == EMULATED


def test_the_instructions_of_other_processors_and_gpus_are_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_the_cpu_have(monkeypatch, tmp_path, "avx512_bf16")
    assert arithmetic.of(PRECISIONS["bf16"], "cuda") is None
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert arithmetic.of(PRECISIONS["bf16"], "cpu") is None
    assert arithmetic.is_emulated("bfloat16", "cpu") is None


@pytest.mark.parametrize(
    ("usable", "has", "bf16", "fp16"),
    [
        (True, True, "arm_bf16", "arm_fp16"),
        (True, False, EMULATED, None),
        (False, True, None, None),
    ],
)
def test_onednn_says_what_multiplies_on_arm(
    usable: bool, has: bool, bf16: str | None, fp16: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(mkldnn, "is_usable", lambda: usable)
    monkeypatch.setattr(mkldnn, "has", lambda format_: has)
    assert arithmetic.of(PRECISIONS["bf16"], "cpu") == bf16
    assert arithmetic.of(PRECISIONS["fp16"], "cpu") == fp16
    assert arithmetic.of(PRECISIONS["fp32"], "cpu") == "fp32"
    assert arithmetic.is_emulated("bfloat16", "cpu") == (None if bf16 is None else not has)


def test_emulated_formats_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    let_the_cpu_have(monkeypatch, tmp_path, "avx512_bf16")
    monkeypatch.setattr(mkldnn, "is_usable", lambda: True)
    assert arithmetic.is_emulated("bfloat16", "cpu") is False
    assert arithmetic.is_emulated("float16", "cpu") is True


MULTIPLY = """
import torch
from microbench.config import PrecisionConfig
from microbench.formats import arithmetic, mkldnn
torch.nn.Linear(64, 64).bfloat16()(torch.ones(4, 64, dtype=torch.bfloat16))
print("found", arithmetic.of(PrecisionConfig("bf16", cast="bfloat16"), "cpu"))
"""


ONEDNN = {"avx512_bf16": "avx512_core_bf16", "amx_bf16": "amx", EMULATED: ""}
"""The names of the instructions in oneDNN's log."""


@pytest.mark.skipif(not mkldnn.is_usable(), reason="torch has no oneDNN here")
def test_the_instructions_are_those_in_onednns_log_of_its_products() -> None:
    environment = os.environ | {"ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": "1"}
    lines = subprocess.check_output([sys.executable, "-c", MULTIPLY], env=environment, text=True).splitlines()
    (found,) = (line.removeprefix("found ") for line in lines if line.startswith("found "))
    kernels = [line.split(",matmul,")[1].split(",")[0] for line in lines if ",exec,cpu,matmul," in line]
    assert kernels or found == EMULATED
    for native in filter(None, ONEDNN.values()):
        assert all((native in kernel) == (native == ONEDNN[found]) for kernel in kernels)
